//! Instants and durations as `bundle.toml` writes them.

use portcullis_protocol::Millis;
use serde::{Deserialize, Deserializer};

/// An RFC 3339 date and time in UTC, `2026-01-31T12:00:00Z`, with milliseconds or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant(pub(crate) Millis);

/// A whole number and its unit: `250ms`, `5s`, `1m`, `12h`, `90d`. In milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) u64);

/// Digits only: `parse` would take a plus sign.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.bytes().try_fold(0_u64, |sum, digit| Some(sum * 10 + u64::from(digit.checked_sub(b'0')?)))
}

fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut field = |width| parts.next().filter(|part| part.len() == width).and_then(digits);
    let [first, second, third] = widths;
    let found = [field(first)?, field(second)?, field(third)?];
    parts.next().is_none().then_some(found)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn month_days(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + if is_leap(year) { 1 } else { 0 },
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => 0,
    }
}

/// Days from 1970-01-01 to the first of a year.
fn days_before(year: u64) -> u64 {
    (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum()
}

impl Instant {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let [year, month, day] = fields(date, '-', [4, 2, 2])?;
        let (clock, fraction) = time.split_once('.').map_or((time, "000"), |parts| parts);
        let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
        let millisecond = digits(fraction).filter(|_| fraction.len() == 3)?;
        let dated = year >= 1970 && day >= 1 && day <= month_days(year, month);
        if !dated || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let in_year: u64 = (1..month).map(|month| month_days(year, month)).sum();
        let days = days_before(year) + in_year + day - 1;
        Some(Self(Millis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millisecond)))
    }
}

impl Span {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(end);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        digits(number).map(|number| Self(number * factor))
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected a date and time in UTC as in \"2026-01-31T12:00:00Z\"";
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no instant: {expected}")))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected a whole number and `ms`, `s`, `m`, `h` or `d`, as in \"5s\"";
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no duration: {expected}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc_and_exact() {
        let good = [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-01-31T12:00:00Z", 1_769_860_800_000),
            ("2099-01-01T00:00:00Z", 4_070_908_800_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ];
        for (text, millis) in good {
            assert_eq!(Instant::parse(text), Some(Instant(Millis(millis))), "{text}");
        }
        let bad = [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31t12:00:00z",
            "2026-01-31 12:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:60:00Z",
            "2026-01-31T23:59:60Z",
            "2026-01-31T12:00:00.5Z",
            "2026-1-31T12:00:00Z",
            "+026-01-31T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-01-31T12:00:00Z ",
        ];
        for text in bad {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("3h", 10_800_000),
            ("90d", 7_776_000_000),
            ("0s", 0),
        ] {
            assert_eq!(Span::parse(text), Some(Span(millis)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "+5s", "-5s", "1.5s", "5w", "5S", "5s ", "99999999999s"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
