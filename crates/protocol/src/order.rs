//! Orders: what people who act on a running arbiter tell it. The list is closed, each is on record with who gave it
//! and why, and no agent's credential opens a way to one.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, AttemptId, OperatorId, OrderReason, SourceName};
use crate::record::{BundleRef, Outcome};

/// What a person found out about a PERMIT whose outcome was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It ran and succeeded.
    Ok,
    /// It ran and failed.
    Failed,
    /// Nothing ran: its permit was never spent.
    NotRun,
}

impl Resolution {
    /// The outcome that it puts on record. What never ran gives its key back, as an `expired` permit does.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Ok => Outcome::Ok,
            Self::Failed => Outcome::Failed,
            Self::NotRun => Outcome::Expired,
        }
    }
}

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Says what became of a PERMIT whose outcome is unknown.
    ResolveOutcome {
        /// The PERMIT's attempt.
        attempt: AttemptId,
        /// What became of it.
        outcome: Resolution,
    },
    /// Destroys the key under which an agent's requests and results are kept.
    ErasePayloads {
        /// The agent.
        subject: AgentId,
    },
    /// Destroys what a source of facts gave, as far as it is kept.
    EraseFacts {
        /// The source.
        source: SourceName,
    },
    /// Makes a bundle the one that decides, instead of the one that does.
    ActivateBundle {
        /// The bundle.
        bundle: BundleRef,
    },
}

/// An order with who gave it and why, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// Who gave it, by the credential that came with it.
    pub by: OperatorId,
    /// What was ordered.
    pub what: Order,
    /// Why.
    pub reason: OrderReason,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::parse_strict;
    use crate::wire::OrderCall;

    #[test]
    fn an_order_is_one_of_the_closed_list_with_a_reason() {
        let attempt = "0".repeat(64);
        let order = format!(r#"{{"resolve_outcome":{{"attempt":"{attempt}","outcome":"not_run"}}}}"#);
        let call = |what: &str, reason: &str| format!(r#"{{"what":{what},"reason":"{reason}"}}"#);
        let read = |text: &str| parse_strict::<OrderCall>(text.as_bytes());
        let Order::ResolveOutcome { outcome, .. } = read(&call(&order, "looked at the till")).unwrap().what
        else {
            panic!("another order")
        };
        assert_eq!(outcome.outcome(), Outcome::Expired);
        for (what, reason) in [
            (order.as_str(), ""),
            (order.as_str(), "  "),
            (order.as_str(), "two\\nlines"),
            (order.as_str(), &"x".repeat(501)),
            (r#"{"permit":{}}"#, "x"),
            (r#""resolve_outcome""#, "x"),
            (&order.replace("not_run", "unknown"), "x"),
            (&order.replace("not_run", "withheld"), "x"),
            (&order.replace("\"outcome\"", "\"by\":\"root\",\"outcome\""), "x"),
        ] {
            assert!(read(&call(what, reason)).is_err(), "{what} {reason}");
        }
        let named = call(&order, "x").replace("{\"what\"", "{\"by\":\"root\",\"what\"");
        assert!(read(&named).is_err(), "no body names who orders");
    }
}
