//! Prints `api/reason-codes.md`.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

fn main() {
    print!("{}", portcullis_protocol::reference::reason_codes());
}
