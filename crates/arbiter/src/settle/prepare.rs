//! What is prepared outside the ledger's writer: a call, evaluated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_policy::{Bundle, Gathered};
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{LabelName, ReasonCode};

use super::{Credential, Intake};
use crate::brought::Brought;
use crate::fact::Fact;
use crate::sources::Informed;

/// Evaluates a call under a bundle without sources of facts, of an agent with these labels, those of whom it acts for among
/// them. That they are still theirs is looked at when the call is settled.
///
/// # Errors
/// `request.malformed` if the request has no canonical form.
pub fn prepare(
    call: DecisionCall,
    credential: Credential,
    bundle: Result<&Bundle, ReasonCode>,
    received: u64,
    labels: &BTreeSet<LabelName>,
) -> Result<Intake, ReasonCode> {
    prepare_informed(call, credential, bundle, received, (labels, None))
}

/// As [`prepare`], with what the bundle's sources of facts gave. That they still say so, and how old it is, is looked at when
/// the call is settled.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_informed(
    call: DecisionCall,
    credential: Credential,
    bundle: Result<&Bundle, ReasonCode>,
    received: u64,
    known: (&BTreeSet<LabelName>, Option<&Gathered>),
) -> Result<Intake, ReasonCode> {
    let mut intake = Intake::unread(call, credential, received)?;
    if let Ok(bundle) = bundle {
        intake.archive = Some(Arc::clone(bundle.archive()));
        intake.read(bundle.content(), known);
    }
    Ok(intake)
}

impl Intake {
    /// A call that no bundle has been asked about.
    pub(crate) fn unread(
        call: DecisionCall,
        credential: Credential,
        received: u64,
    ) -> Result<Self, ReasonCode> {
        let principal = credential.acts_for.fact(call.request.acts_for.as_ref());
        let request = call.request.by(credential.agent);
        let commitment = request.commitment(&call.salt).map_err(|_| ReasonCode::RequestMalformed)?;
        let operation = request.operation().map_err(|_| ReasonCode::RequestMalformed)?;
        let brought = Brought::of(call.payload, request.ask.payload.as_ref());
        Ok(Self {
            attempt: call.attempt,
            gate: call.gate,
            salt: call.salt,
            commitment,
            operation,
            key: None,
            brought,
            bundle: None,
            archive: None,
            spec: None,
            until: None,
            deadline: received.saturating_add(call.deadline_ms),
            last_try: false,
            detail: None,
            expires: credential.expires,
            authenticated: credential.authenticated,
            principal,
            known_agent: Fact::Unknown,
            known_principal: Fact::Unknown,
            surface: Fact::Unknown,
            evaluation: Fact::Unknown,
            obligations: Fact::Unknown,
            counting: None,
            labels: None,
            adds: BTreeMap::new(),
            labels_moved: false,
            informed: Informed::nothing(),
            request,
        })
    }
}
