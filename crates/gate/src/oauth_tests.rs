use super::*;

#[path = "../tests/mcp/issuer.rs"]
pub(super) mod issuer;

#[test]
fn a_form_says_what_was_put_into_it_and_a_query_what_came() {
    assert_eq!(form(&[("a b", "1&2=3"), ("c", "\u{e9}~")]), "a%20b=1%262%3D3&c=%C3%A9~");
    assert_eq!(decoded("a+b%20c%C3%a9").as_deref(), Some("a b c\u{e9}"));
    for broken in ["%", "%4", "%zz", "%ff", "%+4"] {
        assert_eq!(decoded(broken), None, "{broken}");
    }
}

#[test]
fn a_server_elsewhere_named_one_on_this_machine_that_anybody_here_can_be() {
    let url = |text: &str| text.parse::<ServerUrl>().unwrap();
    let (far, near) = (url("https://tools.example/mcp"), url("http://127.0.0.1:1/mcp"));
    assert!(may_name(&far, &url("https://auth.example/")) && may_name(&near, &url("https://auth.example/")));
    assert!(may_name(&near, &url("http://127.0.0.1:2/")));
    assert!(!may_name(&far, &url("http://127.0.0.1:2/")));
}
