//! `portcullis wrap`.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, program, text};
use crate::{Ended, run};

/// A form of VS Code's, with all that its editor allows.
const EDITED: &str = "{\r\n\t// Ours.\r\n\t\"servers\": {\r\n\t\t\"Weather Station\": { // far away\r\n\t\t\t\"command\": \"npx\",\r\n\
    \t\t\t\"env\": { \"API_KEY\": \"sesame-1\", },\r\n\t\t},\r\n\t\t\"files\": {\r\n\t\t\t\"type\": \"stdio\", \"command\": \"n\\u006fde\",\r\n\
    \t\t\t\"args\": [ /* why */\r\n\t\t\t\t\"--\", // the first\r\n\t\t\t\t\"-x\", \"a\\nb ☃\",\r\n\t\t\t]\r\n\t\t},\r\n\t},\r\n}\r\n";
const PLAIN: &str = r#"{"mcpServers": {"demo": {"command": "node", "args": ["server.js"]}}}"#;

/// A deployment, and a client's configuration.
struct Scene {
    place: Place,
    file: PathBuf,
}

impl Scene {
    fn new(name: &str, content: &str) -> Self {
        let place = Place::demo();
        let file = place.path("home").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        Self { place, file }
    }

    fn wrap(&self, more: &[&str]) -> Ended {
        self.wrap_at(&self.file, more)
    }

    fn wrap_at(&self, file: &Path, more: &[&str]) -> Ended {
        let (file, config) = (text(file), text(&self.place.config_path));
        run(&[&["wrap", &file, "--config", &config], more].concat())
    }

    fn said(&self, more: &[&str]) -> Value {
        serde_json::from_str(self.wrap(&[&["--json"], more].concat()).ok()).unwrap()
    }

    fn content(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    fn backup(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(".before-portcullis");
        name.into()
    }

    /// What lies beside the file.
    fn beside(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.file.parent().unwrap()).unwrap();
        let mut names: Vec<_> = names.map(|entry| text(Path::new(&entry.unwrap().file_name()))).collect();
        names.sort();
        names
    }

    /// It was refused in these words, and nothing was written.
    fn refused(&self, more: &[&str], words: &str) {
        let (content, beside) = (self.content(), self.beside());
        self.wrap(more).failed(words);
        assert_eq!((self.content(), self.beside()), (content, beside));
    }

    /// The words between the program and the server's own command.
    fn words(&self, server: &str, passed: &[&str]) -> String {
        let mut words = vec!["mcp", "--config"];
        let (config, file) = (text(&self.place.config_path), text(&self.file));
        words.extend([&config, "--server", server]);
        passed.iter().for_each(|name| words.extend(["--pass-env", name]));
        words.extend(["--client", &file, "--"]);
        words.iter().map(|word| json!(word).to_string()).collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn only_the_words_that_start_a_server_change_and_undo_brings_back_every_byte() {
    let scene = Scene::new(".vscode/mcp.json", EDITED);
    std::fs::set_permissions(&scene.file, PermissionsExt::from_mode(0o640)).unwrap();
    let said = scene.said(&[]);
    assert_eq!(said["servers"][0]["surfaces"], "weather-station");
    assert_eq!(said["servers"][0]["passes"], json!(["API_KEY"]));
    assert_eq!(said["servers"][1]["command"], json!(["node", "--", "-x", "a\nb ☃"]));
    assert!(said["warnings"][0].as_str().unwrap().contains("`API_KEY` stay"), "{said}");
    let gate = json!(text(&program().canonicalize().unwrap())).to_string();
    let expected = EDITED
        .replace(
            "\"command\": \"npx\"",
            &format!(
                "\"command\": {gate},\r\n\t\t\t\"args\": [{}, \"npx\"]",
                scene.words("weather-station", &["API_KEY"])
            ),
        )
        .replace("\"n\\u006fde\"", &gate)
        .replace("[ /* why", &format!("[{}, \"n\\u006fde\", /* why", scene.words("files", &[])));
    assert_eq!(scene.content(), expected);
    assert_eq!(std::fs::read_to_string(scene.backup()).unwrap(), EDITED);
    for path in [&scene.file, &scene.backup()] {
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o7777, 0o640, "{}", path.display());
    }
    // Once more: there is nothing to do, and the backup stays what it is.
    let again = scene.said(&[]);
    assert_eq!((&again["changes"], &again["written"]), (&json!(false), &json!(false)));
    assert_eq!(again["servers"][0]["state"], "through");
    assert_eq!(scene.content(), expected);
    assert_eq!(std::fs::read_to_string(scene.backup()).unwrap(), EDITED);
    let undone = scene.said(&["--undo"]);
    assert_eq!(undone["written"], true);
    assert_eq!(scene.content(), EDITED);
    assert_eq!(scene.beside(), ["mcp.json"]);
    scene.refused(&["--undo"], "there is no backup");
}

#[test]
fn a_dry_run_shows_what_would_change_without_secrets_and_changes_nothing() {
    let scene = Scene::new(".vscode/mcp.json", EDITED);
    for option in ["--dry-run", "--check"] {
        let shown = scene.wrap(&[option]);
        assert!(shown.ok().contains("\n+ \"command\": \"/") && shown.out.contains("--pass-env"), "{shown:?}");
        assert!(shown.out.contains("surfaces `weather-station.…`; gets API_KEY"), "{shown:?}");
        assert!(shown.out.contains("Nothing was changed.") && !shown.out.contains("sesame"), "{shown:?}");
        assert_eq!(
            (scene.content().as_str(), scene.beside().as_slice()),
            (EDITED, &["mcp.json".to_owned()][..])
        );
    }
    let said = scene.said(&["--check"]);
    assert_eq!((&said["changes"], &said["written"]), (&json!(true), &json!(false)));
    let done = scene.wrap(&[]);
    assert!(
        done.ok().contains("portcullis policy draft --agent demo-agent --server files -o draft-files"),
        "{done:?}"
    );
    assert!(!done.out.contains("sesame"), "{done:?}");
    let content = scene.content();
    scene.wrap(&["--undo", "--dry-run"]).ok();
    assert_eq!(scene.content(), content);
}

#[test]
fn a_file_that_was_edited_since_is_not_put_back_before_somebody_says_what_becomes_of_the_edit() {
    let scene = Scene::new(".cursor/mcp.json", PLAIN);
    scene.wrap(&[]).ok();
    let edited = scene.content().replace("\"server.js\"", "\"server.js\", \"--fast\"");
    std::fs::write(&scene.file, &edited).unwrap();
    scene.refused(&["--undo"], "was edited since it was wrapped");
    let shown = scene.wrap(&["--undo"]);
    assert!(shown.err.contains("mcpServers > demo\n") && shown.err.contains("--fast"), "{shown:?}");
    let kept = scene.wrap(&["--undo", "--edits", "keep"]);
    assert!(kept.ok().contains("stays; the next wrap needs it moved away"), "{kept:?}");
    let expected = PLAIN.replace("\"server.js\"", "\"server.js\", \"--fast\"");
    assert_eq!(scene.content(), expected);
    // The backup has something else than what would be wrapped now.
    scene.refused(&[], "is there already and keeps another configuration");
    scene.refused(&["--undo", "--edits", "keep"], "no server in");
    std::fs::remove_file(scene.backup()).unwrap();
    scene.wrap(&[]).ok();
    std::fs::write(&scene.file, "no JSON at all").unwrap();
    scene.refused(&["--undo"], "is not JSON");
    scene.wrap(&["--undo", "--edits", "discard"]).ok();
    assert_eq!(scene.content(), expected);
    assert_eq!(scene.beside(), ["mcp.json"]);
}

#[test]
fn an_edit_of_a_value_that_is_not_shown_is_an_edit() {
    let scene = Scene::new(".vscode/mcp.json", EDITED);
    scene.wrap(&[]).ok();
    std::fs::write(&scene.file, scene.content().replace("sesame-1", "sesame-2")).unwrap();
    let shown = scene.wrap(&["--undo"]);
    shown.failed("in values that are not shown");
    assert!(!shown.err.contains("sesame"), "{shown:?}");
}

#[test]
fn a_server_that_was_added_later_is_wrapped_and_the_first_backup_stays() {
    let scene = Scene::new(".cursor/mcp.json", PLAIN);
    scene.wrap(&[]).ok();
    let added =
        scene.content().replace("{\"mcpServers\": {", "{\"mcpServers\": {\"new\": {\"command\": \"x\"}, ");
    std::fs::write(&scene.file, added).unwrap();
    let said = scene.said(&[]);
    assert_eq!(
        (&said["servers"][0]["state"], &said["servers"][1]["state"]),
        (&json!("wrapped"), &json!("through"))
    );
    assert_eq!(std::fs::read_to_string(scene.backup()).unwrap(), PLAIN);
    scene.refused(&["--undo"], "was edited since");
}

#[test]
fn remote_servers_are_refused_or_left_by_name_as_not_governed() {
    let content =
        r#"{"mcpServers": {"near": {"command": "x"}, "far": {"type": "sse", "url": "https://h/?k=sesame"}}}"#;
    let scene = Scene::new(".mcp.json", content);
    scene.refused(&[], "server `far`: it is a remote server");
    scene.refused(&["--leave-remote", "near"], "--leave-remote`: there is no such");
    let left = scene.wrap(&["--leave-remote", "far"]);
    assert!(left.ok().contains("far: NOT governed") && !left.out.contains("sesame"), "{left:?}");
    assert_eq!(scene.said(&["--leave-remote", "far"])["servers"][1]["state"], "not_governed");
}

const BY_URL: &str = "{\n  // Ours.\n  \"servers\": {\n    \"crm\": {\n      \"type\": \"http\",\n      \
    \"url\": \"https://h.example/mcp?k=hidden\", // far away\n      \"headers\": { \"Authorization\": \"Bearer sesame\" }\n    }\n  }\n}\n";

impl Scene {
    /// The token files beside the gate's keys.
    fn tokens(&self) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.place.path("keys")).unwrap().map(|entry| entry.unwrap().path());
        let is_own = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("mcp-");
        names.filter(is_own).collect()
    }
}

#[test]
fn a_token_leaves_the_clients_file_for_one_that_only_its_owner_reads_and_undo_takes_it_back() {
    let scene = Scene::new(".vscode/mcp.json", BY_URL);
    let shown = scene.wrap(&["--dry-run"]);
    assert!(shown.ok().contains("--token-file") && shown.out.contains("surfaces `crm.…`"), "{shown:?}");
    assert!(!shown.out.contains("sesame") && !shown.out.contains("hidden"), "{shown:?}");
    assert!(scene.tokens().is_empty() && scene.content() == BY_URL);
    let done = scene.wrap(&[]);
    let [file] = scene.tokens().try_into().unwrap();
    assert!(done.ok().contains(&format!("--token-file {} --from-url URL", text(&file))), "{done:?}");
    assert!(!done.out.contains("sesame") && !done.out.contains("hidden"), "{done:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "sesame\n");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let wrapped = scene.content();
    assert!(
        !wrapped.contains("sesame") && wrapped.contains("\"stdio\"") && wrapped.contains("// far away"),
        "{wrapped}"
    );
    let again = scene.said(&[]);
    assert_eq!((&again["changes"], &again["servers"][0]["state"]), (&json!(false), &json!("through")));
    scene.wrap(&["--undo", "--dry-run"]).ok();
    assert!(file.exists());
    scene.wrap(&["--undo"]).ok();
    assert_eq!((scene.content().as_str(), scene.beside().len()), (BY_URL, 1));
    assert!(scene.tokens().is_empty());
    // Gone with any of the ways back.
    for more in [&["--undo", "--edits", "keep"][..], &["--undo", "--edits", "discard"][..]] {
        scene.wrap(&[]).ok();
        assert_eq!(scene.tokens().len(), 1);
        scene.wrap(more).ok();
        assert!(scene.tokens().is_empty(), "{more:?}");
        assert!(scene.content().contains("Bearer sesame"));
        drop(std::fs::remove_file(scene.backup()));
        std::fs::write(&scene.file, BY_URL).unwrap();
    }
}

#[test]
fn a_token_file_that_is_another_by_now_is_neither_taken_nor_removed() {
    let scene = Scene::new(".vscode/mcp.json", BY_URL);
    scene.wrap(&[]).ok();
    let [file] = scene.tokens().try_into().unwrap();
    std::fs::write(&file, "newer\n").unwrap();
    let undone = scene.wrap(&["--undo"]);
    assert!(undone.out.contains("out of it") && undone.err.contains("and stays"), "{undone:?}");
    assert_eq!(scene.content(), BY_URL);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "newer\n");
    scene.refused(&[], "is there already, and is not the file of this server's token");
    std::fs::remove_file(&file).unwrap();
    // One that an entry names by hand is nobody's to remove.
    scene.wrap(&[]).ok();
    let own = scene.place.path("keys/demo-agent.token");
    let (agent, other) = (std::fs::read_to_string(&own).unwrap(), text(&file));
    std::fs::write(&own, "sesame\n").unwrap();
    std::fs::write(&scene.file, scene.content().replace(&other, &text(&own))).unwrap();
    let undone = scene.wrap(&["--undo"]);
    assert!(
        undone.out.contains("out of it") && undone.err.contains("demo-agent.token is no more"),
        "{undone:?}"
    );
    assert!(own.exists() && agent != "sesame\n");
}

#[test]
fn a_write_of_the_file_that_fails_leaves_no_token_behind() {
    let scene = Scene::new(".vscode/mcp.json", BY_URL);
    let lock = std::fs::File::open(scene.file.parent().unwrap()).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    scene.refused(&[], "another `portcullis wrap`");
    assert!(scene.tokens().is_empty());
}

#[test]
fn a_server_that_lets_nobody_in_without_a_token_is_refused_by_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let content = json!({ "mcpServers": { "far": { "url": format!("http://{address}/mcp") } } }).to_string();
    let scene = Scene::new(".cursor/mcp.json", &content);
    let answering = std::thread::spawn(move || {
        for status in ["401 Unauthorized", "405 Method Not Allowed"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = std::io::Read::read(&mut stream, &mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /mcp HTTP/1.1\r\n"));
            let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            std::io::Write::write_all(&mut stream, response.as_bytes()).unwrap();
        }
    });
    scene.refused(&[], "lets nobody in who has no token (status 401)");
    assert_eq!(scene.said(&[])["servers"][0]["state"], "by_url");
    answering.join().unwrap();
    scene.wrap(&["--undo"]).ok();
    // Whoever is not heard is wrapped, and that is said: the gate goes by what it meets.
    let said = scene.said(&[]);
    assert!(said["warnings"][0].as_str().unwrap().contains("was not heard"), "{said}");
}

#[test]
fn what_cannot_be_told_is_refused_all_at_once_and_nothing_is_written() {
    let content = r#"{"mcpServers": {"two": {"command": "x", "command": "y"}, "odd": {"type": "pigeon"},
        "own": {"command": "x", "env": {"PORTCULLIS_GATE_PID": "1"}}}}"#;
    let scene = Scene::new(".mcp.json", content);
    for words in [
        "`two`: `command` stands there twice",
        "`odd`: it is neither",
        "`own`: it sets `PORTCULLIS_GATE_PID`",
    ] {
        scene.refused(&[], words);
    }
    let twice = r#"{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#;
    Scene::new(".mcp.json", twice).refused(&[], "`a` stands there twice");
    let other = Scene::new("servers.json", PLAIN);
    other.refused(&[], "called like no configuration");
    other.refused(&["--format", "vscode"], "another client");
    other.wrap(&["--format", "cursor"]).ok();
    Scene::new(".mcp.json", r#"{"demo": {"command": "x"}}"#).refused(&[], "names no MCP servers");
    let spell = "{\"mcpServers\": {\"a\\u001b[2J\": {\"type\": \"pigeon\"}}}";
    let scene = Scene::new(".mcp.json", spell);
    assert!(!scene.wrap(&[]).err.contains('\u{1b}'));
}

#[test]
fn a_remedy_is_an_option_that_can_be_given_as_it_is_said_whatever_the_server_is_called() {
    let name = "--it's\n a \"server\"";
    let content = json!({ "mcpServers": { name: { "url": "u" }, "日本": { "command": "x" } } }).to_string();
    let scene = Scene::new(".mcp.json", &content);
    let refused = scene.wrap(&[]);
    assert!(refused.err.contains(r#"server `--it's\n a "server"`: it is a remote server"#), "{refused:?}");
    let told = |option: &str| {
        let words = option_in(&refused.err, option);
        words.replace("WORD", "nippon")
    };
    let script =
        format!("\"$0\" wrap \"$1\" --config \"$2\" --json {} {}", told("--leave-remote"), told("--name"));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program()).arg(&scene.file).arg(&scene.place.config_path);
    let ended = Ended::of(&command.output().unwrap());
    let said: Value = serde_json::from_str(ended.ok()).unwrap();
    assert_eq!(
        (&said["servers"][0]["name"], &said["servers"][0]["state"]),
        (&json!(name), &json!("not_governed"))
    );
    assert_eq!(said["servers"][1]["surfaces"], "nippon");
}

/// The option that a message names between backticks.
fn option_in(message: &str, option: &str) -> String {
    let (_, rest) =
        message.split_once(&format!("`{option} ")).unwrap_or_else(|| panic!("{option}: {message}"));
    format!("{option} {}", rest.split_once('`').unwrap().0)
}

#[test]
fn a_gate_that_would_not_start_is_not_put_before_anything() {
    let scene = Scene::new(".mcp.json", PLAIN);
    let file = text(&scene.file);
    run(&["wrap", &file, "--config", "/nonexistent/portcullis.toml"]).failed("portcullis init");
    let place = Place::demo();
    std::fs::remove_file(place.path("keys/demo-agent.token")).unwrap();
    run(&["wrap", &file, "--config", &text(&place.config_path)]).failed("token");
    assert_eq!((scene.content().as_str(), scene.beside().len()), (PLAIN, 1));
    let odd = scene.place.path("home/${workspaceFolder}/.mcp.json");
    std::fs::create_dir(odd.parent().unwrap()).unwrap();
    std::fs::write(&odd, PLAIN).unwrap();
    scene.wrap_at(&odd, &[]).failed("as a variable");
}

#[test]
fn a_link_is_followed_and_the_backup_lies_beside_the_file_itself() {
    let scene = Scene::new("dotfiles/cursor.json", PLAIN);
    let link = scene.place.path("home/.cursor/mcp.json");
    std::fs::create_dir(link.parent().unwrap()).unwrap();
    symlink(&scene.file, &link).unwrap();
    scene.wrap_at(&link, &[]).ok();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(scene.beside(), ["cursor.json", "cursor.json.before-portcullis"]);
    assert!(scene.content().contains(&text(&link)), "the gate keeps its server from the link too");
    scene.wrap_at(&link, &["--undo"]).ok();
    assert_eq!(scene.content(), PLAIN);
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let scene = Scene::new(".cursor/mcp.json", PLAIN);
    let script = "ulimit -f 0; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(program()).args(["wrap", &text(&scene.file)]);
    command.args(["--config", &text(&scene.place.config_path)]).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(scene.content(), PLAIN);
    assert!(!scene.backup().exists());
    scene.wrap(&[]).ok();
    scene.wrap(&["--undo"]).ok();
    assert_eq!((scene.content().as_str(), scene.beside().len()), (PLAIN, 1));
}

#[test]
fn the_configurations_of_this_machine_are_listed_with_how_far_they_go_through_the_gate() {
    let scene = Scene::new(".cursor/mcp.json", PLAIN);
    let at = |name: &str, content: &str| {
        let path = scene.place.path("home").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    };
    let partly = r#"{"mcpServers": {"a": {"command": "x"}, "b": {"url": "u"}}}"#;
    scene.wrap(&[]).ok();
    let claude = at(".claude.json", partly);
    scene.wrap_at(&claude, &["--leave-remote", "b"]).ok();
    at(".codeium/windsurf/mcp_config.json", PLAIN);
    at(".config/Code/User/settings.json", "{ /* mine */ }");
    at("project/.mcp.json", "{");
    let list = |more: &[&str]| {
        let mut command = Command::new(program());
        command.arg("wrap").args(more).env("HOME", scene.place.path("home"));
        command.args(["--config", &text(&scene.place.config_path)]);
        Ended::of(&command.current_dir(scene.place.path("home/project")).output().unwrap())
    };
    let listed = list(&["--json"]);
    let listed: Vec<Value> = listed.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<_> =
        listed.iter().map(|line| (line["format"].as_str().unwrap(), &line["state"])).collect();
    let expected = [
        ("claude-code-user", json!("partly")),
        ("cursor", json!("wrapped")),
        ("windsurf", json!("unwrapped")),
        ("vscode-settings", json!("empty")),
        ("claude-code", json!("unknown")),
    ];
    assert_eq!(states, expected.iter().map(|(format, state)| (*format, state)).collect::<Vec<_>>());
    let said = list(&[]);
    assert!(said.ok().contains("PARTLY: 1 through the gate, 0 past it, 1 remote"), "{said:?}");
    let none = Scene::new("nothing", "");
    let mut command = Command::new(program());
    command.arg("wrap").env("HOME", none.place.path("home")).current_dir(none.place.path("home"));
    assert!(Ended::of(&command.output().unwrap()).ok().contains("No client's configuration"));
}

#[test]
fn a_wrapped_server_reads_and_changes_neither_the_configuration_nor_its_backup_wherever_they_are() {
    let scene = Scene::new("elsewhere/conf.json", "");
    let seen = scene.place.file("seen", "");
    // A shell that tries, says what it met, and becomes the demo's server.
    let script = "{ cat \"$0\" \"$0.before-portcullis\"; echo x >> \"$0\"; echo x >> \"$0.before-portcullis\"; \
                  rm -f \"$0\"; echo tried; } > \"$1\" 2>&1; shift; exec \"$@\"";
    let journal = scene.place.path("journal");
    let mut args = vec!["-c".to_owned(), script.to_owned(), text(&scene.file), text(&seen)];
    args.extend(demo_server(&journal));
    let content = json!({ "mcpServers": { "demo": { "command": "sh", "args": args } } }).to_string();
    std::fs::write(&scene.file, &content).unwrap();
    scene.wrap(&["--format", "cursor"]).ok();
    let wrapped = scene.content();
    let entry: Value = serde_json::from_str(&wrapped).unwrap();
    let entry = &entry["mcpServers"]["demo"];
    let mut command = Command::new(entry["command"].as_str().unwrap());
    command.args(entry["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    let mut gate = Gate::connect(command);
    gate.handshake();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(
        gate.call_with("delete_account", &json!({ "account": "acme" }), Some("k")).code(),
        "policy.forbidden"
    );
    assert!(gate.end().success());
    let met = std::fs::read_to_string(&seen).unwrap();
    assert!(met.ends_with("tried\n") && !met.contains("mcpServers"), "{met}");
    assert_eq!(met.matches("denied").count(), 5, "{met}");
    assert_eq!(scene.content(), wrapped);
    assert_eq!(std::fs::read_to_string(scene.backup()).unwrap(), content);
    let ran = std::fs::read_to_string(journal).unwrap();
    assert!(ran.lines().count() == 1 && ran.contains("read_balance"), "{ran}");
}
