//! An arbiter answers with what is to be verified; it has no way to answer with a permit.

use portcullis_protocol::SurfaceTable;
use portcullis_protocol::wire::{DecisionCall, OutcomeReply};
use portcullis_sdk::{Authorizer, Call, OutcomeReport, Permit};

struct Generous;

impl Authorizer for Generous {
    fn decide(&self, _: DecisionCall) -> Call<'_, Permit> {
        loop {}
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        loop {}
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        loop {}
    }
}

fn main() {}
