//! What `authorize` answers is no permit before its refusal was handled.

use portcullis_sdk::{Attempt, Outcomes, Permit, TrustedLog, authorize};

fn charge(permit: Permit, outcomes: &Outcomes) {
    drop(permit.begin(outcomes));
}

async fn pay(outcomes: &Outcomes, attempt: Attempt, log: &TrustedLog) {
    let deadline = std::time::Duration::from_secs(1);
    charge(authorize(outcomes.arbiter(), attempt, log, deadline).await, outcomes);
}

fn main() {}
