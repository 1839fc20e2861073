//! Fuzz targets for everything that reads bytes which nobody vouches for: `cargo xtask fuzz`.
//!
//! One program for all targets, because linking Cedar once is enough: the variable `PORTCULLIS_FUZZ` names the target.
//! Each target holds the parser against something else than itself: another parser, the text that a value is written
//! as, or the set of everything that was ever signed with the keys in question.
//!
//! With `PORTCULLIS_FUZZ_SEEDS` set to a folder, the program writes the checked-in beginnings of each corpus there and
//! ends.
#![no_main]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a finding is a panic"
)]

mod endpoint;
mod identity;
mod known;
mod reference;
mod seeds;
mod targets;

// What the gate reads lines and messages with is nobody else's business, and so not public.
#[path = "../../crates/gate/src/line.rs"]
#[expect(dead_code, reason = "the gate uses all of it")]
mod line;
#[path = "../../crates/gate/src/lookalike.rs"]
#[expect(dead_code, reason = "the gate uses all of it")]
mod lookalike;
#[path = "../../crates/gate/src/message.rs"]
#[expect(dead_code, reason = "the gate uses all of it")]
mod message;
#[path = "../../crates/gate/src/page.rs"]
#[expect(dead_code, reason = "the gate uses all of it")]
mod page;
#[path = "../../crates/gate/src/endpoint/rewrite.rs"]
#[expect(dead_code, reason = "the endpoint uses all of it")]
mod rewrite;
#[path = "../../crates/gate/src/subscription.rs"]
mod subscription;
// Nor is how findings in a bundle are shown.
#[path = "../../crates/cli/src/commands/bundle/finding.rs"]
mod finding;
mod harmless;
// Nor is how a trace is read.
#[path = "../../crates/server/src/simulate/lines.rs"]
mod lines;
// Nor is how a spool's file is read.
#[path = "../../crates/spool/src/frame.rs"]
#[expect(dead_code, reason = "the spool uses all of it")]
mod frame;
// Nor is how a slot of the anchor is.
#[path = "../../crates/ledger/src/slot.rs"]
#[expect(dead_code, reason = "the anchor uses all of it")]
mod slot;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a program that cannot begin says why")]
fn begin() {
    if let Some(folder) = std::env::var_os("PORTCULLIS_FUZZ_SEEDS") {
        seeds::write(folder.as_ref());
        std::process::exit(0);
    }
    let name = std::env::var("PORTCULLIS_FUZZ").unwrap_or_default();
    if name == "list" {
        targets::ALL.iter().for_each(|(name, _)| println!("{name}"));
        std::process::exit(0);
    }
    let Some((_, target)) = targets::ALL.into_iter().find(|(known, _)| *known == name) else {
        let known = targets::ALL.map(|(name, _)| name).join(" ");
        eprintln!("PORTCULLIS_FUZZ must name one of: {known}");
        std::process::exit(2);
    };
    TARGET.get_or_init(|| target);
}

fuzz_target!(init: begin(), |data: &[u8]| {
    TARGET.get().expect("begun")(data);
});
