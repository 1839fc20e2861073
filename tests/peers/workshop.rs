//! Five servers that nobody here wrote, behind one gate or behind one each, and what each client of [`crate::agents`] and
//! [`crate::sdks`] asks of them. What ran is told by the servers' own files and by what `tee` saw reach them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::SAID;
use crate::endpoint::Endpoint;
use crate::support::{Daemon, Place, Recording, files_server, peer, program, text};

pub(crate) const SERVERS: [&str; 5] = ["everything", "files", "memory", "git", "sqlite"];
pub(crate) const ADDED: &str = "INSERT INTO orders (item) VALUES ('lamp')";
pub(crate) const DROPPED: &str = "DELETE FROM orders";

/// Five servers, what they act on, and the gate's configuration in front of them.
pub(crate) struct Workshop {
    pub(crate) place: Place,
    work: TempDir,
    recordings: BTreeMap<&'static str, Recording>,
    /// Decides for the gates of all servers.
    daemon: Option<Daemon>,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let work = TempDir::new().unwrap();
        let recordings =
            SERVERS.map(|name| (name, Recording::new(&work.path().join(format!("{name}.jsonl")))));
        std::fs::create_dir(work.path().join("shared")).unwrap();
        std::fs::write(work.path().join("shared/note.txt"), SAID).unwrap();
        let repository = work.path().join("repo");
        git(&repository, &["init", "--quiet", "."]);
        git(&repository, &["config", "user.name", "assistant"]);
        git(&repository, &["config", "user.email", "assistant@localhost"]);
        std::fs::write(work.path().join("repo/plan.txt"), "plan").unwrap();
        let place = Place::deploy(bundle(), &["assistant"], "files");
        let mut workshop = Self { place, work, recordings: recordings.into(), daemon: None };
        workshop.sql("CREATE TABLE orders (item TEXT)");
        workshop.pin_files();
        workshop.declare();
        workshop.daemon = Some(Daemon::start(&workshop.place));
        workshop
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// What reached a server.
    pub(crate) fn calls(&self, server: &str) -> Vec<(String, Value)> {
        self.recordings[server].calls()
    }

    fn command(&self, server: &str) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match server {
            "everything" => words(&[&text(&peer("bin/server-everything")), "stdio"]),
            "files" => files_server(&self.at("shared")),
            "memory" => {
                let file = format!("MEMORY_FILE_PATH={}", text(&self.at("shared/memory.jsonl")));
                words(&["env", &file, &text(&peer("bin/server-memory"))])
            }
            "git" => words(&[&text(&peer("agents/bin/mcp-server-git"))]),
            _ => words(&[
                &text(&peer("agents/bin/mcp-server-sqlite")),
                "--db-path",
                &text(&self.at("shared/orders.db")),
            ]),
        }
    }

    /// Two tools of the file server are reviewed and pinned, so it has no others.
    fn pin_files(&self) {
        let config = text(&self.place.config_path);
        let only = ["--only", "read_text_file", "--only", "write_file"];
        let server = self.command("files");
        let server: Vec<&str> = server.iter().map(String::as_str).collect();
        done(
            &[&["mcp", "pin", "--config", &config, "--server", "files"], &only[..], &["--"], &server]
                .concat(),
        );
        let manifest = self.place.config.bundle.join("bundle.toml");
        let next = std::fs::read_to_string(&manifest).unwrap().replacen("version = 1", "version = 2", 1);
        std::fs::write(&manifest, next).unwrap();
        done(&["bundle", "--config", &config, "sign"]);
        done(&["bundle", "--config", &config, "pin"]);
    }

    fn declare(&self) {
        let declared = self.recordings.iter().map(|(name, recording)| {
            let command = json!(recording.of(&self.command(name)));
            format!("[[server]]\nname = \"{name}\"\ncommand = {command}\n")
        });
        std::fs::write(self.at("servers.toml"), declared.collect::<String>()).unwrap();
    }

    fn servers(&self) -> [String; 2] {
        ["--servers".into(), text(&self.at("servers.toml"))]
    }

    fn server(&self, name: &str) -> Vec<String> {
        let mut words = vec!["--server".into(), name.to_owned(), "--".into()];
        words.extend(self.recordings[name].of(&self.command(name)));
        words
    }

    fn gate_with(&self, servers: &[String]) -> Vec<String> {
        let mut command =
            vec![text(&program()), "mcp".into(), "--config".into(), text(&self.place.config_path)];
        command.extend_from_slice(servers);
        command
    }

    /// What a client over stdio starts: the gate with all servers.
    pub(crate) fn gate(&self) -> Vec<String> {
        self.gate_with(&self.servers())
    }

    /// The gate with one server.
    pub(crate) fn gate_of(&self, server: &str) -> Vec<String> {
        self.gate_with(&self.server(server))
    }

    /// What the SQLite server's file says of a statement, to a reader that is not that server.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); \
                      print(c.execute(sys.argv[2]).fetchall())";
        let file = text(&self.at("shared/orders.db"));
        let output =
            Command::new(peer("agents/bin/python")).args(["-c", script, &file, statement]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The gate with all servers as an endpoint.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::start(&self.place.config_path, &self.servers())
    }

    /// The gate with one server as an endpoint.
    pub(crate) fn endpoint_of(&self, server: &str) -> Endpoint {
        Endpoint::start(&self.place.config_path, &self.server(server))
    }

    /// How an agent gets to an endpoint.
    pub(crate) fn way_to(&self, endpoint: &Endpoint) -> Value {
        json!({ "url": endpoint.url, "token": self.place.token("assistant") })
    }

    /// What is asked for, turn by turn: of five servers at once; a commit, and an order that was entered already, as a call of its
    /// own; three things that are not granted; and one more that is.
    pub(crate) fn turns(&self) -> Value {
        let (note, repository) = (text(&self.at("shared/note.txt")), text(&self.at("repo")));
        let gate = json!({ "name": "gate", "entityType": "thing", "observations": ["shut"] });
        json!([
            [
                ["echo", { "message": "one" }],
                ["read_text_file", { "path": note }],
                ["create_entities", { "entities": [gate] }],
                ["git_add", { "repo_path": repository, "files": ["plan.txt"] }],
                ["write_query", { "query": ADDED }],
            ],
            [["git_commit", { "repo_path": repository, "message": "plan" }], ["write_query", { "query": ADDED }]],
            [
                ["write_query", { "query": DROPPED }],
                ["write_file", { "path": note, "content": "something else" }],
                ["delete_entities", { "entityNames": ["gate"] }],
            ],
            [["echo", { "message": "two" }]],
        ])
    }

    /// Whether the servers did what was permitted, once, and nothing else, and the log says so.
    pub(crate) fn ran_once_what_was_permitted(&self) {
        let turns = self.turns();
        let [first, commit, two] = ["/0", "/1/0", "/3/0"].map(|at| turns.pointer(at).unwrap());
        let asked = |call: &Value| (call[0].as_str().unwrap().to_owned(), call[1].clone());
        let expected = [
            ("everything", vec![asked(&first[0]), asked(two)]),
            ("files", vec![asked(&first[1])]),
            ("memory", vec![asked(&first[2])]),
            ("git", vec![asked(&first[3]), asked(commit)]),
            ("sqlite", vec![asked(&first[4])]),
        ];
        for (server, calls) in expected {
            assert_eq!(self.recordings[server].calls(), calls, "{server}");
        }
        assert_eq!(std::fs::read_to_string(self.at("shared/note.txt")).unwrap(), SAID);
        assert_eq!(self.sql("SELECT * FROM orders"), "[('lamp',)]");
        assert_eq!(git(&self.at("repo"), &["log", "--format=%s"]), "plan");
        let kept = std::fs::read_to_string(self.at("shared/memory.jsonl")).unwrap();
        let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(kept.len() == 1 && kept[0]["name"] == "gate", "{kept:?}");
        self.is_on_record();
    }

    fn is_on_record(&self) {
        self.place.settle();
        let mut said: Vec<String> = (self.place.log().rows.iter())
            .map(|row| {
                let record = &row.record;
                assert_eq!(record.agent.as_str(), "assistant");
                let why = record.reason.map_or_else(|| format!("{:?}", row.outcome), |code| code.to_string());
                format!("{} {} {why}", record.surface, record.decision.as_str())
            })
            .collect();
        said.sort();
        let expected = [
            "everything.echo PERMIT Some(Ok)",
            "everything.echo PERMIT Some(Ok)",
            "files.read_text_file PERMIT Some(Ok)",
            "files.write_file DENY policy.no_grant",
            "git.git_add PERMIT Some(Ok)",
            "git.git_commit PERMIT Some(Ok)",
            "memory.create_entities PERMIT Some(Ok)",
            "memory.delete_entities DENY policy.no_grant",
            "sqlite.write_query DENY idempotency.completed",
            "sqlite.write_query DENY policy.no_grant",
            "sqlite.write_query PERMIT Some(Ok)",
        ];
        assert_eq!(said, expected);
    }
}

pub(crate) fn bundle() -> BTreeMap<String, Vec<u8>> {
    let entities = r#"[{ "uid": { "type": "Agent", "id": "assistant" }, "attrs": {}, "parents": [] }]"#;
    BTreeMap::from(
        [
            ("bundle.toml", include_str!("agents/bundle.toml")),
            ("schema.cedarschema", include_str!("agents/schema.cedarschema")),
            ("policies/grants.cedar", include_str!("agents/grants.cedar")),
            ("entities.json", entities),
        ]
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())),
    )
}

fn done(arguments: &[&str]) {
    let ended = crate::portcullis(arguments);
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    std::fs::create_dir_all(repository).unwrap();
    let output = Command::new("git").current_dir(repository).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a client was shown, and told of each call, turn by turn: permitted calls have their results, refused ones say
/// why, and what was not reviewed is not shown.
pub(crate) fn was_told(shown: &[&str], answers: &[Vec<&str>]) {
    for tool in ["echo", "read_text_file", "create_entities", "git_commit", "write_query"] {
        assert!(shown.contains(&tool), "{tool} is not in {shown:?}");
    }
    // The file server has it, and nobody reviewed it.
    assert!(!shown.contains(&"move_file"), "{shown:?}");
    let counts: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert_eq!(counts, [5, 2, 3, 1], "{answers:?}");
    let entered = "[{'affected_rows': 1}]";
    let ran = ["Echo: one", SAID, "\"gate\"", "staged", entered];
    for (answer, part) in answers[0].iter().zip(ran) {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    assert!(answers[1][0].contains("committed") && answers[1][1] == entered, "{answers:?}");
    for refused in &answers[2] {
        let says = ["Blocked by Portcullis", "policy.no_grant", "Ask the bundle's author for a grant"];
        assert!(says.iter().all(|part| refused.contains(part)), "{refused}");
    }
    assert_eq!(answers[3], ["Echo: two"]);
}
