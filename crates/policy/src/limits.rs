//! Limits: what a bundle says of how much, how often and how many at once. What was counted is state, and not known
//! here; this is what a request would take of which counter.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{
    ContextKind, Digest, Domain, LimitName, MOST_COUNTED, Millis, ReasonCode, Request, SurfaceName,
    SurfaceSpec, Value,
};
use serde::{Deserialize, Serialize};

use crate::MANIFEST_FILE;
use crate::error::{BundleError, Fault};
use crate::principals::Whom;
use crate::units::Span;

mod text;
pub(crate) use text::LimitText;

/// Parts of a sliding window. What lies in one part leaves the window when the whole part has.
const PARTS: u64 = 1_024;
/// Limits of a bundle.
const MOST_LIMITS: usize = 64;
/// Limits of a surface: each takes its place in every record of a PERMIT there.
const MOST_ON_SURFACE: usize = 16;

/// The limits of a bundle, by name.
pub(crate) type Limits = BTreeMap<LimitName, Limit>;

/// What has counters of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Each agent.
    Agent,
    /// Each surface.
    Surface,
    /// Each resource.
    Resource,
    /// Each for whom agents act; an agent that acts for nobody counts as itself.
    Principal,
}

/// Over which time a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Spans of this many milliseconds, one after the other since 1970-01-01T00:00:00Z.
    Fixed(u64),
    /// Any span of this many milliseconds.
    Sliding {
        /// The span.
        span: u64,
        /// How long the parts are in which it is counted: a reservation counts from its own time on until the
        /// window has left the part that it lies in.
        part: u64,
    },
}

impl Window {
    /// From when on what is reserved at `now` gives room again.
    #[must_use]
    pub fn lapses(self, now: Millis) -> Millis {
        match self {
            Self::Fixed(span) => {
                let over = now.0.checked_rem(span).map_or(0, |over| over);
                Millis(now.0.saturating_sub(over)).plus(span)
            }
            Self::Sliding { span, part } => {
                let over = now.0.checked_rem(part).map_or(0, |over| over);
                Millis(now.0.saturating_sub(over)).plus(part.saturating_sub(1)).plus(span)
            }
        }
    }
}

/// How much a sum may come to, in the last digit of its amounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Most {
    /// So much, of amounts that are all in one unit.
    Of {
        /// What they are in, on its author's word: no call says it.
        unit: String,
        /// So much.
        max: u64,
    },
    /// So much in each of these currencies, each counted by itself, and nothing in any other.
    Each {
        /// The context key that names the currency.
        key: String,
        /// By currency.
        max: BTreeMap<String, u64>,
    },
}

/// What a limit bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Measure {
    /// How many PERMITs there are within a window.
    Count {
        /// So many.
        max: u64,
        /// The window.
        window: Window,
    },
    /// What the amounts of PERMITs within a window come to.
    Sum {
        /// The context key that has the amount.
        of: String,
        /// Digits behind the point.
        scale: u8,
        /// How much.
        most: Most,
        /// The window.
        window: Window,
    },
    /// How fast PERMITs follow each other.
    Rate {
        /// So many within the window.
        max: u64,
        /// A sliding one, exact to the millisecond.
        window: Window,
    },
    /// How many PERMITs have not ended.
    Open {
        /// So many.
        max: u64,
    },
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The surfaces whose requests it counts, sorted.
    pub surfaces: Vec<SurfaceName>,
    /// What has counters of its own, sorted; without any there is one for all.
    pub per: Vec<Per>,
    /// What it bounds.
    #[serde(flatten)]
    pub measure: Measure,
}

/// What a request takes of a limit if it is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Which of the limit's counters.
    pub counter: Digest,
    /// How much it may come to.
    pub max: u64,
    /// How much the request takes.
    pub amount: u64,
    /// For how long; `None`: until its PERMIT has ended.
    pub window: Option<Window>,
    /// The code if there is no room.
    pub code: ReasonCode,
}

/// A limit that applies to a request, with what the request takes of it or why that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counting {
    /// The limit.
    pub limit: LimitName,
    /// What the request takes, or the code under which it is refused whatever was counted.
    pub charge: Result<Charge, ReasonCode>,
}

/// Reads the limits of a manifest and holds them against its surfaces.
pub(crate) fn load(
    texts: BTreeMap<LimitName, LimitText>,
    surfaces: &BTreeMap<SurfaceName, SurfaceSpec>,
) -> Result<Limits, BundleError> {
    if texts.len() > MOST_LIMITS {
        return Err(BundleError::corrupt(MANIFEST_FILE, Fault::TooManyLimits));
    }
    let mut on: BTreeMap<SurfaceName, usize> = BTreeMap::new();
    let mut limits = Limits::new();
    for (name, text) in texts {
        let fault = |message: String| {
            BundleError::corrupt(MANIFEST_FILE, Fault::Limit { limit: name.to_string(), message })
        };
        let limit = text.into_limit(surfaces).map_err(fault)?;
        for surface in &limit.surfaces {
            let here = on.entry(surface.clone()).or_insert(0);
            *here = here.saturating_add(1);
            if *here > MOST_ON_SURFACE {
                return Err(fault(format!("surface `{surface}` has more than {MOST_ON_SURFACE} limits")));
            }
        }
        limits.insert(name, limit);
    }
    Ok(limits)
}

/// What a request takes of each limit that applies to it, by the limits' names.
pub(crate) fn counting(limits: &Limits, request: &Request, whom: Option<&Whom>) -> Vec<Counting> {
    // Policy grants nothing to an agent that acts for one whom it does not know.
    let whom = whom.ok_or(ReasonCode::LimitsUnreadable);
    let charge =
        |limit: &Limit, name: &LimitName| whom.and_then(|whom| limit.charge(name, &Asked { request, whom }));
    let applies = limits.iter().filter(|(_, limit)| limit.surfaces.contains(&request.ask.surface));
    applies.map(|(name, limit)| Counting { limit: name.clone(), charge: charge(limit, name) }).collect()
}

/// A request, and whom it is counted for.
struct Asked<'a> {
    request: &'a Request,
    whom: &'a Whom,
}

impl Limit {
    fn charge(&self, name: &LimitName, asked: &Asked<'_>) -> Result<Charge, ReasonCode> {
        let request = asked.request;
        let charge = |max, amount, window, code| Charge {
            counter: self.counter(name, ("", ""), asked),
            max,
            amount,
            window,
            code,
        };
        match &self.measure {
            Measure::Count { max, window } => Ok(charge(*max, 1, Some(*window), ReasonCode::LimitsExceeded)),
            Measure::Rate { max, window } => Ok(charge(*max, 1, Some(*window), ReasonCode::LimitsTooFast)),
            Measure::Open { max } => Ok(charge(*max, 1, None, ReasonCode::LimitsTooManyOpen)),
            Measure::Sum { of, scale, most, window } => {
                let amount = amount(request.ask.context.get(of), *scale)?;
                let (of, max) = most.of(request)?;
                let counter = self.counter(name, of, asked);
                Ok(Charge { counter, max, amount, window: Some(*window), code: ReasonCode::LimitsExceeded })
            }
        }
    }

    /// The counter's name. It holds what makes amounts comparable and for whom they are counted, and neither how
    /// much there may be nor over which time: when those change, what was counted stays.
    fn counter(&self, name: &LimitName, (tag, amounts): (&str, &str), asked: &Asked<'_>) -> Digest {
        let Asked { request, whom } = asked;
        let (what, of, scale) = match &self.measure {
            Measure::Count { .. } | Measure::Rate { .. } => ("count", "", 0),
            Measure::Open { .. } => ("open", "", 0),
            Measure::Sum { of, scale, .. } => ("sum", of.as_str(), *scale),
        };
        let scale = [scale];
        let mut parts: Vec<&[u8]> = vec![name.as_str().as_bytes(), what.as_bytes(), of.as_bytes(), &scale];
        parts.extend([tag.as_bytes(), amounts.as_bytes()]);
        let resource = &request.ask.resource;
        for per in &self.per {
            match per {
                Per::Agent => parts.extend([&b"agent"[..], request.agent.as_str().as_bytes()]),
                Per::Surface => parts.extend([&b"surface"[..], request.ask.surface.as_str().as_bytes()]),
                Per::Resource => {
                    parts.extend([&b"resource"[..], resource.kind.as_bytes(), resource.id.as_bytes()]);
                }
                Per::Principal => {
                    let [kind, name] = whom.parts();
                    parts.extend([&b"principal"[..], kind.as_bytes(), name.as_bytes()]);
                }
            }
        }
        Digest::of(Domain::Counter, &parts)
    }
}

impl Most {
    /// What the amounts are in, and how much there may be of it.
    fn of<'a>(&'a self, request: &'a Request) -> Result<((&'a str, &'a str), u64), ReasonCode> {
        match self {
            Self::Of { unit, max } => Ok((("unit", unit), *max)),
            Self::Each { key, max } => {
                let currency = request.ask.context.get(key).and_then(Value::as_str);
                let currency = currency.ok_or(ReasonCode::LimitsAmountMissing)?;
                let max = max.get(currency).ok_or(ReasonCode::LimitsCurrencyUnlisted)?;
                Ok((("currency", currency), *max))
            }
        }
    }
}

/// An amount in its last digit. What no counter could ever hold is more than any limit.
fn amount(value: Option<&Value>, scale: u8) -> Result<u64, ReasonCode> {
    let digits = match value {
        Some(Value::Int(number)) if scale == 0 => number.to_string(),
        Some(Value::Str(text)) => text.clone(),
        Some(Value::Int(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => {
            return Err(ReasonCode::LimitsAmountMissing);
        }
    };
    if digits.starts_with('-') {
        return Err(ReasonCode::LimitsAmountNegative);
    }
    match scaled(&digits, scale) {
        Some(amount) if amount <= MOST_COUNTED => Ok(amount),
        Some(_) => Err(ReasonCode::LimitsExceeded),
        None => Err(ReasonCode::LimitsAmountMissing),
    }
}

/// A decimal with exactly `scale` digits behind its point, in its last digit.
fn scaled(text: &str, scale: u8) -> Option<u64> {
    let (whole, fraction) = match scale {
        0 => (text, ""),
        _ => text.split_once('.')?,
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() != usize::from(scale) || !all_digits(whole) || !all_digits(fraction)
    {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes());
    // 14 digits in front and 4 behind fit; more than an integer holds is more than any limit.
    Some(digits.fold(0_u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
    }))
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
