//! A recording of what reached a tool server, made by a program that nobody here wrote.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::text;

/// What coreutils' `tee` wrote down between gate and tool server, line by line, before the server could read it all.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    path: PathBuf,
}

impl Recording {
    /// A recording in a new file.
    pub(crate) fn new(path: &Path) -> Self {
        std::fs::write(path, "").unwrap();
        Self { path: path.to_owned() }
    }

    /// A tool server's command, with `tee` before it.
    pub(crate) fn of(&self, server: &[String]) -> Vec<String> {
        let recorder = r#"tee -a "$0" | exec "$@""#;
        let mut command = vec!["sh".into(), "-c".into(), recorder.into(), text(&self.path)];
        command.extend_from_slice(server);
        command
    }

    /// Every message so far; a line under way is not one yet.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many messages of a method there are so far.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.messages().iter().filter(|message| message["method"] == method).count()
    }

    /// The tool calls so far: name and arguments. [`super::Gate::settled`] waits until all that was sent is here.
    pub(crate) fn calls(&self) -> Vec<(String, Value)> {
        let calls = self.messages().into_iter().filter(|message| message["method"] == "tools/call");
        let call = |message: Value| {
            (message["params"]["name"].as_str().unwrap().to_owned(), message["params"]["arguments"].clone())
        };
        calls.map(call).collect()
    }
}
