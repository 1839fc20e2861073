//! `portcullis wrap`, killed at every system call that changes the disk, and refused by the disk at each.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::strace::{injected, lines, under_strace};
use crate::support::{Place, program, text};

const OLD: &str =
    "{\n  // ours\n  \"mcpServers\": { \"demo\": { \"command\": \"node\", \"args\": [\"server.js\"] } }\n}\n";
/// One whose token moves out of the file.
const BY_URL: &str = "{\n  \"mcpServers\": { \"crm\": { \"type\": \"http\", \"url\": \"https://h.example/mcp\",\n    \
    \"headers\": { \"Authorization\": \"Bearer sesame\" } } }\n}\n";
/// What changes the disk, or opens what does.
const CALLS: [&str; 7] = ["openat", "write", "fchmod", "fsync", "renameat2", "unlink", "flock"];
/// More often than a run makes any of them.
const MOST: usize = 200;

struct Scene {
    place: Place,
    old: &'static str,
    file: PathBuf,
    log: PathBuf,
}

impl Scene {
    fn new(old: &'static str) -> Self {
        let place = Place::demo();
        let folder = place.directory("client");
        let file = folder.join(".mcp.json");
        std::fs::write(&file, old).unwrap();
        Self { log: place.path("strace"), place, old, file }
    }

    /// Runs `portcullis wrap` with these faults. What it printed, and whether they struck.
    fn wrap(&self, more: &[&str], faults: &[String]) -> (Output, bool) {
        let mut command = under_strace(&program(), faults, &self.log);
        command.args(["wrap", &text(&self.file), "--config", &text(&self.place.config_path)]).args(more);
        let output = command.output().expect("strace: `cargo xtask test` installs it");
        // strace outlives what it traces by a moment.
        let struck = crate::support::until("strace's log", || {
            let calls = lines(&self.log);
            let ended = |how: &str| calls.iter().any(|call| call.contains(how));
            let killed = ended("+++ killed by SIGKILL");
            (killed || ended("+++ exited")).then(|| killed || injected(&calls) > 0)
        });
        std::fs::remove_file(&self.log).unwrap();
        (output, struck)
    }

    fn content(&self, path: &Path) -> Option<String> {
        path.exists().then(|| std::fs::read_to_string(path).unwrap())
    }

    fn backup(&self) -> PathBuf {
        self.file.with_file_name(".mcp.json.before-portcullis")
    }

    /// Whether the file that holds the token is there, if the wrapped file names one.
    fn has_its_token(&self, wrapped: &str) -> bool {
        let Some((_, rest)) = wrapped.split_once("\"--token-file\", \"") else { return true };
        let path = Path::new(rest.split_once('"').unwrap().0);
        self.content(path).as_deref() == Some("sesame\n")
    }

    /// The file is the old one or the wrapped one, and the wrapped one has its backup and its token.
    fn whole(&self, wrapped: &str, when: &str) {
        let (file, backup) = (self.content(&self.file), self.content(&self.backup()));
        match file.as_deref() {
            Some(file) if file == self.old => {
                assert!(backup.is_none_or(|backup| backup == self.old), "{when}");
            }
            Some(file) if file == wrapped => {
                assert_eq!(backup.as_deref(), Some(self.old), "{when}");
                assert!(self.has_its_token(wrapped), "{when}: the token is gone");
            }
            other => panic!("{when}: {other:?}"),
        }
    }

    /// A run without faults finishes what another began, whether it wraps or takes out.
    fn mended(&self, wrapped: &str, when: &str) {
        let (output, _) = self.wrap(&[], &[]);
        assert!(output.status.success(), "{when}: {output:?}");
        assert_eq!(self.content(&self.file).as_deref(), Some(wrapped), "{when}");
        assert_eq!(self.content(&self.backup()).as_deref(), Some(self.old), "{when}");
        assert!(self.has_its_token(wrapped), "{when}: the token is not there");
    }

    fn undone(&self, when: &str) {
        let (output, _) = self.wrap(&["--undo"], &[]);
        assert!(output.status.success(), "{when}: {output:?}");
        assert_eq!(self.content(&self.file).as_deref(), Some(self.old), "{when}");
        assert_eq!(self.content(&self.backup()), None, "{when}");
    }
}

/// Does `fault` to the nth of each kind of call for every n; returns how often it struck.
fn each(fault: &str, scene: &Scene, wrapped: &str) -> usize {
    let mut struck = 0;
    for call in CALLS {
        for nth in 1..MOST {
            let faults = [format!("trace={call}"), format!("inject={call}:{fault}:when={nth}")];
            let when = format!("{fault} at {call} {nth}");
            let (output, wrapping) = scene.wrap(&[], &faults);
            scene.whole(wrapped, &format!("{when}: {output:?}"));
            scene.mended(wrapped, &when);
            let (output, undoing) = scene.wrap(&["--undo"], &faults);
            scene.whole(wrapped, &format!("undo, {when}: {output:?}"));
            if scene.backup().exists() {
                scene.undone(&when);
            }
            struck += usize::from(wrapping) + usize::from(undoing);
            if !wrapping && !undoing {
                break;
            }
            assert!(nth < MOST - 1, "{call} is called too often for this test");
        }
    }
    struck
}

#[test]
fn a_wrap_that_is_killed_or_refused_at_any_call_leaves_the_old_file_or_the_new_one_and_the_backup() {
    let scene = Scene::new(OLD);
    scene.wrap(&[], &[]);
    let wrapped = scene.content(&scene.file).unwrap();
    assert!(wrapped.contains("--client") && wrapped.contains("// ours"), "{wrapped}");
    scene.undone("the first");
    let killed = each("signal=KILL", &scene, &wrapped);
    let refused = each("error=EIO", &scene, &wrapped);
    println!("killed {killed} times, refused {refused} times");
    assert!(killed > 20 && refused > 20, "{killed} {refused}");
}

#[test]
fn a_token_was_taken_back_after_the_file_that_names_it_was_in_place() {
    let scene = Scene::new(BY_URL);
    scene.wrap(&[], &[]);
    let wrapped = scene.content(&scene.file).unwrap();
    assert!(wrapped.contains("--token-file") && scene.has_its_token(&wrapped), "{wrapped}");
    scene.undone("the first");
    let killed = each("signal=KILL", &scene, &wrapped);
    let refused = each("error=EIO", &scene, &wrapped);
    println!("killed {killed} times, refused {refused} times");
    assert!(killed > 20 && refused > 20, "{killed} {refused}");
}

#[test]
fn where_the_disk_cannot_exchange_files_a_wrap_renames() {
    let scene = Scene::new(OLD);
    let faults = ["trace=renameat2".to_owned(), "inject=renameat2:error=EINVAL".to_owned()];
    for more in [&[][..], &["--undo"]] {
        let (output, struck) = scene.wrap(more, &faults);
        assert!(struck && output.status.success(), "{output:?}");
    }
    assert_eq!(scene.content(&scene.file).as_deref(), Some(OLD));
    assert_eq!(std::fs::read_dir(scene.file.parent().unwrap()).unwrap().count(), 1);
}
