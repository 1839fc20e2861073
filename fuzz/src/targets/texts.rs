//! JSON, requests, records, and what policy may read of arguments.

use std::path::Path;
use std::sync::LazyLock;

use portcullis_protocol::request::{Ask, parse_strict};
use portcullis_protocol::surface::{is_canonical_path, is_canonical_url};
use portcullis_protocol::wire::{DecisionCall, DecisionReply, OrderCall, OutcomeCall};
use portcullis_protocol::{
    ContextKind, Limits, Loose, Record, Salt, SurfaceSpec, SurfaceTable, Value, canonical,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::reference::Json;

/// Both parsers accept the same texts, read the same of them, and the canonical bytes are those of RFC 8785.
pub(crate) fn json(data: &[u8]) {
    let read = Json::parse(data).filter(Json::has_distinct_keys);
    let depth = read.as_ref().map_or(0, Json::depth);
    let strict = Value::parse(data, Limits::REQUEST);
    let fits = data.len() <= Limits::REQUEST.bytes && depth <= Limits::REQUEST.depth;
    let expected = read.as_ref().filter(|read| read.is_exact() && fits);
    match (&strict, expected) {
        (Ok(value), Some(expected)) => {
            let bytes = canonical::to_bytes(value).expect("a value has a canonical form");
            assert_eq!(str::from_utf8(&bytes), Ok(expected.canonical().as_str()));
            assert_eq!(Value::parse(&bytes, Limits::REQUEST), strict);
        }
        (Err(_), None) => {}
        (strict, expected) => panic!("{strict:?}, where {expected:?} was read"),
    }
    let loose = Loose::parse(data, Limits::MESSAGE);
    match (&loose, &read) {
        (Ok(loose), Some(read)) => {
            assert!(depth <= 64 && same(loose, read), "{loose:?}, where {read:?} was read")
        }
        (Ok(loose), None) => panic!("{loose:?}, which is not JSON"),
        (Err(error), Some(read)) => assert!(depth > 64 || is_huge(read), "{error}: {read:?}"),
        (Err(_), None) => {}
    }
    assert_eq!(
        loose.map_err(drop).and_then(|loose| Value::try_from(loose).map_err(drop)).is_ok() && fits,
        strict.is_ok()
    );
}

/// Whether a number is beyond what every reader of doubles agrees about.
fn is_huge(read: &Json) -> bool {
    match read {
        Json::Number(text) => text.parse::<f64>().is_ok_and(|value| value.abs() > 1e300),
        Json::Array(items) => items.iter().any(is_huge),
        Json::Object(members) => members.iter().any(|(_, value)| is_huge(value)),
        Json::Null | Json::Bool(_) | Json::Text(_) => false,
    }
}

fn same(loose: &Loose, read: &Json) -> bool {
    match (loose, read) {
        (Loose::Null, Json::Null) => true,
        (Loose::Bool(one), Json::Bool(other)) => one == other,
        (Loose::Int(one), number @ Json::Number(other)) => number.is_exact() && one.to_string() == *other,
        (Loose::Fraction | Loose::Oversize, number @ Json::Number(_)) => !number.is_exact(),
        (Loose::Str(one), Json::Text(other)) => one == other,
        (Loose::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Loose::Object(one), Json::Object(other)) => {
            let found = |(key, value): &(String, Json)| one.get(key).is_some_and(|found| same(found, value));
            one.len() == other.len() && other.iter().all(found)
        }
        _ => false,
    }
}

/// What is accepted is written and read as the same again, and is unambiguous JSON.
fn strict<T: DeserializeOwned + Serialize + PartialEq>(data: &[u8]) -> Option<(T, Json)> {
    let Ok(value) = parse_strict::<T>(data) else { return None };
    let read = Json::parse(data).expect("accepted, and no JSON");
    assert!(read.has_distinct_keys() && read.is_exact() && read.depth() <= 16 && data.len() <= 65_536);
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    assert!(
        parse_strict::<T>(&written).is_ok_and(|again| again == value),
        "read otherwise when it is written"
    );
    Some((value, read))
}

/// Bodies of the API: what a caller asks, reports and orders, and what an arbiter answers.
pub(crate) fn request(data: &[u8]) {
    if let Some((ask, read)) = strict::<Ask>(data) {
        asked(&ask, &read);
    }
    if let Some((call, read)) = strict::<DecisionCall>(data) {
        asked(&call.request, read.last("request").expect("a request in the call"));
    }
    strict::<OutcomeCall>(data);
    if let Some((call, _)) = strict::<OrderCall>(data) {
        assert!(!call.reason.as_str().trim().is_empty());
    }
    if let Ok(reply) = serde_json::from_slice::<DecisionReply>(data) {
        let written = serde_json::to_vec(&reply).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<DecisionReply>(&written).expect("readable"), reply);
    }
}

fn asked(ask: &Ask, read: &Json) {
    let text = |json: Option<&Json>| match json {
        Some(Json::Text(text)) => Some(text.clone()),
        _ => None,
    };
    // Nobody who reads the same body finds another operation in it.
    assert_eq!(text(read.last("surface")).as_deref(), Some(ask.surface.as_str()));
    assert_eq!(text(read.last("action")).as_deref(), Some(ask.action.as_str()));
    assert_eq!(text(read.last("acts_for")).as_deref(), ask.acts_for.as_ref().map(|named| named.as_str()));
    let resource = read.last("resource").expect("a resource");
    assert_eq!(text(resource.last("type")).as_deref(), Some(ask.resource.kind.as_str()));
    assert_eq!(text(resource.last("id")).as_deref(), Some(ask.resource.id.as_str()));
    let context = match read.last("context") {
        None => 0,
        Some(Json::Object(members)) => members.len(),
        Some(other) => panic!("{other:?} was taken for a context"),
    };
    assert_eq!(context, ask.context.len());
    for (key, value) in &ask.context {
        let read = read.last("context").and_then(|context| context.last(key)).expect("the same key");
        assert_eq!(canonical::to_bytes(value).expect("exact"), read.canonical().into_bytes());
    }
    let request = ask.clone().by("agent".parse().expect("a name"));
    let other = ask.clone().by("other".parse().expect("a name"));
    let digest = request.digest().expect("exact");
    assert_ne!(digest, other.digest().expect("exact"));
    let mut for_another = request.clone();
    for_another.ask.acts_for = Some("another-principal".parse().expect("a name"));
    let same = request.ask.acts_for == for_another.ask.acts_for;
    assert_eq!(digest == for_another.digest().expect("exact"), same);
    let (one, two) = (Salt::from_bytes([1; 32]), Salt::from_bytes([2; 32]));
    assert_ne!(request.commitment(&one).expect("exact"), request.commitment(&two).expect("exact"));
}

/// Only its canonical bytes are a record.
pub(crate) fn record(data: &[u8]) {
    let Ok(record) = Record::parse(data) else { return };
    assert_eq!(record.to_bytes().as_deref(), Ok(data));
    let read = Json::parse(data).expect("a record, and no JSON");
    assert!(read.has_distinct_keys() && read.is_exact() && read.depth() <= 16 && data.len() <= 65_535);
    assert_eq!(read.canonical().as_bytes(), data);
    assert_eq!(read.last("seq"), Some(&Json::Number(record.seq().to_string())));
    if let Record::Decision(decision) = record {
        assert_eq!(
            decision.reason.is_none(),
            read.last("decision") == Some(&Json::Text("PERMIT".to_owned()))
        );
    }
}

/// A surface that may read one of each type.
static SURFACE: LazyLock<SurfaceSpec> = LazyLock::new(|| {
    let kinds = ["string", "integer", "boolean", "path", "url", "strings"];
    let mut context: serde_json::Map<_, _> = kinds
        .iter()
        .map(|kind| {
            (
                (*kind).to_owned(),
                serde_json::json!({ "type": kind, "from": format!("/{kind}"), "optional": true }),
            )
        })
        .collect();
    let decimal =
        serde_json::json!({ "type": "decimal", "scale": 2, "from": "/deep/~1amount/0", "optional": true });
    context.insert("decimal".to_owned(), decimal);
    let spec = serde_json::json!({
        "tier": "critical", "on_silence": "terminate", "idempotency": "key", "permit_ttl_ms": 1000,
        "outcome_within_ms": 1000, "derived_window_ms": 1000, "actions": ["pay.charge"], "resource": null,
        "context": context, "keep": { "request": true, "result": true, "for_ms": 1 },
    });
    serde_json::from_value(spec).expect("a surface")
});

/// A surface's table, and what is read of a tool's arguments: what another parser of the same bytes finds there.
pub(crate) fn arguments(data: &[u8]) {
    if let Ok(table) = serde_json::from_slice::<SurfaceTable>(data) {
        let written = serde_json::to_vec(&table).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<SurfaceTable>(&written).expect("readable"), table);
    }
    let Ok(loose) = Loose::parse(data, Limits::MESSAGE) else { return };
    let Ok(found) = SURFACE.extract(&loose) else { return };
    let read = Json::parse(data).expect("read as arguments, and no JSON");
    for (key, value) in &found {
        let rule = &SURFACE.context[key];
        assert_eq!(rule.check(value), Ok(()));
        let there = match rule.kind {
            ContextKind::Decimal { .. } => match read.last("deep").and_then(|deep| deep.last("/amount")) {
                Some(Json::Array(items)) => items.first(),
                Some(object) => object.last("0"),
                None => None,
            },
            _ => read.last(key),
        };
        let there = there.expect("found where it is not");
        assert_eq!(canonical::to_bytes(value).expect("exact"), there.canonical().into_bytes());
    }
    let Json::Object(members) = &read else { return };
    for key in SURFACE.context.keys().filter(|key| *key != "decimal") {
        // A parser that ignores case finds the same member, or none either.
        let spellings = members
            .iter()
            .filter(|(name, _)| name.to_lowercase() == *key || name.to_uppercase() == key.to_uppercase());
        let names: Vec<_> = spellings.map(|(name, _)| name).collect();
        assert!(names.len() <= 1 && names.iter().all(|name| *name == key), "{names:?}");
        assert_eq!(names.len(), usize::from(found.contains_key(key)));
    }
}

/// Paths and URLs that count as canonical mean the same to those who resolve them.
pub(crate) fn address(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if is_canonical_path(text) {
        let resolved: std::path::PathBuf = Path::new(text).components().collect();
        assert_eq!(resolved.to_str(), Some(text));
        assert!(text.starts_with('/') && !text.split('/').any(|segment| segment == ".." || segment == "."));
    }
    if is_canonical_url(text)
        && let Ok(url) = Url::parse(text)
    {
        assert_eq!(url.as_str(), text);
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
        let (_, rest) = text.split_once("://").expect("a scheme");
        let authority = rest.split('/').next().expect("an authority");
        assert_eq!(url.authority(), authority);
        assert_eq!(url.host_str(), authority.split(':').next());
    }
}
