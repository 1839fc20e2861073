//! The checks of a receipt are not to be had without the spending of its attempt.

use portcullis_protocol::{DecisionRecord, ReasonCode};
use portcullis_sdk::{Attempt, TrustedLog};

fn check(attempt: &Attempt, record: &DecisionRecord, receipt: &str, log: &TrustedLog) {
    attempt.bound(record);
    attempt.verify(receipt, log);
    attempt.refused(receipt, ReasonCode::PolicyNoGrant, log);
}

fn main() {}
