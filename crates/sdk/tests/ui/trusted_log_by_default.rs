//! No log is trusted by default.

use portcullis_sdk::TrustedLog;

fn forge() -> TrustedLog {
    TrustedLog::default()
}

fn main() {}
