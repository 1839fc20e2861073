//! `bundle.toml`: a bundle's name, version, validity and surfaces. A key that is not understood is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use portcullis_protocol::{
    ActionName, ContextRule, Idempotency, Keep, LabelName, LimitName, Millis, OnSilence, ProofDemand,
    Resource, SourceName, SurfaceName, SurfaceSpec, Tier, ToolName,
};
use serde::{Deserialize, Deserializer};

use crate::MANIFEST_FILE;
use crate::error::{BundleError, Fault};
use crate::exceptions::{self, Exception, ExceptionText};
use crate::files::{self, Files};
use crate::labels::{self, LabelText, Lifetimes};
use crate::limits::{self, LimitText, Limits};
use crate::principals::{self, PrincipalsText};
use crate::roster::Roster;
use crate::sources::{self, SourceText, Sources};
use crate::units::{Instant, Span};

/// The largest version: integers in records are exact up to here.
pub(crate) const MAX_VERSION: u64 = 9_007_199_254_740_991;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;

/// What `bundle.toml` says.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) valid_from: Millis,
    pub(crate) valid_until: Millis,
    pub(crate) surfaces: BTreeMap<SurfaceName, SurfaceSpec>,
    pub(crate) limits: Limits,
    pub(crate) labels: Lifetimes,
    /// The entity type of the people for whom agents act.
    pub(crate) people: Option<String>,
    pub(crate) roster: Option<Roster>,
    pub(crate) proofs: ProofDemand,
    /// Whether it says that it has no cases.
    pub(crate) untested: bool,
    pub(crate) sources: Sources,
    pub(crate) exceptions: Vec<Exception>,
    /// Whether tools of MCP servers without pins are refused.
    pub(crate) require_pins: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestText {
    name: BundleName,
    version: Version,
    valid_from: Instant,
    valid_until: Instant,
    #[serde(default)]
    untested: bool,
    #[serde(default)]
    surfaces: BTreeMap<SurfaceName, SurfaceText>,
    #[serde(default)]
    limits: BTreeMap<LimitName, LimitText>,
    #[serde(default)]
    labels: BTreeMap<LabelName, LabelText>,
    principals: Option<PrincipalsText>,
    roster: Option<Roster>,
    proofs: Option<ProofsText>,
    #[serde(default)]
    exceptions: Vec<ExceptionText>,
    #[serde(default)]
    facts: BTreeMap<SourceName, SourceText>,
    mcp: Option<McpText>,
}

/// `[mcp]`. As with proofs, what it says is said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct McpText {
    require_pins: bool,
}

/// `[proofs]`. What it says is said: left out, `required` has no value that would be meant by everybody.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofsText {
    required: bool,
}

impl ProofsText {
    const fn demand(said: Option<&Self>) -> ProofDemand {
        match said {
            None => ProofDemand::Unsaid,
            Some(Self { required: false }) => ProofDemand::Waived,
            Some(Self { required: true }) => ProofDemand::Required,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SurfaceText {
    tier: Tier,
    on_silence: OnSilenceText,
    pause_at_most: Option<Span>,
    idempotency: Option<Idempotency>,
    permit_ttl: Span,
    outcome_within: Option<Span>,
    derived_window: Option<Span>,
    actions: Option<Vec<ActionName>>,
    tools: Option<Vec<ToolName>>,
    #[serde(default)]
    witnessed: bool,
    resource: Option<Resource>,
    #[serde(default)]
    context: BTreeMap<String, ContextRule>,
    keep: Option<Vec<Kept>>,
    keep_for: Option<Span>,
}

/// What a surface may ask to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Request,
    Result,
    Arguments,
}

struct BundleName(String);

impl<'de> Deserialize<'de> for BundleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_bundle_name(&text) {
            return Ok(Self(text));
        }
        let message =
            "a bundle's name is 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit";
        Err(serde::de::Error::custom(message))
    }
}

/// Whether this can be a bundle's name: it stands on a line of its own in what is signed.
pub(crate) fn is_bundle_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let first = text.bytes().next();
    text.len() <= 64
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(inner)
}

struct Version(u64);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let version = i64::deserialize(deserializer)?;
        match u64::try_from(version) {
            Ok(version @ 1..=MAX_VERSION) => Ok(Self(version)),
            Ok(_) | Err(_) => Err(serde::de::Error::custom("a version is an integer from 1")),
        }
    }
}

enum OnSilenceText {
    Terminate,
    Pause,
}

impl<'de> Deserialize<'de> for OnSilenceText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "terminate" => Ok(Self::Terminate),
            "pause" => Ok(Self::Pause),
            "queue" => Err(serde::de::Error::custom(
                "`on_silence = \"queue\"` is not built into this version; use \"terminate\" or \"pause\"",
            )),
            _ => Err(serde::de::Error::custom(format!(
                "`{text}` is no `on_silence`; use \"terminate\" or \"pause\""
            ))),
        }
    }
}

impl Manifest {
    pub(crate) fn parse(files: &Files) -> Result<Self, BundleError> {
        let text = files::text(files, MANIFEST_FILE)?;
        let parsed: ManifestText = toml::from_str(text).map_err(|error| {
            let line = error.span().and_then(|span| files::line_at(text, span.start));
            let message = error.message().to_owned();
            BundleError::corrupt_at(MANIFEST_FILE, line, Fault::Manifest { message })
        })?;
        let (valid_from, valid_until) = (parsed.valid_from.0, parsed.valid_until.0);
        if valid_until <= valid_from {
            return Err(corrupt(Fault::Validity));
        }
        let surfaces =
            parsed.surfaces.into_iter().map(|(name, text)| Ok((name.clone(), text.into_spec(&name)?)));
        let surfaces = surfaces.collect::<Result<_, _>>()?;
        refuse_shared_actions(&surfaces)?;
        refuse_shared_tools(&surfaces)?;
        let limits = limits::load(parsed.limits, &surfaces)?;
        let labels = labels::load(parsed.labels)?;
        let sources = sources::load(parsed.facts)?;
        let (name, version, roster) = (parsed.name.0, parsed.version.0, parsed.roster);
        let people = parsed.principals.map(|principals| principals.kind);
        let (proofs, untested) = (ProofsText::demand(parsed.proofs.as_ref()), parsed.untested);
        let exceptions = Vec::new();
        let require_pins = parsed.mcp.is_some_and(|mcp| mcp.require_pins);
        let mut manifest = Self {
            name,
            version,
            valid_from,
            valid_until,
            surfaces,
            limits,
            labels,
            people,
            roster,
            sources,
            exceptions,
            proofs,
            untested,
            require_pins,
        };
        manifest.exceptions = exceptions::load(parsed.exceptions, &manifest)?;
        Ok(manifest)
    }
}

/// Where the text is not understood.
pub(crate) fn misread(text: &str) -> Option<Range<usize>> {
    match toml::from_str::<ManifestText>(text) {
        Ok(_) => None,
        Err(error) => error.span(),
    }
}

fn corrupt(fault: Fault) -> BundleError {
    BundleError::corrupt(MANIFEST_FILE, fault)
}

impl SurfaceText {
    fn into_spec(self, name: &SurfaceName) -> Result<SurfaceSpec, BundleError> {
        let fault = |message: &str| {
            corrupt(Fault::Surface { surface: name.to_string(), message: message.to_owned() })
        };
        let idempotency = self.idempotency().ok_or_else(|| {
            fault("`idempotency` must be given for every tier but `read`: \"none\", \"key\" or \"derived\"")
        })?;
        if self.derived_window.is_some() && idempotency != Idempotency::Derived {
            return Err(fault("`derived_window` goes with `idempotency = \"derived\"` only"));
        }
        let permit_ttl_ms = within(self.permit_ttl, 100, 5 * MINUTE)
            .ok_or_else(|| fault("`permit_ttl` is not within 100ms and 5m"))?;
        // An outcome that is due while its permit can still be spent would be missed before it could come.
        let outcome_within_ms = within(or_minute(self.outcome_within), permit_ttl_ms, 60 * MINUTE)
            .ok_or_else(|| fault("`outcome_within` is not within `permit_ttl` and 60m"))?;
        let on_silence = self.on_silence().map_err(fault)?;
        let derived_window_ms = within(or_minute(self.derived_window), 1_000, 60 * MINUTE)
            .ok_or_else(|| fault("`derived_window` is not within 1s and 60m"))?;
        if self.context.contains_key(labels::CONTEXT_KEY) {
            return Err(corrupt(Fault::LabelsFromCaller { surface: name.to_string() }));
        }
        if self.context.contains_key(principals::CONTEXT_KEY) {
            return Err(corrupt(Fault::PrincipalFromCaller { surface: name.to_string() }));
        }
        check_context(&self.context).map_err(fault)?;
        let keep = self.keep(idempotency).map_err(fault)?;
        Ok(SurfaceSpec {
            tier: self.tier,
            on_silence,
            idempotency,
            permit_ttl_ms,
            outcome_within_ms,
            derived_window_ms,
            actions: actions(self.actions, name).map_err(fault)?,
            tools: tools(self.tools, name).map_err(fault)?,
            witnessed: self.witnessed,
            resource: self.resource.or_else(|| Some(surface_resource(name))),
            context: self.context,
            keep,
        })
    }

    fn on_silence(&self) -> Result<OnSilence, &'static str> {
        match (&self.on_silence, self.pause_at_most) {
            (OnSilenceText::Terminate, None) => Ok(OnSilence::Terminate),
            (OnSilenceText::Terminate, Some(_)) => {
                Err("`pause_at_most` goes with `on_silence = \"pause\"` only")
            }
            (OnSilenceText::Pause, None) => {
                Err("`on_silence = \"pause\"` needs `pause_at_most`, how long a call is held")
            }
            (OnSilenceText::Pause, Some(span)) => within(span, SECOND, 10 * MINUTE)
                .map(|at_most_ms| OnSilence::Pause { at_most_ms })
                .ok_or("`pause_at_most` is not within 1s and 10m"),
        }
    }

    fn keep(&self, idempotency: Idempotency) -> Result<Keep, &'static str> {
        let default = Keep::by_default(idempotency);
        let keep = match &self.keep {
            None => default,
            Some(kept) if kept.iter().any(|one| kept.iter().filter(|other| *other == one).count() > 1) => {
                return Err("`keep` names one twice");
            }
            Some(kept) => {
                let [request, result, arguments] =
                    [Kept::Request, Kept::Result, Kept::Arguments].map(|what| kept.contains(&what));
                // Without their request nobody could hold arguments against the record.
                Keep { request: request || arguments, result, arguments, ..default }
            }
        };
        if self.keep_for.is_some() && !keep.request && !keep.result {
            return Err("`keep_for` goes with something that is kept");
        }
        match self.keep_for {
            None => Ok(keep),
            Some(span) => within(span, MINUTE, 3_660 * DAY)
                .map(|for_ms| Keep { for_ms, ..keep })
                .ok_or("`keep_for` is not within 1m and 3660d"),
        }
    }

    fn idempotency(&self) -> Option<Idempotency> {
        self.idempotency.or_else(|| (self.tier == Tier::Read).then_some(Idempotency::None))
    }
}

fn or_minute(span: Option<Span>) -> Span {
    span.map_or(Span(MINUTE), |span| span)
}

fn within(span: Span, least: u64, most: u64) -> Option<u64> {
    (least..=most).contains(&span.0).then_some(span.0)
}

fn actions(given: Option<Vec<ActionName>>, surface: &SurfaceName) -> Result<Vec<ActionName>, &'static str> {
    let Some(actions) = given else {
        let own = surface.as_str().parse().map_err(|_| "its name cannot be an action's")?;
        return Ok(vec![own]);
    };
    if actions.is_empty() {
        return Err("`actions` is empty");
    }
    if actions.iter().collect::<BTreeSet<_>>().len() != actions.len() {
        return Err("`actions` names one twice");
    }
    Ok(actions)
}

fn tools(given: Option<Vec<ToolName>>, surface: &SurfaceName) -> Result<Vec<ToolName>, &'static str> {
    let Some(tools) = given else { return Ok(Vec::new()) };
    if tools.is_empty() {
        // Left out it means the tool of the surface's own name, and this looks like none.
        return Err("`tools` is empty");
    }
    if tools.iter().collect::<BTreeSet<_>>().len() != tools.len() {
        return Err("`tools` names one twice");
    }
    let mut words = surface.as_str().split('.').skip(1);
    if words.next() == Some("mcp") && words.next().is_some() {
        return Err("`{server}.mcp.…` is for a server's methods, and has no `tools`");
    }
    Ok(tools)
}

fn surface_resource(name: &SurfaceName) -> Resource {
    Resource { kind: crate::entities::SURFACE.to_owned(), id: name.to_string() }
}

fn check_context(context: &BTreeMap<String, ContextRule>) -> Result<(), &'static str> {
    let is_key = |key: &str| !key.is_empty() && key.len() <= 128 && !key.chars().any(char::is_control);
    if !context.keys().all(|key| is_key(key)) {
        return Err("a context key is 1 to 128 printable characters");
    }
    let pointers = context.values().filter_map(|rule| rule.from.as_deref());
    let escapes = |pointer: &str| pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if pointers.into_iter().all(escapes) { Ok(()) } else { Err("in a JSON Pointer `~` is written `~0`") }
}

fn refuse_shared_actions(surfaces: &BTreeMap<SurfaceName, SurfaceSpec>) -> Result<(), BundleError> {
    let mut owners: BTreeMap<&ActionName, &SurfaceName> = BTreeMap::new();
    for (surface, spec) in surfaces {
        for action in &spec.actions {
            if let Some(first) = owners.insert(action, surface) {
                return Err(corrupt(Fault::SharedAction {
                    action: action.to_string(),
                    first: first.to_string(),
                    second: surface.to_string(),
                }));
            }
        }
    }
    Ok(())
}

fn refuse_shared_tools(surfaces: &BTreeMap<SurfaceName, SurfaceSpec>) -> Result<(), BundleError> {
    let mut owners: BTreeMap<&ToolName, &SurfaceName> = BTreeMap::new();
    for (surface, spec) in surfaces {
        for tool in &spec.tools {
            if let Some(first) = owners.insert(tool, surface) {
                return Err(corrupt(Fault::SharedTool {
                    tool: tool.to_string(),
                    first: first.to_string(),
                    second: surface.to_string(),
                }));
            }
            let namesake = tool.as_str().replace('/', ".");
            if surface.as_str() != namesake && surfaces.keys().any(|other| other.as_str() == namesake) {
                let (tool, surface) = (tool.to_string(), surface.to_string());
                return Err(corrupt(Fault::AmbiguousTool { tool, surface, namesake }));
            }
        }
    }
    Ok(())
}
