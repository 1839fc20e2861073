use std::os::unix::fs::symlink;

use super::*;
use crate::wrap::document::{Document, Kind};
use crate::wrap::format::Format;

/// The gate of this run, with files that are there.
struct Scene {
    folder: tempfile::TempDir,
    gate: Gate,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = folder.path().canonicalize().unwrap().join(name);
            std::fs::write(&path, "").unwrap();
            path.to_str().unwrap().to_owned()
        };
        let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        let gate = Gate { program, config: at("gate.toml"), client: at("mcp.json") };
        at("evil.toml");
        Self { folder, gate }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned()
    }

    fn other(&self, program: &str, words: &[&str]) -> Option<Other> {
        let words = [&["mcp"], words, &["--", "x"]].concat();
        let text = serde_json::json!({ "mcpServers": { "a": { "command": program, "args": words } } });
        let document = Document::parse(text.to_string().as_bytes(), Format::Cursor, Path::new("/f")).unwrap();
        let Kind::Local(launch) = &document.entries[0].kind else { panic!("remote") };
        assert!(Passage::of(launch).unwrap().is_some(), "{program} is taken for a server's own command");
        other(launch, &self.gate).unwrap()
    }
}

#[test]
fn another_program_or_configuration_went_for_this_gate() {
    let scene = Scene::new();
    let (program, config) = (scene.gate.program.clone(), scene.gate.config.clone());
    let own = ["--config", config.as_str()];
    assert_eq!(scene.other(&program, &own), None);
    let link = scene.at("portcullis");
    symlink(&program, &link).unwrap();
    assert_eq!(scene.other(&link, &own), None);
    symlink(&config, scene.at("linked.toml")).unwrap();
    assert_eq!(scene.other(&program, &["-c", &scene.at("linked.toml")]), None);
    // Programs that are others, or that are found elsewhere by each process.
    let false_one = scene.at("false/portcullis");
    std::fs::create_dir(scene.at("false")).unwrap();
    std::fs::write(&false_one, "").unwrap();
    let magic = scene.at("magic/portcullis");
    std::fs::create_dir(scene.at("magic")).unwrap();
    symlink("/proc/self/exe", &magic).unwrap();
    for other in ["portcullis", "./portcullis", "${PWD}/portcullis", "/x${A}/portcullis", &false_one, &magic]
    {
        assert_eq!(scene.other(other, &own), Some(Other::Program(other.into())), "{other}");
    }
    // Configurations that are others, or that are found elsewhere by each process.
    for other in
        [&scene.at("evil.toml"), "gate.toml", "${PWD}/gate.toml", "/proc/self/cwd/gate.toml", "/none"]
    {
        let found = scene.other(&program, &["--config", other]);
        assert_eq!(found, Some(Other::Config(Some(other.into()))), "{other}");
    }
    assert_eq!(
        scene.other(&program, &[]),
        Some(Other::Config(None)),
        "it reads `portcullis.toml` of some directory"
    );
}
