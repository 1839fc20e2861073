//! `[limits.NAME]` as it is written.

use super::*;

/// The shortest and the longest window, in milliseconds: a second, and 366 days.
const WINDOWS: (u64, u64) = (1_000, 366 * 24 * 60 * 60 * 1_000);
/// The shortest and the longest interval of a rate: 10 milliseconds, and an hour.
const INTERVALS: (u64, u64) = (10, 60 * 60 * 1_000);
/// The most that a rate may allow at once, and up to which a sliding count is exact to the millisecond: each takes a
/// place in memory.
const MOST_EXACT: u64 = 1_024;
/// The longest name of a unit, in bytes.
const LONGEST_UNIT: usize = 64;
/// Currencies of a limit.
const MOST_CURRENCIES: usize = 256;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum LimitText {
    Count {
        surfaces: Vec<SurfaceName>,
        per: Option<Vec<Per>>,
        max: Amount,
        window: WindowText,
    },
    Sum {
        surfaces: Vec<SurfaceName>,
        per: Option<Vec<Per>>,
        of: String,
        currency: Option<String>,
        unit: Option<String>,
        max: MostText,
        window: WindowText,
    },
    Rate {
        surfaces: Vec<SurfaceName>,
        per: Option<Vec<Per>>,
        max: Option<Amount>,
        every: Span,
    },
    Open {
        surfaces: Vec<SurfaceName>,
        per: Option<Vec<Per>>,
        max: Amount,
    },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum WindowText {
    Fixed(Span),
    Sliding(Span),
}

/// A whole number, or a decimal as a string.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Amount {
    Whole(i64),
    Decimal(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum MostText {
    One(Amount),
    Each(BTreeMap<String, Amount>),
}

type Surfaces = BTreeMap<SurfaceName, SurfaceSpec>;

impl LimitText {
    pub(super) fn into_limit(self, all: &Surfaces) -> Result<Limit, String> {
        let (surfaces, per, measure) = match self {
            Self::Count { surfaces, per, max, window } => {
                let max = max.scaled(0)?;
                (surfaces, per, Measure::Count { max, window: window.within(Some(max))? })
            }
            Self::Sum { surfaces, per, of, currency, unit, max, window } => {
                let surfaces = known(surfaces, all)?;
                let measure = sum(&surfaces, of, (currency, unit), max, window.within(None)?)?;
                let names = surfaces.into_iter().map(|(name, _)| name.clone()).collect();
                (names, per, measure)
            }
            Self::Rate { surfaces, per, max, every } => {
                let max = max.map_or(Ok(1), |max| max.scaled(0))?;
                if max > MOST_EXACT {
                    return Err(format!("a rate's `max` is at most {MOST_EXACT}; use `kind = \"count\"`"));
                }
                if every.0 < INTERVALS.0 || every.0 > INTERVALS.1 {
                    return Err("`every` is not within 10ms and 1h; use `kind = \"count\"`".to_owned());
                }
                (surfaces, per, Measure::Rate { max, window: Window::Sliding { span: every.0, part: 1 } })
            }
            Self::Open { surfaces, per, max } => (surfaces, per, Measure::Open { max: max.scaled(0)? }),
        };
        let surfaces = known(surfaces, all)?.into_iter().map(|(name, _)| name.clone()).collect();
        Ok(Limit { surfaces, per: sorted(per)?, measure })
    }
}

fn known(surfaces: Vec<SurfaceName>, all: &Surfaces) -> Result<Vec<(&SurfaceName, &SurfaceSpec)>, String> {
    let named: BTreeSet<_> = surfaces.iter().collect();
    if named.len() != surfaces.len() {
        return Err("`surfaces` names one twice".to_owned());
    }
    if named.is_empty() {
        return Err("`surfaces` is empty: it would limit nothing".to_owned());
    }
    let found = named
        .into_iter()
        .map(|name| all.get_key_value(name).ok_or_else(|| format!("there is no surface `{name}`")));
    found.collect()
}

fn sorted(per: Option<Vec<Per>>) -> Result<Vec<Per>, String> {
    let Some(per) = per else { return Ok(Vec::new()) };
    let sorted: BTreeSet<_> = per.iter().copied().collect();
    if sorted.len() != per.len() {
        return Err("`per` names one twice".to_owned());
    }
    Ok(sorted.into_iter().collect())
}

impl WindowText {
    /// `max`, if what is counted comes one by one.
    fn within(self, max: Option<u64>) -> Result<Window, String> {
        let (Self::Fixed(Span(span)) | Self::Sliding(Span(span))) = self;
        if span < WINDOWS.0 || span > WINDOWS.1 {
            return Err("`window` is not within 1s and 366d".to_owned());
        }
        let part = if max.is_some_and(|max| max <= MOST_EXACT) { 1 } else { span.div_ceil(PARTS) };
        Ok(match self {
            Self::Fixed(_) => Window::Fixed(span),
            Self::Sliding(_) => Window::Sliding { span, part },
        })
    }
}

impl Amount {
    fn scaled(&self, scale: u8) -> Result<u64, String> {
        let amount = match self {
            Self::Whole(number) if scale == 0 => u64::try_from(*number).ok(), // tidy: allow None is refused below
            Self::Decimal(text) if scale > 0 => scaled(text, scale),
            Self::Whole(_) | Self::Decimal(_) => None,
        };
        amount.filter(|amount| (1..=MOST_COUNTED).contains(amount)).ok_or_else(|| match scale {
            0 => format!("`max` is a whole number from 1 to {MOST_COUNTED}"),
            _ => format!(
                "`max` is a decimal above zero in quotes with {scale} digits behind the point, of at most \
                 {MOST_COUNTED} without the point: what is summed has as many"
            ),
        })
    }
}

fn sum(
    surfaces: &[(&SurfaceName, &SurfaceSpec)],
    of: String,
    (currency, unit): (Option<String>, Option<String>),
    max: MostText,
    window: Window,
) -> Result<Measure, String> {
    let mut scales = BTreeSet::new();
    for (name, spec) in surfaces {
        let kind = spec.context.get(&of).map(|rule| rule.kind);
        scales.insert(match kind {
            Some(ContextKind::Decimal { scale }) => scale,
            Some(ContextKind::Integer) => 0,
            Some(_) => return Err(format!("`of`: `{of}` of surface `{name}` is no decimal and no integer")),
            None => return Err(format!("`of`: surface `{name}` has no context key `{of}`")),
        });
        if let Some(key) = &currency {
            match spec.context.get(key).map(|rule| rule.kind) {
                Some(ContextKind::String) => {}
                Some(_) => return Err(format!("`currency`: `{key}` of surface `{name}` is no string")),
                None => return Err(format!("`currency`: surface `{name}` has no context key `{key}`")),
            }
        }
    }
    let mut scales = scales.into_iter();
    let (Some(scale), None) = (scales.next(), scales.next()) else {
        return Err(format!("`{of}` does not have as many digits behind the point on each surface"));
    };
    Ok(Measure::Sum { of, scale, most: most((currency, unit), max, scale)?, window })
}

/// Amounts are comparable by a key of each call that says in what they are, or because they all are in the same: a limit
/// that says neither adds 500 of one currency to 500 of another.
fn most(
    (currency, unit): (Option<String>, Option<String>),
    max: MostText,
    scale: u8,
) -> Result<Most, String> {
    match (currency, unit, max) {
        (None, Some(unit), MostText::One(max)) if is_unit(&unit) => {
            Ok(Most::Of { unit, max: max.scaled(scale)? })
        }
        (Some(key), None, MostText::Each(each)) if (1..=MOST_CURRENCIES).contains(&each.len()) => {
            let max = each.into_iter().map(|(currency, max)| Ok((currency, max.scaled(scale)?)));
            Ok(Most::Each { key, max: max.collect::<Result<_, String>>()? })
        }
        (None, Some(_), MostText::One(_)) => {
            Err(format!("`unit` is not of 1 to {LONGEST_UNIT} printable bytes"))
        }
        (Some(_), Some(_), _) => Err("`unit` does not go with `currency`".to_owned()),
        (Some(_), None, MostText::Each(_)) => Err(format!("`max` has 1 to {MOST_CURRENCIES} currencies")),
        (Some(_), None, MostText::One(_)) => {
            Err("with `currency`, `max` has each currency's own, as in { EUR = \"100.00\" }".to_owned())
        }
        (None, _, MostText::Each(_)) => Err("several `max` go with `currency`".to_owned()),
        (None, None, MostText::One(_)) => {
            Err("a sum says in what its amounts are: `currency` names the context key \
             that has it, or `unit` what they are all in, as in \"EUR\""
                .to_owned())
        }
    }
}

fn is_unit(unit: &str) -> bool {
    (1..=LONGEST_UNIT).contains(&unit.len()) && !unit.chars().any(char::is_control)
}
