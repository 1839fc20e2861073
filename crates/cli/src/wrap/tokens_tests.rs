use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::wrap::format::Format;

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

/// A run that was killed before it changed the client's file left them, and nothing named them.
#[test]
fn tokens_that_no_entry_names_stayed_for_good() {
    let scene = Scene::new();
    let directory = scene.folder.path().to_str().unwrap().to_owned();
    let tokens = Tokens { directory: Some(directory), client: "/c.json".into() };
    let text =
        r#"{"mcpServers": {"crm": {"url": "https://h/", "headers": {"Authorization": "Bearer sesame"}}}}"#;
    let was = Document::parse(text.as_bytes(), Format::Cursor, Path::new("/f")).unwrap();
    let entry = &was.entries[0].path;
    let path = |word: &str, tokens: &Tokens| PathBuf::from(tokens.path(word, entry).unwrap());
    let ours = TokenFile { path: path("any-word", &tokens), token: Token::new("sesame") };
    ours.write().unwrap();
    let others = Tokens { client: "/d.json".into(), ..tokens.clone() };
    TokenFile { path: path("crm", &others), token: Token::new("sesame") }.write().unwrap();
    let changed = path("changed", &tokens);
    TokenFile { path: changed.clone(), token: Token::new("other") }.write().unwrap();
    assert_eq!(forget_untold(&tokens, &was).unwrap(), [changed]);
    assert!(!ours.is_there().unwrap());
    assert_eq!(scene.names(), 2, "another file's, and what is another token by now");
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
