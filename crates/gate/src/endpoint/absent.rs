//! An arbiter that is not there, for tests of what needs none.

use portcullis_protocol::SurfaceTable;
use portcullis_protocol::wire::{DecisionCall, DecisionReply, OutcomeReply};
use portcullis_sdk::{Authorizer, Call, OutcomeReport};

/// It never answers.
pub(super) struct Absent;

impl Authorizer for Absent {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(std::future::pending())
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(std::future::pending())
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(std::future::pending())
    }
}
