//! Writes `vectors/` anew: `cargo run -p portcullis-verify --example vectors`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a generator of fixed files, for the repository only"
)]
#![expect(clippy::print_stdout, reason = "it says what it wrote")]

#[path = "../tests/vectors/cases.rs"]
mod cases;

use std::path::Path;

use serde_json::json;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    // Members in the order of their names: whether another crate asks serde_json to keep their order makes no difference.
    let mut listed = Vec::new();
    for case in cases::cases() {
        let path = cases::path(&case);
        let to = folder.join(&path);
        std::fs::create_dir_all(to.parent().unwrap())?;
        std::fs::write(to, &case.bytes)?;
        listed.push(json!({ "error": case.error, "file": path, "kind": case.kind.as_str() }));
    }
    let keys: Vec<String> = cases::keys().iter().map(ToString::to_string).collect();
    let count = listed.len();
    let manifest = json!({ "cases": listed, "keys": keys });
    std::fs::write(folder.join("manifest.json"), format!("{manifest:#}\n"))?;
    println!("{count} vectors");
    Ok(())
}
