//! Pins of tools: what they say of themselves when they are called.

use portcullis_protocol::ToolPins;

use super::Tendency::{MorePermissive, Stricter, Unknown};
use super::{Changes, aligned};
use crate::pinned::{Pinned, digests};

pub(super) fn compare(changes: &mut Changes, (required, old): (bool, &Pinned), new: (bool, &Pinned)) {
    let (ToolPins { required, tools }, new) = (digests(required, old), digests(new.0, new.1));
    changes.at("bundle", &"mcp");
    match (required, new.required) {
        (false, true) => changes.say(Stricter, "tools of servers without pins are refused"),
        (true, false) => changes.say(MorePermissive, "tools of servers without pins may be called"),
        (true, true) | (false, false) => {}
    }
    let (came, left, stayed) = aligned(&tools, &new.tools);
    for (tool, _) in came {
        let (server, _) = tool.parts();
        changes.at("tool", tool);
        if required || tools.keys().any(|other| other.parts().0 == server) {
            changes.say(MorePermissive, "pinned: calls of it were refused, and may be granted");
        } else {
            changes.say(
                Stricter,
                "pinned: it is called only as it is defined there, and so are no others of its server",
            );
        }
    }
    for (tool, _) in left {
        changes.at("tool", tool);
        if new.bind(tool.parts().0) {
            changes.say(Stricter, "pinned no more: calls of it are refused");
        } else {
            changes.say(MorePermissive, "pinned no more: its server may define it as it likes");
        }
    }
    for (tool, (old, new)) in stayed {
        if old != new {
            changes
                .at("tool", tool)
                .say(Unknown, "pinned by another definition: what it is said to do changed");
        }
    }
}
