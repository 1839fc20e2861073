//! Numbers in their two readings: as they are written, compared and divided exactly, however long they are; and as a program has them
//! that reads a double, which is what most tools do. Where the two do not lead to one answer there is none.

use std::cmp::Ordering;

/// A decimal number: `0.DIGITS` times ten to the power of `point`, with a sign. Equal numbers are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Neither beginning nor ending with a zero; none at all of zero itself.
    digits: String,
    point: i64,
}

/// Whose doubles are what is written: every decimal of so many digits has one of its own, within these powers of ten.
const SHORT: (usize, i64) = (15, 290);
/// Digits, and the unit of the last of them as a power of ten, of what is read as a double at once.
const AT_ONCE: (usize, std::ops::RangeInclusive<i64>) = (19, -22..=22);

/// A number in both readings.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) written: Decimal,
    /// The shortest decimal that stands for the double nearest to what is written. In order as the doubles are, and whole where
    /// they are.
    pub(super) double: Decimal,
}

impl Number {
    /// `None` if it is beyond what is counted with, or beyond all doubles.
    pub(super) fn read(text: &str, written: Decimal) -> Option<Self> {
        if written.is_short() {
            return Some(Self { double: written.clone(), written });
        }
        let Ok(double) = text.parse::<f64>() else { return None };
        if !double.is_finite() {
            return None;
        }
        Some(Self { double: Decimal::read(&format!("{double:e}"))?, written })
    }

    /// Whether both readings are one number.
    pub(super) fn is_one(&self) -> bool {
        self.written == self.double
    }
}

impl Decimal {
    /// Whether the double nearest to it stands for nothing shorter.
    fn is_short(&self) -> bool {
        let (digits, power) = SHORT;
        self.digits.len() <= digits && (-power..=power).contains(&self.point)
    }

    /// What it takes to find the double nearest to it, in units of work.
    pub(super) fn work_of_double(&self) -> u64 {
        let (digits, units) = AT_ONCE;
        let at_once = self.digits.len() <= digits && self.unit().is_some_and(|unit| units.contains(&unit));
        match (self.is_short(), at_once) {
            (true, _) => 0,
            (false, true) => 64,
            (false, false) => 8_192,
        }
    }

    /// A number of a JSON text; `None` if its exponent is beyond any that is counted with.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (rest, None),
        };
        let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, ""), |parts| parts);
        let all = format!("{whole}{fraction}");
        let begun = all.trim_start_matches('0');
        let digits = begun.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, point: 0 });
        }
        let exponent = exponent.map_or(Some(0), exponent_of)?;
        let point = length(whole)?.checked_sub(length(&all)?.checked_sub(length(begun)?)?)?;
        Some(Self { negative, digits, point: point.checked_add(exponent)? })
    }

    /// Whether nothing stands behind the point, as in `3` and `3.0`.
    pub(super) fn is_integer(&self) -> bool {
        length(&self.digits).is_some_and(|digits| self.digits.is_empty() || digits <= self.point)
    }

    /// As a divisor: what is multiplied by ten to the power of the second. `None` of zero and of what has more than 18 digits.
    fn divisor(&self) -> Option<(u64, i64)> {
        match (self.digits.len(), self.digits.parse::<u64>()) {
            (1..=18, Ok(digits)) => Some((digits, self.unit()?)),
            (_, Ok(_) | Err(_)) => None,
        }
    }

    /// Whether it can be divided by.
    pub(super) fn divides(&self) -> bool {
        !self.negative && self.divisor().is_some()
    }

    /// The power of ten that its last digit counts.
    fn unit(&self) -> Option<i64> {
        self.point.checked_sub(length(&self.digits)?)
    }

    /// Whether it is a whole number of times the other; `None` if that cannot be divided by.
    pub(super) fn is_multiple_of(&self, other: &Self) -> Option<bool> {
        let (divisor, unit) = other.divisor()?;
        if self.digits.is_empty() {
            return Some(true);
        }
        // Its last digit is not zero: what counts smaller units than the divisor's last one is no multiple of it.
        let Ok(tens) = u64::try_from(self.unit()?.checked_sub(unit)?) else { return Some(false) };
        let divisor = u128::from(divisor);
        let digit = |rest: u128, byte: u8| {
            let digit = u128::from(byte.saturating_sub(b'0'));
            rest.checked_mul(10)?.checked_add(digit)?.checked_rem(divisor)
        };
        let rest = self.digits.bytes().try_fold(0, digit)?;
        let shifted = rest.checked_mul(power_of_ten(tens, divisor)?)?.checked_rem(divisor)?;
        Some(shifted == 0)
    }

    /// The same for all ways to write it.
    pub(super) fn to_text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}.{}e{}", self.digits, self.point)
    }

    /// Without its sign.
    fn size(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => (self.point, &self.digits).cmp(&(other.point, &other.digits)),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.size(other),
            (true, true) => other.size(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn length(text: &str) -> Option<i64> {
    let Ok(length) = i64::try_from(text.len()) else { return None };
    Some(length)
}

/// An exponent of at most 15 digits.
fn exponent_of(text: &str) -> Option<i64> {
    match (text.len() <= 16, text.parse()) {
        (true, Ok(exponent)) => Some(exponent),
        (true | false, Ok(_) | Err(_)) => None,
    }
}

/// Ten to this power, as a rest of the divisor, which is less than 10^18.
fn power_of_ten(power: u64, divisor: u128) -> Option<u128> {
    let times = |one: u128, other: u128| one.checked_mul(other)?.checked_rem(divisor);
    let (mut result, mut base, mut left) =
        (1_u128.checked_rem(divisor)?, 10_u128.checked_rem(divisor)?, power);
    while left > 0 {
        if left & 1 == 1 {
            result = times(result, base)?;
        }
        base = times(base, base)?;
        left >>= 1;
    }
    Some(result)
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
