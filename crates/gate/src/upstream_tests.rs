use super::*;

#[test]
fn only_named_variables_pass_and_never_the_gates_own() {
    let passed = ["API_KEY".to_owned(), "PORTCULLIS_TOKEN".to_owned()];
    for name in ["PATH", "HOME", "LC_ALL", "XDG_RUNTIME_DIR", "API_KEY"] {
        assert!(is_passed(OsStr::new(name), &passed), "{name}");
    }
    for name in
        ["PORTCULLIS_TOKEN", "PORTCULLIS_GATE_PID", "LD_PRELOAD", "API_KEY2", "LANGUAGE", "SSH_AUTH_SOCK"]
    {
        assert!(!is_passed(OsStr::new(name), &passed), "{name}");
    }
}
