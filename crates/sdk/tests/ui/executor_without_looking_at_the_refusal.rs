//! What `authorize` answers is no permit before its refusal was handled.

use portcullis_sdk::{Attempt, Authorizer, Permit, TrustedLog, authorize};

fn charge(permit: Permit) {
    drop(permit.begin());
}

async fn pay(arbiter: &dyn Authorizer, attempt: Attempt, log: &TrustedLog) {
    charge(authorize(arbiter, attempt, log, std::time::Duration::from_secs(1)).await);
}

fn main() {}
