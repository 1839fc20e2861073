//! An arbiter that is asked for simulations and never for decisions.

use std::sync::Arc;

use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, ListingCall, ListingReply, OutcomeReply,
    SimulationReply, WhoAmI,
};
use portcullis_protocol::{ReasonCode, SurfaceTable};
use portcullis_sdk::{Authorizer, Call, OutcomeReport, Refusal};

/// The arbiter of a gate that only simulates. Nobody gets a decision through it, so that there is no permit in such a gate.
pub(crate) struct OnlySimulates(pub(crate) Arc<dyn Authorizer>);

fn never<T: Send + 'static>() -> Call<'static, T> {
    let detail = "this gate only simulates: it asks for no decision".to_owned();
    Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, Some(detail))) })
}

impl Authorizer for OnlySimulates {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        never()
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        never()
    }

    fn late(&self, _: LateCall) -> Call<'_, LateReply> {
        never()
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        self.0.surfaces()
    }

    fn whoami(&self) -> Call<'_, WhoAmI> {
        self.0.whoami()
    }

    fn ready(&self) -> Call<'_, bool> {
        self.0.ready()
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        self.0.list(call)
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        self.0.simulate(call)
    }
}
