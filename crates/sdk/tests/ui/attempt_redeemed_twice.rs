//! An attempt is spent by its first receipt.

use portcullis_sdk::{Attempt, TrustedLog};

fn twice(attempt: Attempt, receipt: &str, log: &TrustedLog) {
    drop(attempt.redeem(receipt, log));
    drop(attempt.redeem(receipt, log));
}

fn main() {}
