//! Configurations of real clients, wrapped, read as those clients read them, and used: the Python `mcp` client starts what an
//! entry says, with a shell behind the gate that tells which variables arrived, and the file server behind that.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{files_server, peer, program, text};
use crate::{Desk, SAID, blocked, lines, names, portcullis};

/// Writes what arrived in the variable to the file `$0`, and becomes the rest.
const SHELL: &str = r#"printf %s \"$NOTES_KEY\" > \"$0\"; exec \"$@\""#;

/// A form of configuration, with one server that is started.
struct Form {
    /// Where it is, below the user's home.
    file: &'static str,
    /// What is in it. `WORDS` stands for the words of the command, `FOLDER` for where they work.
    text: &'static str,
    /// How it is read.
    read: &'static str,
    /// Where the server is in it.
    path: &'static [&'static str],
    /// What the server's variable is once the client has filled it in.
    key: &'static str,
    /// What more `portcullis wrap` must be told.
    told: &'static [&'static str],
}

const FORMS: [Form; 7] = [
    Form {
        file: ".config/Claude/claude_desktop_config.json",
        text: r#"{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "files": {
      "command": "sh",
      "args": [WORDS],
      "env": { "NOTES_KEY": "of the desktop" }
    }
  }
}
"#,
        read: "json",
        path: &["mcpServers", "files"],
        key: "of the desktop",
        told: &[],
    },
    Form {
        file: "project/.mcp.json",
        text: r#"{ "mcpServers": { "Files": { "type": "stdio", "args": [WORDS], "command": "${NOTES_SHELL:-sh}",
            "env": { "NOTES_KEY": "${NOTES_VALUE}" } } } }"#,
        read: "json",
        path: &["mcpServers", "Files"],
        key: "from outside",
        told: &[],
    },
    Form {
        file: ".claude.json",
        text: r#"{"numStartups": 7, "mcpServers": {}, "projects": {"/srv/one": {"allowedTools": [], "mcpServers": {
            "files": {"type": "stdio", "command": "sh", "args": [WORDS], "env": {"NOTES_KEY": "a \"key\""}}}}}}"#,
        read: "json",
        path: &["projects", "/srv/one", "mcpServers", "files"],
        key: "a \"key\"",
        told: &[],
    },
    Form {
        file: "project/.cursor/mcp.json",
        text: r#"{ "mcpServers": { "Project Files": { "command": "sh", "args": [WORDS], "env": { "NOTES_KEY": "${env:NOTES_VALUE}" } } } }"#,
        read: "json",
        path: &["mcpServers", "Project Files"],
        key: "from outside",
        told: &["--name", "Project Files=files"],
    },
    Form {
        file: "project/.vscode/mcp.json",
        text: r#"{
  // What the team uses.
  "inputs": [{ "type": "promptString", "id": "notes", "description": "Key", "password": true }],
  "servers": {
    /* one */ "files": {
      "type": "stdio",
      "command": "sh", // found on the path
      "args": [
        WORDS, // all of them
      ],
      "env": { "NOTES_KEY": "${input:notes}" },
    },
  },
}
"#,
        read: "jsonc",
        path: &["servers", "files"],
        key: "typed notes",
        told: &[],
    },
    Form {
        file: ".config/Code/User/settings.json",
        text: r#"{
    "editor.fontSize": 13, // "mcp": { "servers": {} }
    "mcp": { "servers": { "files": { "command": "sh", "args": [WORDS], "env": { "NOTES_KEY": "set" } } } },
}"#,
        read: "jsonc",
        path: &["mcp", "servers", "files"],
        key: "set",
        told: &[],
    },
    Form {
        file: ".codeium/windsurf/mcp_config.json",
        text: r#"{ "mcpServers": {
            "remote": { "serverUrl": "https://example.org/mcp", "headers": { "Authorization": "Bearer x" } },
            "files": { "command": "sh", "args": [WORDS], "env": { "NOTES_KEY": "set" }, "disabled": false } } }"#,
        read: "json",
        path: &["mcpServers", "files"],
        key: "set",
        told: &["--leave-remote", "remote"],
    },
];

/// A user's home with a configuration in it, and what is behind the gate.
struct Home {
    desk: Desk,
    file: PathBuf,
    before: String,
    seen: PathBuf,
}

impl Home {
    fn new(form: &Form) -> Self {
        let desk = Desk::new();
        let seen = desk.folder.path().join("seen");
        // Beside what governs it a tool server can make no file.
        std::fs::write(&seen, "nothing").unwrap();
        let mut words = vec![json!("-c").to_string(), format!("\"{SHELL}\""), json!(text(&seen)).to_string()];
        words.extend(
            desk.recording.of(&files_server(desk.shared())).iter().map(|word| json!(word).to_string()),
        );
        let before = form.text.replace("WORDS", &words.join(", "));
        let file = desk.folder.path().join(form.file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &before).unwrap();
        Self { desk, file, before, seen }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let project = self.desk.folder.path().join("project");
        std::fs::create_dir_all(&project).unwrap();
        command.current_dir(project).env("HOME", self.desk.folder.path()).env("NOTES_VALUE", "from outside");
        command
    }

    fn wrap(&self, more: &[&str]) -> Value {
        let mut command = self.command(&program());
        command.args(["wrap", "--json", "--config", &text(&self.desk.config), &text(&self.file)]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        lines(&output).remove(0)
    }

    /// What the client starts, and what its user sees of these steps.
    fn used(&self, form: &Form, steps: &Value) -> Vec<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/wrapped.py");
        let mut command = self.command(&peer("py/bin/python"));
        command.arg(script).args([form.read, &text(&self.file)]);
        let output = command.args([json!(form.path).to_string(), steps.to_string()]).output().unwrap();
        assert!(output.status.success(), "{}: {}", form.file, String::from_utf8_lossy(&output.stderr));
        lines(&output)
    }
}

#[test]
fn every_form_of_configuration_wrapped_and_used_runs_what_is_permitted_and_nothing_else() {
    for form in &FORMS {
        let home = Home::new(form);
        let said = home.wrap(form.told);
        assert_eq!((&said["changes"], &said["written"]), (&json!(true), &json!(true)), "{said}");
        let path = text(&home.desk.file);
        let read = json!({ "path": path });
        let steps = json!([
            "list",
            ["read_text_file", read],
            ["write_file", { "path": path, "content": "something else" }],
        ]);
        let seen = home.used(form, &steps);
        let shown = names(&seen[0]);
        assert!(shown.contains(&"read_text_file"), "{}: {}", form.file, seen[0]);
        assert!(!shown.contains(&"write_file"), "{}: {}", form.file, seen[0]);
        assert_eq!(seen[1]["content"][0]["text"], SAID, "{}: {}", form.file, seen[1]);
        assert_eq!(blocked(&seen[2]), "policy.no_grant", "{}", form.file);
        home.desk.untouched();
        assert_eq!(home.desk.recording.calls(), [("read_text_file".to_owned(), read)], "{}", form.file);
        assert_eq!(std::fs::read_to_string(&home.seen).unwrap(), form.key, "{}", form.file);
        let permits = home.desk.audited().into_iter().filter(|(word, _)| word == "PERMIT").count();
        assert_eq!(permits, 1, "{}", form.file);

        let undone = home.wrap(&["--undo"]);
        assert_eq!(undone["written"], true, "{undone}");
        assert_eq!(std::fs::read_to_string(&home.file).unwrap(), home.before, "{}", form.file);
        // Without the gate the same client writes: it was the gate that stopped it.
        home.used(form, &steps);
        assert_eq!(std::fs::read_to_string(&home.desk.file).unwrap(), "something else", "{}", form.file);
    }
}

#[test]
fn what_a_wrap_says_comes_next_leads_to_a_gate_that_permits_the_one_tool_that_was_granted() {
    let desk = Desk::new();
    let gate = desk.config.parent().unwrap().to_owned();
    let recorded = desk.recording.of(&[text(&peer("bin/server-everything")), "stdio".into()]);
    // It lists its tools only to those who have its key.
    let mut words =
        vec!["-c".to_owned(), "test \"$EVERY_KEY\" = sesame && exec \"$@\"".to_owned(), "sh".to_owned()];
    words.extend(recorded);
    let entry = json!({ "command": "sh", "args": words, "env": { "EVERY_KEY": "sesame" } });
    let file = desk.folder.path().join(".mcp.json");
    std::fs::write(&file, json!({ "mcpServers": { "Every Thing": entry } }).to_string()).unwrap();
    let wrapped = portcullis(&["wrap", &text(&file), "--config", &text(&desk.config)]);
    let said = String::from_utf8(wrapped.stdout).unwrap();
    assert!(wrapped.status.success() && !said.contains("sesame\""), "{said}");
    let next = said.lines().find(|line| line.trim_start().starts_with("portcullis policy draft")).unwrap();
    let shell = |script: &str| {
        let found = std::env::var("PATH").unwrap();
        let path = format!("{}:{found}", text(program().parent().unwrap()));
        let mut command = Command::new("sh");
        command.args(["-ec", script]).current_dir(&gate).env("PATH", path).env("EVERY_KEY", "sesame");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    };
    shell(&format!(
        "{next}\n\
         sed -i '/^\\/\\/@id(\"every-thing.echo\")/,/;$/s/^\\/\\///' draft-every-thing/policies/grants.cedar\n\
         portcullis bundle check draft-every-thing\n\
         rm -r bundle; mv draft-every-thing bundle\n\
         portcullis bundle sign; portcullis bundle pin"
    ));
    assert_eq!(desk.recording.calls(), [], "drafting called a tool");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/wrapped.py");
    let steps = json!([["echo", { "message": "hello" }], ["get-sum", { "a": 1, "b": 2 }]]);
    let mut command = Command::new(peer("py/bin/python"));
    command.arg(script).args(["json", &text(&file), r#"["mcpServers", "Every Thing"]"#, &steps.to_string()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen = lines(&output);
    assert!(seen[0]["content"][0]["text"].as_str().unwrap().contains("hello"), "{}", seen[0]);
    assert_eq!(blocked(&seen[1]), "policy.no_grant");
    assert_eq!(desk.recording.calls(), [("echo".to_owned(), json!({ "message": "hello" }))]);
}
