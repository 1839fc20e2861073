use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> TokenFile {
        TokenFile { path: self.folder.path().join("t"), token: Token::new("sesame") }
    }

    fn names(&self) -> usize {
        fs::read_dir(self.folder.path()).unwrap().count()
    }
}

#[test]
fn a_token_lies_in_a_file_that_only_its_owner_reads() {
    let scene = Scene::new();
    let file = scene.file();
    assert!(!file.is_there().unwrap());
    fs::write(scene.folder.path().join("t.new"), "half").unwrap();
    file.write().unwrap();
    assert_eq!(fs::read_to_string(&file.path).unwrap(), "sesame\n");
    assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o7777, 0o600);
    assert!(file.is_there().unwrap());
    assert_eq!(scene.names(), 1);
    file.remove().unwrap();
    file.remove().unwrap();
    assert_eq!(scene.names(), 0);
}

#[test]
fn a_file_of_somebody_elses_is_not_taken_for_a_tokens() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let scene = Scene::new();
        let file = scene.file();
        prepare(&file.path);
        assert!(file.is_there().is_err());
    };
    refused(&|path| fs::write(path, "other\n").unwrap());
    refused(&|path| fs::create_dir(path).unwrap());
    refused(&|path| {
        fs::write(path, "sesame\n").unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
    });
    refused(&|path| {
        fs::write(path.with_extension("x"), "sesame\n").unwrap();
        fs::set_permissions(path.with_extension("x"), PermissionsExt::from_mode(0o600)).unwrap();
        symlink(path.with_extension("x"), path).unwrap();
    });
}

#[test]
fn no_two_entries_share_a_file() {
    let entry = |name: &str| vec!["mcpServers".to_owned(), name.to_owned()];
    let names = [
        name("a", Path::new("/c"), &entry("a")),
        name("a", Path::new("/d"), &entry("a")),
        name("a", Path::new("/c"), &entry("b")),
        name("a", Path::new("/c"), &["projects".into(), "/p".into(), "mcpServers".into(), "a".into()]),
    ];
    let different: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
}
