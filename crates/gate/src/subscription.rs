//! What is sent to a subscriber names the request by which it subscribed, under the id that each side knows it by.

use portcullis_protocol::Loose;

use crate::message::{Body, Id, Members, members_of};

/// Where it does, in `_meta` (MCP 2026-07-28, "Subscriptions").
pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const POINTER: &str = "/io.modelcontextprotocol~1subscriptionId";

/// What a notification says of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// It is to nobody in particular.
    Nothing,
    /// It is to who subscribed by the request of this number.
    Number(u64),
    /// It is to a subscriber whom nobody knows.
    Other,
}

/// The subscription that a notification is for.
pub(crate) fn named(body: &Body) -> Named {
    let meta = body.params.as_ref().and_then(|params| params.read.get("_meta"));
    match meta.and_then(|meta| meta.pointer(POINTER)) {
        None => Named::Nothing,
        Some(Loose::Int(number)) => u64::try_from(*number).map_or(Named::Other, Named::Number),
        Some(
            Loose::Null
            | Loose::Bool(_)
            | Loose::Fraction
            | Loose::Oversize
            | Loose::Str(_)
            | Loose::Array(_)
            | Loose::Object(_),
        ) => Named::Other,
    }
}

/// An object whose `_meta` names the subscription of this number, with the asker's id in its place; `None` if it names none.
pub(crate) fn renamed(object: &Members, number: u64, id: &Id) -> Option<String> {
    let meta = object.get("_meta").and_then(members_of)?;
    (meta.get(SUBSCRIPTION)? == number.to_string()).then(|| {
        let meta = meta.with(SUBSCRIPTION, id.to_json());
        object.with("_meta", meta.to_text()).to_text()
    })
}

/// Whether a result may name a subscription. Long ones that do not are not taken apart for it.
pub(crate) fn may_be_named(result: &str) -> bool {
    result.contains("subscriptionId")
}

/// The same of a result, which ends a subscription.
pub(crate) fn renamed_result(result: &str, number: u64, id: &Id) -> Option<String> {
    renamed(&members_of(result)?, number, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_named_by_its_own_id() {
        let object = |id: &str| {
            members_of(&format!(r#"{{"a":1.0,"_meta":{{"b":2,"{SUBSCRIPTION}":{id}}}}}"#)).unwrap()
        };
        let renamed = |named: &str| renamed(&object(named), 42, &Id::Text("s".into()));
        assert_eq!(renamed("42"), Some(object("\"s\"").to_text()));
        for other in ["4", "\"42\"", "42.0", "null"] {
            assert_eq!(renamed(other), None, "{other}");
        }
        assert_eq!(renamed_result(r#"{"_meta":{}}"#, 42, &Id::Int(1)), None);
    }
}
