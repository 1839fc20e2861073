//! Surfaces: protected classes of operations, as the bundle declares them, and the typed inputs that policy
//! may read of a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ActionName, BundleDigest, SurfaceName, ToolName};
use crate::json::{Loose, Value};
use crate::pins::ToolPins;
use crate::reason::ReasonCode;
use crate::request::Resource;
use crate::spelling::refuse_other_spellings;

/// How much hangs on a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Changes nothing.
    Read,
    /// Ordinary changes.
    Standard,
    /// Changes that are hard to take back.
    High,
    /// Money, infrastructure, secrets.
    Critical,
}

impl Tier {
    /// Whether a bundle may have exceptions on surfaces of this tier.
    #[must_use]
    pub const fn may_be_excepted(self) -> bool {
        match self {
            Self::Read | Self::Standard => true,
            Self::High | Self::Critical => false,
        }
    }
}

/// What silence does to the caller of a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OnSilence {
    /// Answer now.
    Terminate,
    /// Hold the call, and decide it anew once what silenced it has cleared.
    Pause {
        /// For how long at most, in milliseconds.
        at_most_ms: u64,
    },
}

/// How often a request on a surface may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idempotency {
    /// Each call is its own and runs again.
    None,
    /// The caller gives a key; a key runs at most once.
    Key,
    /// The key is derived from run, surface and payload, within a window.
    Derived,
}

/// What is kept, encrypted, of a surface's requests and results. Records only commit to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Whether requests are kept, so that their decisions can be replayed.
    pub request: bool,
    /// Whether results are kept, so that repeats of a key get them.
    pub result: bool,
    /// Whether the arguments of calls are kept with their requests. A call that does not bring them is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arguments: bool,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

impl Keep {
    /// How long is kept what the bundle says nothing about: 90 days, in milliseconds.
    pub const DEFAULT_MS: u64 = 90 * 24 * 60 * 60 * 1_000;

    /// What is kept of requests on surfaces that no bundle declares: what replaying their refusal needs.
    pub const UNDECLARED: Self =
        Self { request: true, result: false, arguments: false, for_ms: Self::DEFAULT_MS };

    /// The default: what replay needs, and for surfaces with keys what their repeats get.
    #[must_use]
    pub const fn by_default(idempotency: Idempotency) -> Self {
        let result = match idempotency {
            Idempotency::None => false,
            Idempotency::Key | Idempotency::Derived => true,
        };
        Self { request: true, result, arguments: false, for_ms: Self::DEFAULT_MS }
    }
}

/// A surface's declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurfaceSpec {
    /// How much hangs on it.
    pub tier: Tier,
    /// What silence does.
    pub on_silence: OnSilence,
    /// How often a request may run.
    pub idempotency: Idempotency,
    /// How long a permit lives between the question and the start of the action, in milliseconds.
    pub permit_ttl_ms: u64,
    /// How long after a PERMIT its outcome counts as known to be missing, in milliseconds.
    pub outcome_within_ms: u64,
    /// Within which a derived key stands for the same intent, in milliseconds.
    pub derived_window_ms: u64,
    /// The actions that belong to it; no action belongs to two surfaces.
    pub actions: Vec<ActionName>,
    /// The tools whose calls belong to it, and then no others do; without any, the tool of its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolName>,
    /// Whether a PERMIT is released only once the deployment's witnesses have cosigned a checkpoint that covers it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witnessed: bool,
    /// The resource of calls that name none of their own, such as tool calls.
    pub resource: Option<Resource>,
    /// The inputs that policy may read, all of them.
    pub context: BTreeMap<String, ContextRule>,
    /// What is kept of its requests and results.
    pub keep: Keep,
}

/// The surfaces of a bundle, as a gate needs them to turn a tool call into a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurfaceTable {
    /// The bundle that declares them.
    pub bundle: BundleDigest,
    /// By name.
    pub surfaces: BTreeMap<SurfaceName, SurfaceSpec>,
    /// How the tools were defined when the bundle was signed.
    #[serde(default = "ToolPins::none", skip_serializing_if = "ToolPins::say_nothing")]
    pub pins: ToolPins,
}

/// One declared input of policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleText", into = "RuleText")]
pub struct ContextRule {
    /// Its type.
    pub kind: ContextKind,
    /// Where it is in a tool's arguments: an RFC 6901 JSON Pointer. Without one, only API callers can give it.
    pub from: Option<String>,
    /// Whether a request may do without it.
    pub optional: bool,
}

/// The types that policy can read, each with one canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// A string.
    String,
    /// An integer within ±(2^53 − 1).
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A string of digits with exactly `scale` digits behind the point, as in `"12.50"`.
    Decimal {
        /// Digits behind the point, 1 to 4.
        scale: u8,
    },
    /// An absolute path without `.`, `..`, empty segments, backslashes or a trailing slash.
    Path,
    /// An http or https URL in its normal form.
    Url,
    /// An array of strings.
    Strings,
}

/// A rule as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(rename = "type")]
    kind: KindText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(default)]
    optional: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindText {
    String,
    Integer,
    Boolean,
    Decimal,
    Path,
    Url,
    Strings,
}

impl TryFrom<RuleText> for ContextRule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<Self, String> {
        let kind = match (text.kind, text.scale) {
            (KindText::Decimal, Some(scale @ 1..=4)) => ContextKind::Decimal { scale },
            (KindText::Decimal, Some(_) | None) => return Err("a decimal needs `scale`, from 1 to 4".into()),
            (_, Some(_)) => return Err("only a decimal has a `scale`".into()),
            (KindText::String, None) => ContextKind::String,
            (KindText::Integer, None) => ContextKind::Integer,
            (KindText::Boolean, None) => ContextKind::Boolean,
            (KindText::Path, None) => ContextKind::Path,
            (KindText::Url, None) => ContextKind::Url,
            (KindText::Strings, None) => ContextKind::Strings,
        };
        if text.from.as_deref().is_some_and(|from| !from.is_empty() && !from.starts_with('/')) {
            return Err("`from` is a JSON Pointer: empty, or beginning with `/`".into());
        }
        Ok(Self { kind, from: text.from, optional: text.optional })
    }
}

impl From<ContextRule> for RuleText {
    fn from(rule: ContextRule) -> Self {
        let (kind, scale) = match rule.kind {
            ContextKind::String => (KindText::String, None),
            ContextKind::Integer => (KindText::Integer, None),
            ContextKind::Boolean => (KindText::Boolean, None),
            ContextKind::Decimal { scale } => (KindText::Decimal, Some(scale)),
            ContextKind::Path => (KindText::Path, None),
            ContextKind::Url => (KindText::Url, None),
            ContextKind::Strings => (KindText::Strings, None),
        };
        Self { kind, scale, from: rule.from, optional: rule.optional }
    }
}

impl ContextRule {
    /// Checks a value against the declaration.
    ///
    /// # Errors
    /// [`ReasonCode::RequestArgument`] for another type, [`ReasonCode::RequestNotCanonical`] for a path or URL
    /// in another than its canonical form.
    pub fn check(&self, value: &Value) -> Result<(), ReasonCode> {
        let text = |fits: fn(&str) -> bool| value.as_str().map(fits);
        let fits = match self.kind {
            ContextKind::String => text(|_| true),
            ContextKind::Integer => matches!(value, Value::Int(_)).then_some(true),
            ContextKind::Boolean => matches!(value, Value::Bool(_)).then_some(true),
            ContextKind::Decimal { scale } => {
                value.as_str().and_then(|text| is_decimal(text, scale).then_some(true))
            }
            ContextKind::Path => text(is_canonical_path),
            ContextKind::Url => text(is_canonical_url),
            ContextKind::Strings => is_strings(value).then_some(true),
        };
        match fits {
            Some(true) => Ok(()),
            Some(false) => Err(ReasonCode::RequestNotCanonical),
            None => Err(ReasonCode::RequestArgument),
        }
    }
}

impl SurfaceSpec {
    /// Reads the declared inputs of policy out of a tool's arguments.
    ///
    /// # Errors
    /// [`ReasonCode::RequestArgument`] if one is missing or of another type, [`ReasonCode::RequestFraction`] and
    /// [`ReasonCode::RequestIntegerRange`] if it is a number without an exact form,
    /// [`ReasonCode::RequestAmbiguousKey`] if an object on the way to it has its key in another spelling, or any
    /// key in two,
    /// [`ReasonCode::RequestNotCanonical`] for a path or URL in another than its canonical form.
    pub fn extract(&self, arguments: &Loose) -> Result<BTreeMap<String, Value>, ReasonCode> {
        let mut context = BTreeMap::new();
        for (key, rule) in &self.context {
            let Some(pointer) = &rule.from else { continue };
            refuse_other_spellings(arguments, pointer)?;
            match arguments.pointer(pointer) {
                Some(found) => {
                    let value = Value::try_from(found.clone()).map_err(|error| error.code())?;
                    rule.check(&value)?;
                    context.insert(key.clone(), value);
                }
                None if rule.optional => {}
                None => return Err(ReasonCode::RequestArgument),
            }
        }
        Ok(context)
    }
}

fn is_strings(value: &Value) -> bool {
    matches!(value, Value::Array(items) if items.iter().all(|item| matches!(item, Value::Str(_))))
}

/// Digits, a point and exactly `scale` digits; no plus, no leading zero, no negative zero. At most 15 digits
/// in front of the point, which Cedar's decimal (64 bits, four places) holds at any value below 9.2·10^14.
fn is_decimal(text: &str, scale: u8) -> bool {
    let digits = text.strip_prefix('-').map_or(text, |rest| rest);
    let Some((whole, fraction)) = digits.split_once('.') else { return false };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let zero = digits.bytes().all(|byte| byte == b'0' || byte == b'.');
    all_digits(whole)
        && all_digits(fraction)
        && fraction.len() == usize::from(scale)
        && whole.len() <= 14
        && (whole == "0" || !whole.starts_with('0'))
        && !(zero && text.starts_with('-'))
}

/// Whether a path is absolute and has one meaning: no `.`, `..`, empty segment, backslash, control character or
/// trailing slash.
#[must_use]
pub fn is_canonical_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    path.len() <= 4096
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && (rest.is_empty() || rest.split('/').all(|segment| !matches!(segment, "" | "." | "..")))
}

/// Whether a URL is http or https and in its normal form: lower-case ASCII host, no user info, no default port,
/// no fragment, no dot segments, no percent-encoded character that needs no encoding or hides a separator.
#[must_use]
pub fn is_canonical_url(url: &str) -> bool {
    let (rest, default_port) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, "443"),
        (None, Some(rest)) => (rest, "80"),
        (None, None) => return false,
    };
    let allowed = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}#".contains(c);
    let Some(slash) = rest.find('/') else { return false };
    let (authority, target) = rest.split_at(slash);
    let (path, query) = target.split_once('?').map_or((target, ""), |parts| parts);
    url.len() <= 4096
        && url.chars().all(allowed)
        && is_canonical_authority(authority, default_port)
        && path.split('/').skip(1).all(|segment| !matches!(segment, "." | ".."))
        && !path.contains("//")
        // A URL parser writes it as `%27`, in queries alone.
        && !query.contains('\'')
        && has_canonical_percents(target)
}

fn is_canonical_authority(authority: &str, default_port: &str) -> bool {
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let port_fits = port.is_none_or(|port| {
        port != default_port
            && !port.starts_with('0')
            && port.parse::<u16>().is_ok_and(|_| port.bytes().all(|b| b.is_ascii_digit()))
    });
    // A host whose last label begins with a digit is an IPv4 address to a URL parser, in one of many spellings.
    let numeric = host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    let address = host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.to_string() == host);
    !host.is_empty() && host.len() <= 253 && host.split('.').all(label) && port_fits && (!numeric || address)
}

fn has_canonical_percents(target: &str) -> bool {
    target.split('%').skip(1).all(|rest| {
        let byte = rest.get(..2).filter(|digits| !digits.bytes().any(|b| b.is_ascii_lowercase()));
        let byte = byte.map(|digits| u8::from_str_radix(digits, 16));
        let hidden = |b: u8| b.is_ascii_alphanumeric() || b.is_ascii_control() || b"-._~/\\%?#".contains(&b);
        matches!(byte, Some(Ok(byte)) if !hidden(byte))
    })
}

#[cfg(test)]
#[path = "surface_tests.rs"]
mod tests;
