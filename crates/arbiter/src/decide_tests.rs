use super::*;
use portcullis_protocol::PolicyId;

fn sound() -> Facts {
    Facts {
        gate: Fact::Known(GateState::Open),
        clock: Fact::Known(Clock::Steady),
        evidence: Fact::Known(Evidence::Sound),
        state: Fact::Known(State::Held),
        policy: Fact::Known(Policy::InForce(Validity::Valid)),
        sources: Fact::Known(Sources::Fresh),
        identity: Fact::Known(Identity::Active),
        surface: Fact::Known(SurfaceMatch::Fits),
        idempotency: Fact::Known(KeyState::Fresh),
        evaluation: Fact::Known(Verdict::Permit(vec![grant()])),
        limits: Fact::Known(LimitState::Room),
        freshness: Fact::Known(Freshness::NotAsked),
        approval: Fact::Known(Approval::NotAsked),
        witness: Fact::Known(Witness::NotAsked),
        deadline: Fact::Known(Deadline::Ahead),
    }
}

fn grant() -> PolicyId {
    "grant".parse().unwrap()
}

type Spoil = (&'static str, fn(&mut Facts));

/// Every precondition, in order, with every value other than the good one.
fn spoilers() -> Vec<Spoil> {
    vec![
        ("gate shut", |f| f.gate = Fact::Known(GateState::Shut)),
        ("gate unknown", |f| f.gate = Fact::Unknown),
        ("clock jumped", |f| f.clock = Fact::Known(Clock::Jumped)),
        ("clock behind the log", |f| f.clock = Fact::Known(Clock::BehindLog)),
        ("clock unknown", |f| f.clock = Fact::Unknown),
        ("evidence tripped", |f| f.evidence = Fact::Known(Evidence::Tripped(ReasonCode::SignerUnavailable))),
        ("evidence unknown", |f| f.evidence = Fact::Unknown),
        ("state fenced", |f| f.state = Fact::Known(State::Fenced)),
        ("state unknown", |f| f.state = Fact::Unknown),
        ("policy refused", |f| f.policy = Fact::Known(Policy::Refused(ReasonCode::PolicyPinMismatch))),
        ("policy not yet valid", |f| f.policy = Fact::Known(Policy::InForce(Validity::NotYet))),
        ("policy expired", |f| f.policy = Fact::Known(Policy::InForce(Validity::Expired))),
        ("policy unknown", |f| f.policy = Fact::Unknown),
        ("facts unavailable", |f| f.sources = Fact::Unknown),
        ("facts rolled back", |f| f.sources = Fact::Known(Sources::RolledBack)),
        ("facts stale", |f| f.sources = Fact::Known(Sources::Stale)),
        ("identity expired", |f| f.identity = Fact::Known(Identity::Expired)),
        ("identity stranger", |f| f.identity = Fact::Known(Identity::Stranger)),
        ("identity not admitted for another", |f| f.identity = Fact::Known(Identity::NotAdmitted)),
        ("identity acts for a stranger", |f| f.identity = Fact::Known(Identity::PrincipalStranger)),
        ("identity unknown", |f| f.identity = Fact::Unknown),
        ("surface undeclared", |f| f.surface = Fact::Known(SurfaceMatch::Undeclared)),
        ("surface action undeclared", |f| f.surface = Fact::Known(SurfaceMatch::ActionUndeclared)),
        ("surface mapped otherwise", |f| f.surface = Fact::Known(SurfaceMatch::MappedOtherwise)),
        ("surface misfit", |f| f.surface = Fact::Known(SurfaceMatch::Misfit(ReasonCode::SurfaceContext))),
        ("surface unknown", |f| f.surface = Fact::Unknown),
        ("key missing", |f| f.idempotency = Fact::Known(KeyState::Missing)),
        ("key unexpected", |f| f.idempotency = Fact::Known(KeyState::Unexpected)),
        ("key conflict", |f| f.idempotency = Fact::Known(KeyState::Conflict)),
        ("key in flight", |f| f.idempotency = Fact::Known(KeyState::InFlight)),
        ("key completed", |f| f.idempotency = Fact::Known(KeyState::Completed)),
        ("key outcome unknown", |f| f.idempotency = Fact::Known(KeyState::OutcomeUnknown)),
        ("key unreadable", |f| f.idempotency = Fact::Unknown),
        ("evaluation no grant", |f| f.evaluation = Fact::Known(Verdict::refuse(ReasonCode::PolicyNoGrant))),
        ("evaluation forbidden", |f| {
            f.evaluation = Fact::Known(Verdict::Refuse(ReasonCode::PolicyForbidden, vec![grant()]));
        }),
        ("evaluation error", |f| {
            f.evaluation = Fact::Known(Verdict::refuse(ReasonCode::PolicyEvaluationError))
        }),
        ("evaluation permits by no policy", |f| f.evaluation = Fact::Known(Verdict::Permit(Vec::new()))),
        ("evaluation unknown", |f| f.evaluation = Fact::Unknown),
        ("limit used up", |f| {
            f.limits = Fact::Known(LimitState::Refused(ReasonCode::LimitsExceeded));
        }),
        ("limits unreadable", |f| f.limits = Fact::Unknown),
        ("identity stale", |f| f.freshness = Fact::Known(Freshness::Stale)),
        ("identity of unknown age", |f| f.freshness = Fact::Unknown),
        ("approval missing", |f| f.approval = Fact::Known(Approval::Missing)),
        ("approval unknown", |f| f.approval = Fact::Unknown),
        ("witnesses asked for, none there", |f| f.witness = Fact::Known(Witness::Nobody)),
        ("witnesses unknown", |f| f.witness = Fact::Unknown),
        ("deadline passed", |f| f.deadline = Fact::Known(Deadline::Passed)),
        ("deadline unknown", |f| f.deadline = Fact::Unknown),
    ]
}

fn line(name: &str, verdict: &Verdict) -> String {
    let reason = verdict.reason().map_or("-", ReasonCode::as_str);
    format!("{name:<34}{:<9}{reason}\n", verdict.decision().as_str())
}

#[test]
fn the_decision_matrix_is_as_checked_in() {
    let mut matrix = line("everything known and good", &decide(&sound()));
    for (name, spoil) in spoilers() {
        let mut facts = sound();
        spoil(&mut facts);
        matrix.push_str(&line(name, &decide(&facts)));
    }
    insta::assert_snapshot!("decision_matrix", matrix);
}

#[test]
fn exactly_one_combination_permits() {
    assert_eq!(decide(&sound()), Verdict::Permit(vec![grant()]));
    for (name, spoil) in spoilers() {
        let mut facts = sound();
        spoil(&mut facts);
        assert!(decide(&facts).reason().is_some(), "{name} must not permit");
    }
}

#[test]
fn of_two_failures_the_first_in_order_is_the_reason() {
    let spoilers = spoilers();
    for (earlier, (name, first)) in spoilers.iter().enumerate() {
        let mut alone = sound();
        first(&mut alone);
        for (later_name, second) in spoilers.iter().skip(earlier + 1) {
            let mut both = sound();
            second(&mut both);
            first(&mut both);
            // A second spoiling of the same fact is overwritten by the first; all others come later in order.
            assert_eq!(decide(&both).reason(), decide(&alone).reason(), "{name}, then {later_name}");
        }
    }
}
