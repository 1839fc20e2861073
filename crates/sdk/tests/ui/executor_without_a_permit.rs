//! An executor that takes a permit does not run without one.

use portcullis_protocol::Request;
use portcullis_sdk::{Attempt, Permit, Running};

fn charge(permit: Permit) {
    drop(permit.begin());
}

fn send(running: &Running) -> &Request {
    running.request()
}

fn without(attempt: Attempt, request: Request, permit: Permit) {
    charge();
    charge(attempt);
    charge(request);
    send(&permit);
}

fn main() {}
