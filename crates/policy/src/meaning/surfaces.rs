//! Surfaces: what a call is taken for, and on which terms its PERMIT is spent.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{Idempotency, Keep, SurfaceName, SurfaceSpec, Tier, ToolName};

use super::Tendency::{MorePermissive, Neither, Stricter, Unknown};
use super::{Changes, aligned, context, span};

type Surfaces = BTreeMap<SurfaceName, SurfaceSpec>;

pub(super) fn compare(changes: &mut Changes, old: &Surfaces, new: &Surfaces) {
    let (came, left, stayed) = aligned(old, new);
    for (name, _) in came {
        changes
            .at("surface", name)
            .say(MorePermissive, "added: calls on it were refused, and may be granted");
    }
    for (name, _) in left {
        changes.at("surface", name).say(Stricter, "removed: calls on it are refused");
    }
    let (before, after) = (taken(old), taken(new));
    for (name, pair) in stayed {
        surface(changes.at("surface", name), pair);
        moved_tools(changes, name, (&before, &after));
    }
}

type Taken<'a> = BTreeMap<&'a SurfaceName, BTreeSet<ToolName>>;

/// The tools whose calls are taken for calls on each surface: those that it lists, and no others; where it lists none, the one of
/// its own name. No other surface of a bundle lists that.
fn taken(surfaces: &Surfaces) -> Taken<'_> {
    let of = |name: &SurfaceName, spec: &SurfaceSpec| -> BTreeSet<ToolName> {
        if spec.tools.is_empty() {
            named_as(name).into_iter().collect()
        } else {
            spec.tools.iter().cloned().collect()
        }
    };
    surfaces.iter().map(|(name, spec)| (name, of(name, spec))).collect()
}

/// The tool of a surface's own name, if a tool can be called so.
fn named_as(surface: &SurfaceName) -> Option<ToolName> {
    let (server, tool) = surface.as_str().split_once('.')?;
    match format!("{server}/{tool}").parse() {
        Ok(own) if !tool.contains('.') => Some(own),
        Ok(_) | Err(_) => None,
    }
}

fn surface(changes: &mut Changes, (old, new): (&SurfaceSpec, &SurfaceSpec)) {
    let SurfaceSpec {
        tier,
        on_silence,
        idempotency,
        permit_ttl_ms,
        outcome_within_ms,
        derived_window_ms,
        actions,
        // Beside what other surfaces list.
        tools: _,
        witnessed,
        resource,
        context,
        keep,
    } = old;
    changes.grew((rank(*tier), rank(new.tier)), "the tier", ranked, Stricter);
    if *on_silence != new.on_silence {
        changes.say(Unknown, "callers are told otherwise when no authorization can be established");
    }
    once(changes, *idempotency, new.idempotency);
    let longer = MorePermissive;
    changes.grew((*permit_ttl_ms, new.permit_ttl_ms), "how long a PERMIT may wait to be spent", span, longer);
    let outcome = "how long an outcome may be missing before it counts as unknown";
    changes.grew((*outcome_within_ms, new.outcome_within_ms), outcome, span, Unknown);
    let derived = *idempotency == Idempotency::Derived || new.idempotency == Idempotency::Derived;
    let repeats = "within which equal calls are one";
    let tendency = if derived { Stricter } else { Neither };
    changes.grew((*derived_window_ms, new.derived_window_ms), repeats, span, tendency);
    changes.set((actions, &new.actions), (MorePermissive, Stricter), "actions");
    changes.asked((*witnessed, new.witnessed), "that witnesses saw a PERMIT before it counts");
    if *resource != new.resource {
        changes.say(Unknown, "calls that name no resource are about another one");
    }
    context::compare(changes, context, &new.context);
    kept(changes, *keep, new.keep);
}

const fn rank(tier: Tier) -> u8 {
    match tier {
        Tier::Read => 0,
        Tier::Standard => 1,
        Tier::High => 2,
        Tier::Critical => 3,
    }
}

fn ranked(rank: u8) -> String {
    let words = ["read", "standard", "high", "critical"];
    words.get(usize::from(rank)).map_or("unknown", |word| word).to_owned()
}

fn once(changes: &mut Changes, old: Idempotency, new: Idempotency) {
    use Idempotency::{Derived, Key, None};
    let (tendency, sentence) = match (old, new) {
        (None, None) | (Key, Key) | (Derived, Derived) => return,
        (Key | Derived, None) => (MorePermissive, "a call that is repeated runs again"),
        (None, Key | Derived) => (Stricter, "a call that is repeated does not run again"),
        (Key, Derived) => {
            (Unknown, "which calls are one is told by what they say, no more by their caller's key")
        }
        (Derived, Key) => {
            (Unknown, "which calls are one is told by their caller's key, no more by what they say")
        }
    };
    changes.say(tendency, sentence);
}

/// Which tools' calls came to a surface, and which left it.
fn moved_tools(changes: &mut Changes, surface: &SurfaceName, (before, after): (&Taken<'_>, &Taken<'_>)) {
    let none = BTreeSet::new();
    let [old, new] = [before, after].map(|taken| taken.get(surface).map_or(&none, |tools| tools));
    let anywhere = |taken: &Taken<'_>, tool: &ToolName| taken.values().any(|tools| tools.contains(tool));
    for tool in new.difference(old) {
        if anywhere(before, tool) {
            changes
                .say(Unknown, format!("tool `{tool}` is read by this surface's rules, no more by another's"));
        } else {
            changes.say(MorePermissive, format!("tool `{tool}` is taken for a call on this surface"));
        }
    }
    for tool in old.difference(new).filter(|tool| !anywhere(after, tool)) {
        changes.say(Stricter, format!("tool `{tool}` is not taken for a call on this surface any more"));
    }
}

fn kept(changes: &mut Changes, old: Keep, new: Keep) {
    let Keep { request, result, arguments, for_ms } = old;
    changes.asked((arguments, new.arguments), "that a call brings its arguments, to be kept,");
    for (what, pair) in [("requests", (request, new.request)), ("results", (result, new.result))] {
        match pair {
            (true, false) => {
                changes.say(Neither, format!("{what} are kept no more: nobody can look at them later"))
            }
            (false, true) => changes.say(Neither, format!("{what} are kept")),
            (true, true) | (false, false) => {}
        }
    }
    changes.grew((for_ms, new.for_ms), "for how long they are kept", span, Neither);
}
