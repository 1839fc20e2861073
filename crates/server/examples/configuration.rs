//! Prints `docs/configuration.md`.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

fn main() {
    print!("{}", portcullis_server::config::reference());
}
