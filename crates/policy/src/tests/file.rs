//! A bundle as one file, and what attackers make of one. Everything is refused before any of it is believed.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_protocol::ReasonCode;
use tempfile::TempDir;

use crate::Snapshot;
use crate::testing::{edit, files, signed, source, with, write};

/// The signed bundle's file.
fn built() -> Vec<u8> {
    Snapshot::from_files(signed(files())).unwrap().to_bytes().unwrap()
}

/// A place for a bundle's file.
fn place() -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let path = home.path().join("a.bundle");
    (home, path)
}

/// The code under which a file with these bytes is not used, where the built one is pinned.
#[track_caller]
fn code(bytes: &[u8]) -> ReasonCode {
    let (_home, path) = place();
    std::fs::write(&path, bytes).unwrap();
    let error = source(&path, &files()).current().unwrap_err();
    assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
    error.code()
}

fn text() -> String {
    String::from_utf8(built()).unwrap()
}

/// A member of the file's list.
fn member(path: &str, content: &[u8]) -> String {
    format!("{}:\"{}\"", serde_json::to_string(path).unwrap(), STANDARD.encode(content))
}

/// The file with one member more, in front: of a path that sorts before the others.
fn with_first(member: &str) -> Vec<u8> {
    let text = text();
    let changed = text.replacen("{\"files\":{", &format!("{{\"files\":{{{member},"), 1);
    assert_ne!(changed, text);
    changed.into_bytes()
}

#[test]
fn equal_content_is_equal_bytes_wherever_it_lay_and_whenever_it_was_written() {
    let (home, path) = place();
    write(&home.path().join("one"), &signed(files()));
    let mut backwards: Vec<_> = signed(files()).into_iter().collect();
    backwards.reverse();
    for (name, bytes) in backwards {
        let file = home.path().join("two").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
    let built = |name: &str| Snapshot::read(&home.path().join(name)).unwrap().to_bytes().unwrap();
    assert_eq!(built("one"), built("two"));
    std::fs::write(&path, built("one")).unwrap();
    assert_eq!(built("a.bundle"), built("one"));
    // On every machine, from every version of this program, and as a few lines of another language make it.
    let digest = portcullis_protocol::Digest::sha256(
        &Snapshot::from_files(crate::bundles::demo()).unwrap().to_bytes().unwrap(),
    );
    assert_eq!(digest.to_string(), "sha256:465ae128c90bbb5181d55c496ddeac1c7de940a5fd3a65f8ab95550f1ac358bd");
}

#[test]
fn a_file_decides_as_its_directory_does_and_only_as_long_as_it_is_what_was_signed() {
    let (_home, path) = place();
    let source = source(&path, &files());
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyMissing);
    std::fs::write(&path, built()).unwrap();
    assert_eq!(source.current().unwrap().reference().version, 7);
    std::fs::write(&path, text().replacen("\"v\":1", "\"v\":2", 1)).unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyCorrupt);
    let next = signed(with("bundle.toml", "version = 7", "version = 8"));
    std::fs::write(&path, Snapshot::from_files(next).unwrap().to_bytes().unwrap()).unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyPinMismatch);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyMissing);
    std::fs::write(&path, built()).unwrap();
    assert!(source.current().is_ok());
}

#[test]
fn a_stripped_file_is_policy_unsigned() {
    assert_eq!(code(&Snapshot::from_files(files()).unwrap().to_bytes().unwrap()), ReasonCode::PolicyUnsigned);
    let mut empty = files();
    empty.insert("bundle.sig".into(), Vec::new());
    let empty = Snapshot::from_files(empty).unwrap().to_bytes().unwrap();
    assert_eq!(code(&empty), ReasonCode::PolicySignatureEmpty);
}

#[test]
fn a_swapped_member_is_policy_signature_invalid() {
    let swapped = edit(signed(files()), "policies/main.cedar", "\"100.00\"", "\"999.00\"");
    let bytes = Snapshot::from_files(swapped).unwrap().to_bytes().unwrap();
    assert_eq!(code(&bytes), ReasonCode::PolicySignatureInvalid);
}

#[test]
fn a_file_cut_anywhere_is_policy_corrupt() {
    let whole = built();
    for end in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        assert_eq!(code(&whole[..end]), ReasonCode::PolicyCorrupt, "{end} of {}", whole.len());
    }
}

/// A reader that takes the first of two equal names and a checker that takes the last judge two bundles.
#[test]
fn a_name_twice_is_policy_corrupt() {
    for path in ["bundle.sig", "policies/main.cedar", "bundle.toml"] {
        let other = member(path, b"permit (principal, action, resource);");
        assert_eq!(code(&with_first(&other)), ReasonCode::PolicyCorrupt, "{path}");
    }
    let files_twice = text().replacen("{\"files\":{", "{\"files\":{},\"files\":{", 1);
    assert_eq!(code(files_twice.as_bytes()), ReasonCode::PolicyCorrupt);
}

#[test]
fn a_path_that_leads_anywhere_else_is_policy_corrupt() {
    for path in [
        "../bundle.toml",
        "../../etc/cron.d/x",
        "/etc/passwd",
        "./bundle.toml",
        "policies/../bundle.toml",
        "policies/../../x.cedar",
        "policies//x.cedar",
        "policies/sub/x.cedar",
        "policies\\x.cedar",
        "policies/.x.cedar",
        "policies/x.cedar\0",
        "policies/x\u{202e}\n.cedar",
        "tests/../x.toml",
        "BUNDLE.TOML",
        "",
        ".",
        "keys/bundle.key",
    ] {
        let mut all = signed(files());
        all.insert(path.to_owned(), b"x".to_vec());
        // The very bytes that a writer without our rules would make.
        let listed: Vec<_> = all.iter().map(|(path, bytes)| member(path, bytes)).collect();
        let bytes = format!("{{\"files\":{{{}}},\"v\":1}}", listed.join(","));
        assert_eq!(code(bytes.as_bytes()), ReasonCode::PolicyCorrupt, "{path:?}");
        assert!(Snapshot::from_files(all).is_err(), "{path:?}");
    }
}

#[test]
fn another_spelling_of_the_same_content_is_policy_corrupt() {
    let text = text();
    let unsorted = {
        let mut all: Vec<_> = signed(files()).iter().map(|(path, bytes)| member(path, bytes)).collect();
        all.swap(0, 1);
        format!("{{\"files\":{{{}}},\"v\":1}}", all.join(","))
    };
    for other in [
        format!("{text}\n"),
        format!("{text}\0"),
        format!("{text}{text}"),
        format!(" {text}"),
        format!("\u{feff}{text}"),
        text.replacen(':', ": ", 1),
        text.replacen("bundle.toml", "bundle\\u002etoml", 1),
        text.replacen("=\"", "\"", 1),
        text.replacen("\"v\":1", "\"v\":1.0", 1),
        text.replacen("\"v\":1", "\"v\":1,\"w\":1", 1),
        text.replacen("{\"files\":", "{\"v\":1,\"files\":", 1).replacen(",\"v\":1}", "}", 1),
        unsorted,
        "{\"files\":[],\"v\":1}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "[".repeat(100_000),
        "{\"files\":".repeat(10_000),
    ] {
        assert_ne!(other, text);
        assert_eq!(code(other.as_bytes()), ReasonCode::PolicyCorrupt, "{}", &other[..40.min(other.len())]);
    }
}

/// No compressed form is read, so that nothing can grow while it is; no form with links, so that none can be followed.
#[test]
fn a_zip_or_tar_is_policy_corrupt_whatever_is_in_it() {
    // 42.zip begins so, an empty zip is only its end, gzip, zstd, xz and bzip2 begin so.
    let zip = b"PK\x03\x04\x14\x00\x01\x00\x08\x00".repeat(64);
    let mut tar = vec![0_u8; 1024];
    tar[..11].copy_from_slice(b"bundle.toml");
    tar[156] = b'2';
    tar[257..262].copy_from_slice(b"ustar");
    let compressed: [&[u8]; 5] =
        [b"PK\x05\x06", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh91AY&SY"];
    for bytes in [zip.as_slice(), &tar].into_iter().chain(compressed) {
        assert_eq!(code(bytes), ReasonCode::PolicyCorrupt);
    }
}

#[test]
fn what_is_too_large_is_not_read_to_its_end() {
    let (_home, path) = place();
    // Sparse: a terabyte that takes no disk, and that nobody could hold.
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = source(&path, &files()).current().unwrap_err();
    assert_eq!(error.code(), ReasonCode::PolicyCorrupt);
    let mut large = signed(files());
    large.insert("README.md".into(), vec![b'x'; 1024 * 1024 + 1]);
    let listed: Vec<_> = large.iter().map(|(path, bytes)| member(path, bytes)).collect();
    assert_eq!(
        code(format!("{{\"files\":{{{}}},\"v\":1}}", listed.join(",")).as_bytes()),
        ReasonCode::PolicyCorrupt
    );
    let manifest = member("bundle.toml", b"");
    let many = (0..256).map(|n| member(&format!("policies/{n:03}.cedar"), b"")).collect::<Vec<_>>().join(",");
    assert_eq!(
        code(format!("{{\"files\":{{{manifest},{many}}},\"v\":1}}").as_bytes()),
        ReasonCode::PolicyCorrupt
    );
}

/// The file itself may be reached over a symlink, as a mounted configuration often is: its content is bound by digest.
/// What is no file is never opened for long.
#[test]
fn what_lies_in_the_files_place_is_a_file_or_nothing() {
    let (home, path) = place();
    let real = home.path().join("real");
    std::fs::write(&real, built()).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let source = source(&path, &files());
    assert!(source.current().is_ok());
    std::fs::write(&real, b"PK\x03\x04").unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyCorrupt);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyMissing);
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyMissing);
}
