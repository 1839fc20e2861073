//! Signers of a log that are not ours: the key is OpenSSL's, and so is every signature.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_verify::VerifierKey;

use super::{Place, text};

/// The beginning of a signer's program: the text is in `$work/text`, and `sign KEY` prints the line of a signature.
const SIGN: &str = r#"
set -eu
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat > "$work/text"
sign() {
    openssl pkeyutl -sign -inkey "$folder/$1.pem" -rawin -in "$work/text" -out "$work/signature"
    printf '\342\200\224 %s %s\n' "$name" "$( (printf "$(cat "$folder/$1.id")"; cat "$work/signature") | base64 -w0)"
}
"#;

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A key that OpenSSL made, as `<which>.pem` in a folder, with its key id as `printf` escapes in `<which>.id`.
fn openssl_key(folder: &Path, which: &str, name: &str) -> VerifierKey {
    let pem = folder.join(format!("{which}.pem"));
    run(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&pem));
    let der = run(Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&pem));
    let key = VerifierKey::ed25519(name, der[der.len() - 32..].try_into().unwrap()).unwrap();
    let id: String = key.key_id().to_be_bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
    std::fs::write(folder.join(format!("{which}.id")), id).unwrap();
    key
}

/// Makes the program `sign` for a deployment's log, which ends by this script. Its folder, where `other` is a key that is
/// not the log's, and the log's key.
pub(crate) fn openssl_signer(place: &Place, script: &str) -> (PathBuf, VerifierKey) {
    let folder = place.directory("signer");
    let name = place.config.log_key.name().as_str().to_owned();
    let key = openssl_key(&folder, "log", &name);
    openssl_key(&folder, "other", &name);
    let program = format!("#!/bin/sh\nfolder='{}'\nname='{name}'\n{SIGN}{script}", text(&folder));
    std::fs::write(folder.join("sign"), program).unwrap();
    std::fs::set_permissions(folder.join("sign"), std::fs::Permissions::from_mode(0o700)).unwrap();
    (folder, key)
}

/// Everything that a log's key was asked to sign, noted before it signs.
pub(crate) struct Signed {
    folder: PathBuf,
}

impl Signed {
    /// Puts a signer that notes what it signs into a deployment.
    pub(crate) fn by(place: &mut Place) -> Self {
        let (folder, key) = openssl_signer(place, "cat \"$work/text\" >> \"$folder/signed\"\nsign log\n");
        let program = text(&folder.join("sign"));
        place
            .signed_by(&key, &format!("kind = \"command\"\ncommand = [\"{program}\"]\ndeadline_ms = 1900\n"));
        Self { folder }
    }

    /// The roots that were signed for each size.
    pub(crate) fn heads(&self) -> BTreeMap<u64, Vec<String>> {
        let noted = std::fs::read_to_string(self.folder.join("signed")).unwrap_or_default();
        let lines: Vec<_> = noted.lines().collect();
        let mut heads: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for head in lines.chunks(3) {
            let [_, size, root] = head else { panic!("no head: {head:?}") };
            heads.entry(size.parse().unwrap()).or_default().push((*root).to_owned());
        }
        heads
    }

    /// The sizes that more than one root was signed for.
    pub(crate) fn split(&self) -> Vec<u64> {
        let differs = |roots: &[String]| roots.iter().any(|root| Some(root) != roots.first());
        self.heads().into_iter().filter(|(_, roots)| differs(roots)).map(|(size, _)| size).collect()
    }
}
