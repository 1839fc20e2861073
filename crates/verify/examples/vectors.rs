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

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let write = |path: &str, bytes: &[u8]| {
        let to = folder.join(path);
        std::fs::create_dir_all(to.parent().unwrap())?;
        std::fs::write(to, bytes)
    };
    for case in cases::cases() {
        write(&cases::path(&case), &case.bytes)?;
    }
    write(cases::ROOT, cases::packs::root().0.as_bytes())?;
    // Members in the order of their names: whether another crate asks serde_json to keep their order makes no difference.
    let manifest = cases::manifest();
    write("manifest.json", format!("{manifest:#}\n").as_bytes())?;
    println!("{} vectors", manifest["cases"].as_array().unwrap().len());
    Ok(())
}
