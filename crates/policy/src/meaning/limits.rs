//! Limits: how much, how often, how many at once; and when what was counted is forgotten.

use super::Tendency::{MorePermissive, Stricter, Unknown};
use super::{Changes, Tendency, aligned, names, span};
use crate::limits::{Limit, Limits, Measure, Most, Window};

pub(super) fn compare(changes: &mut Changes, old: &Limits, new: &Limits) {
    let (came, mut left, stayed) = aligned(old, new);
    for (name, limit) in came {
        // Counters go by the limit's name.
        match left.iter().position(|(_, other)| *other == limit) {
            Some(at) => {
                let (before, _) = left.remove(at);
                let sentence =
                    format!("was called `{before}`: what was counted is forgotten, and it begins at nothing");
                changes.at("limit", name).say(MorePermissive, sentence);
            }
            None => changes.at("limit", name).say(Stricter, "added: what goes beyond it is refused"),
        }
    }
    for (name, _) in left {
        changes.at("limit", name).say(MorePermissive, "removed: nothing bounds what it bounded");
    }
    for (name, (old, new)) in stayed {
        limit(changes.at("limit", name), old, new);
    }
}

fn limit(changes: &mut Changes, old: &Limit, new: &Limit) {
    let Limit { surfaces, per, measure } = old;
    changes.set((surfaces, &new.surfaces), (Stricter, MorePermissive), "surfaces");
    if *per != new.per {
        let shown = |per: &[_]| names(per.iter().map(|per| format!("{per:?}").to_lowercase()));
        let is = shown(&new.per).map_or("all together".to_owned(), |names| format!("each {names}"));
        let only_finer = per.iter().all(|one| new.per.contains(one));
        let tendency = if only_finer { MorePermissive } else { Unknown };
        changes.say(tendency, format!("it is counted for {is}; what was counted is forgotten"));
    }
    measures(changes, measure, &new.measure);
}

fn measures(changes: &mut Changes, old: &Measure, new: &Measure) {
    match (old, new) {
        (Measure::Count { max, window }, Measure::Count { max: most, window: within })
        | (Measure::Rate { max, window }, Measure::Rate { max: most, window: within }) => {
            changes.grew((*max, *most), "how many there may be", counted, MorePermissive);
            windows(changes, *window, *within);
        }
        (Measure::Open { max }, Measure::Open { max: most }) => {
            changes.grew((*max, *most), "how many may be open at once", counted, MorePermissive);
        }
        (
            Measure::Sum { of, scale, most, window },
            Measure::Sum { of: key, scale: digits, most: much, window: within },
        ) => {
            if (of, scale) != (key, digits) {
                let sentence = format!(
                    "it sums `{key}`, with {digits} digits behind the point; what was counted is forgotten"
                );
                changes.say(Unknown, sentence);
            }
            sums(changes, most, much);
            windows(changes, *window, *within);
        }
        (Measure::Count { .. } | Measure::Rate { .. } | Measure::Open { .. } | Measure::Sum { .. }, _) => {
            changes.say(Unknown, "it bounds something else than before");
        }
    }
}

fn counted(number: u64) -> String {
    number.to_string()
}

fn sums(changes: &mut Changes, old: &Most, new: &Most) {
    let what = "how much it may come to, in its last digit,";
    match (old, new) {
        (Most::Of { unit, max }, Most::Of { unit: other, max: most }) => {
            if unit != other {
                let sentence =
                    format!("its amounts are in `{other}`, not `{unit}`; what was counted is forgotten");
                changes.say(Unknown, sentence);
            }
            changes.grew((*max, *most), what, counted, MorePermissive);
        }
        (Most::Each { key, max }, Most::Each { key: by, max: most }) => {
            if key != by {
                changes.say(Unknown, format!("the currency is read from `{by}`, not `{key}`"));
            }
            changes.set((max.keys(), most.keys()), (MorePermissive, Stricter), "currencies");
            for (currency, (old, new)) in aligned(max, most).2 {
                changes.grew((*old, *new), &format!("{what} of {currency}"), counted, MorePermissive);
            }
        }
        (Most::Of { .. } | Most::Each { .. }, _) => {
            changes.say(
                Unknown,
                "it tells currencies apart now, or does not any more; what was counted is forgotten",
            );
        }
    }
}

fn windows(changes: &mut Changes, old: Window, new: Window) {
    if (kind(old), length(old)) == (kind(new), length(new)) {
        return;
    }
    let shown = |window| format!("{} of {}", kind(window), span(length(window)));
    changes.say(turned(old, new), format!("it counts over a {}, not a {}", shown(new), shown(old)));
}

/// A window that holds any moment's past at least as long admits no more. Fixed ones begin anew at their ends, so that
/// one of them is stricter only where each of the other's lies within one of its own.
fn turned(old: Window, new: Window) -> Tendency {
    let (before, after) = (length(old), length(new));
    match (old, new) {
        (Window::Sliding { .. }, Window::Sliding { .. }) if after > before => Stricter,
        (Window::Sliding { .. }, Window::Sliding { .. }) => MorePermissive,
        (Window::Fixed(_), Window::Sliding { .. }) if after >= before => Stricter,
        (Window::Sliding { .. }, Window::Fixed(_)) if after <= before => MorePermissive,
        (Window::Fixed(_), Window::Fixed(_)) if is_within(before, after) => Stricter,
        (Window::Fixed(_), Window::Fixed(_)) if is_within(after, before) => MorePermissive,
        (Window::Fixed(_) | Window::Sliding { .. }, Window::Fixed(_) | Window::Sliding { .. }) => Unknown,
    }
}

fn is_within(inner: u64, outer: u64) -> bool {
    inner > 0 && outer.is_multiple_of(inner)
}

const fn kind(window: Window) -> &'static str {
    match window {
        Window::Fixed(_) => "fixed window",
        Window::Sliding { .. } => "sliding window",
    }
}

const fn length(window: Window) -> u64 {
    match window {
        // The parts follow from the span and the most.
        Window::Fixed(span) | Window::Sliding { span, part: _ } => span,
    }
}
