//! What a tool server can reach of the machine. Each is tried by a shell that a supervisor has started as its tool server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_gate::confine::Confinement;
use portcullis_protocol::{Outcome, Tier};

use super::support::{Gate, code, example, local, surface, table};

/// A gate's directory with what governs it, and one to work in.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for directory in ["gate/keys", "gate/data", "gate/other", "work"] {
            fs::create_dir_all(folder.path().join(directory)).unwrap();
        }
        for file in
            ["gate/config", "gate/keys/token", "gate/data/ledger", "gate/ca", "gate/other/x", "work/own"]
        {
            fs::write(folder.path().join(file), file).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a script as a tool server that is kept from what governs it, in the home. Returns what it writes.
    fn run(&self, script: &str) -> String {
        let hidden = ["gate/config", "gate/keys", "gate/data", "gate/not-yet"];
        let hide = hidden.iter().flat_map(|name| ["--hide".to_owned(), self.path(name)]);
        let keep = ["--keep".to_owned(), self.path("gate/ca")];
        self.supervised(&hide.chain(keep).collect::<Vec<_>>(), script)
    }

    fn supervised(&self, confinement: &[String], script: &str) -> String {
        let mut command = Command::new(example("gate_host"));
        command.arg("__upstream").args(confinement).args(["--", "sh", "-c", script]);
        let output = command.current_dir(self.folder.path()).stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Which of these commands succeed.
    fn succeed<'a>(&self, commands: &[&'a str]) -> Vec<&'a str> {
        let said = self.run(&tries(commands));
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), commands.len(), "{said}");
        commands.iter().zip(lines).filter(|(_, line)| *line == "yes").map(|(command, _)| *command).collect()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }
}

fn tries(commands: &[&str]) -> String {
    let tries = commands.iter().map(|command| {
        format!("if ({command}) >/dev/null 2>&1 </dev/null; then echo yes; else echo no; fi\n")
    });
    tries.collect()
}

#[test]
fn what_governs_a_tool_server_is_neither_read_nor_written_nor_replaced() {
    let home = Home::new();
    fs::write(home.path("gate/config.new"), "").unwrap();
    std::os::unix::fs::symlink(home.path("gate/keys/token"), home.path("work/link")).unwrap();
    std::os::unix::fs::symlink(home.path("gate"), home.path("work/way")).unwrap();
    let refused = [
        "cat gate/config",
        "cat gate/keys/token",
        "cat gate/data/ledger",
        "cat work/link",
        "cat work/way/config",
        "cat /proc/self/cwd/gate/config",
        "echo x > gate/config",
        "echo x >> gate/data/ledger",
        ": > gate/config",
        "echo x > work/link",
        "truncate -s 0 gate/config",
        "rm gate/config",
        "rm -r gate/keys",
        "mv gate/keys work/keys",
        "mv gate elsewhere",
        "mv work/own gate/config",
        "ln -f work/own gate/config",
        "ln gate/keys/token work/hard",
        "echo x > gate/keys/new",
        "mkdir gate/data/new",
        "echo x > gate/not-yet",
        "mkdir gate/not-yet",
        "ln -s /etc/passwd gate/not-yet",
        "echo x > gate/ca",
        "mv work/own gate/ca",
        "mount --bind work gate",
        "mv gate/config.new gate/config",
        "echo x > gate/config.new",
    ];
    assert_eq!(home.succeed(&refused), [""; 0]);
    for (file, content) in [("gate/config", "gate/config"), ("gate/keys/token", "gate/keys/token")] {
        assert_eq!(home.read(file), content);
    }
    assert_eq!((home.read("gate/ca"), home.read("work/own")), ("gate/ca".to_owned(), "work/own".to_owned()));
    assert!(!Path::new(&home.path("gate/not-yet")).exists());
    // The same commands do their work where nobody is kept from anything: it is not they that fail.
    let reading = &refused[..6];
    let said = home.supervised(&["--unconfined".to_owned()], &tries(reading));
    assert_eq!(said, "yes\n".repeat(reading.len()));
}

/// Rules go with a file, whatever it is called afterwards.
#[test]
fn what_was_being_written_to_take_the_place_of_a_hidden_file_stayed_writable() {
    let home = Home::new();
    fs::write(home.path("gate/config.new"), "gate/config.new").unwrap();
    let script = format!("echo ready; read go; {}", tries(&["cat gate/config", "echo x > gate/config"]));
    let mut command = Command::new(example("gate_host"));
    command.args(["__upstream", "--hide", &home.path("gate/config"), "--", "sh", "-c", &script]);
    command.current_dir(home.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    fs::rename(home.path("gate/config.new"), home.path("gate/config")).unwrap();
    server.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(said.map(Result::unwrap).collect::<Vec<_>>(), ["no", "no"]);
    assert_eq!(home.read("gate/config"), "gate/config.new");
    server.wait().unwrap();
}

#[test]
fn what_is_to_be_hidden_is_not_handed_out_because_others_may_read_it() {
    let home = Home::new();
    let both = ["--hide", "gate/ca", "--keep", "gate/ca"].map(|word| match word {
        "gate/ca" => home.path(word),
        word => word.to_owned(),
    });
    assert_eq!(home.supervised(&both, "echo ran"), "");
}

#[test]
fn a_tool_server_has_no_terminal_into_which_it_could_type() {
    let home = Home::new();
    let said = home.run("ps -o sid= -p $$; echo $$; (: < /dev/tty) 2>/dev/null && echo terminal");
    let words: Vec<_> = said.split_whitespace().collect();
    assert!(words.len() == 2 && words[0] == words[1], "{said}");
}

#[test]
fn what_does_not_govern_a_tool_server_is_as_it_was() {
    let home = Home::new();
    let allowed = [
        "cat work/own",
        "echo x > work/new",
        "mkdir work/directory",
        "mv work/new work/directory/new",
        "rm work/directory/new",
        "ls work",
        "ls gate",
        "cat gate/other/x",
        "echo x > gate/other/new",
        "cat gate/ca",
        "test -e gate/config",
        "cat /etc/passwd",
        "ls /usr/bin",
        "sh -c 'exit 0'",
        "cd gate && cd ../work && pwd",
        "echo x > /dev/null",
        "sh -c 'kill -TERM $$' & wait $!; test $? = 143",
    ];
    assert_eq!(home.succeed(&allowed), allowed);
}

#[test]
fn a_link_on_the_way_to_what_governs_is_not_put_elsewhere() {
    let home = Home::new();
    fs::create_dir(home.path("links")).unwrap();
    std::os::unix::fs::symlink("../gate/config", home.path("links/config")).unwrap();
    let hide = ["--hide".to_owned(), home.path("links/config")];
    let commands =
        ["cat links/config", "cat gate/config", "rm links/config", "mv links away", "ln -sf x links/config"];
    assert_eq!(home.supervised(&hide, &tries(&commands)), "no\n".repeat(commands.len()));
    assert_eq!(fs::read_link(home.path("links/config")).unwrap(), Path::new("../gate/config"));
}

#[test]
fn processes_outside_are_neither_looked_into_nor_signalled() {
    let home = Home::new();
    let me = std::process::id();
    let commands = [
        format!("cat /proc/{me}/environ"),
        format!("cat /proc/{me}/maps"),
        format!("readlink /proc/{me}/fd/0"),
        format!("kill -CONT {me}"),
    ];
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    assert_eq!(home.succeed(&commands), [""; 0]);
    let said = home.supervised(&["--unconfined".to_owned()], &tries(&commands));
    assert_eq!(said, "yes\n".repeat(commands.len()));
}

#[test]
fn what_the_gate_was_started_with_open_is_closed_to_the_tool_server() {
    let home = Home::new();
    let open = fs::File::open(home.path("gate/config")).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let script = format!("test -e /proc/self/fd/{} && echo open; ls /proc/self/fd | wc -l", open.as_raw_fd());
    for confinement in [vec!["--unconfined".to_owned()], vec!["--hide".to_owned(), home.path("gate/keys")]] {
        let said = home.supervised(&confinement, &script);
        // Its own three, and the directory that `ls` reads.
        assert_eq!(said, "4\n", "{confinement:?}");
    }
}

#[test]
fn a_supervisor_that_is_told_nothing_or_both_of_confinement_starts_nothing() {
    let home = Home::new();
    let touch = format!("touch {}; echo ran", home.path("work/touched"));
    for arguments in [
        &[][..],
        &["--unconfined".to_owned(), "--hide".to_owned(), home.path("gate")],
        &["--hide".to_owned(), "relative".to_owned()],
        &["--hide".to_owned()],
        &["--keep".to_owned()],
        &["--loose".to_owned()],
        &["--hide".to_owned(), "/".to_owned()],
    ] {
        assert_eq!(home.supervised(arguments, &touch), "", "{arguments:?}");
    }
    assert!(!Path::new(&home.path("work/touched")).exists());
}

/// A gate that cannot confine its tool server, with `rec.pay` on the tier `critical`.
#[tokio::test]
async fn nothing_critical_runs_in_a_tool_server_that_could_reach_what_governs_it() {
    let mut gate = Gate::with(|config| local(config).confinement = Confinement::default());
    gate.told("critical surfaces are blocked with upstream.unconfined").await;
    let mut surfaces = table(1);
    let mut critical = surface(portcullis_protocol::Idempotency::None, &[]);
    critical.tier = Tier::Critical;
    surfaces.surfaces.insert("rec.read".parse().unwrap(), critical);
    *gate.arbiter.table.lock().unwrap() = Ok(surfaces);
    assert_eq!(code(&gate.tool(1, "read", "{}").await), "upstream.unconfined");
    assert_eq!(gate.journal().await, [""; 0]);
    // It was asked for and is on record, as a PERMIT that was not spent.
    assert_eq!(gate.arbiter.questions().len(), 1);
    assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Expired, None)]);
    // Other tiers run.
    assert_eq!(gate.tool(2, "write", r#"{"path":"/a"}"#).await["result"]["isError"], false);
}

#[tokio::test]
async fn what_is_critical_runs_in_a_tool_server_that_is_confined() {
    let home = Home::new();
    let mut gate =
        Gate::with(|config| local(config).confinement.hidden.push(home.path("gate/config").into()));
    let mut surfaces = table(1);
    let mut critical = surface(portcullis_protocol::Idempotency::None, &[]);
    critical.tier = Tier::Critical;
    surfaces.surfaces.insert("rec.read".parse().unwrap(), critical);
    *gate.arbiter.table.lock().unwrap() = Ok(surfaces);
    assert_eq!(gate.tool(1, "read", "{}").await["result"]["isError"], false);
    assert_eq!(gate.journal().await.len(), 1);
}
