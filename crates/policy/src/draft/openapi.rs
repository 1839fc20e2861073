//! A draft from an API's description: OpenAPI 3.0 or 3.1, in JSON.

use portcullis_protocol::{JsonError, Limits, Loose, SurfaceName, fold};

use super::names::{self, Surfaces};
use super::property::{self, Source};
use super::tools::plain;
use super::{Argument, DraftError, Heading, LeftOut, Proposal, Proposed, text};

/// Bounds on a description.
const LIMITS: Limits = Limits { bytes: 16 * 1024 * 1024, depth: 64 };
/// How far references lead to one another.
const MAX_REFERENCES: usize = 8;
/// What may be done with a path (OpenAPI 3.1, "Path Item Object").
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Reads a description.
pub(super) fn read(bytes: &[u8]) -> Result<Loose, DraftError> {
    let document = Loose::parse(bytes, LIMITS).map_err(|error| {
        let hint = match error {
            JsonError::Syntax { .. } => "; YAML is not read: convert the description to JSON",
            JsonError::TooLarge { .. }
            | JsonError::TooDeep { .. }
            | JsonError::DuplicateKey { .. }
            | JsonError::Fraction
            | JsonError::IntegerRange => "",
        };
        DraftError::Source(format!("the description cannot be read: {error}{hint}"))
    })?;
    match document.pointer("/openapi").and_then(Loose::as_str) {
        Some(version) if version.starts_with("3.0.") || version.starts_with("3.1.") => Ok(document),
        Some(version) => {
            Err(DraftError::Source(format!("OpenAPI {} is not read; 3.0 and 3.1 are", text::quoted(version))))
        }
        None => Err(DraftError::Source("no OpenAPI description: it has no `openapi`".to_owned())),
    }
}

/// An operation, and what it is called.
struct Operation<'a> {
    name: String,
    method: &'static str,
    path: &'a str,
    item: &'a Loose,
    operation: &'a Loose,
}

pub(super) fn propose(heading: &Heading, server: &str, document: &Loose, only: &[String]) -> Proposal {
    let operations = operations(document);
    let twins = names::lookalikes(operations.iter().map(|operation| operation.name.as_str()));
    let own = operations.iter().filter_map(|operation| Surfaces::own(server, &operation.name));
    let mut room = Surfaces::new(server, own);
    let (mut surfaces, mut left_out) = (Vec::new(), Vec::new());
    for operation in &operations {
        let name = &operation.name;
        let found = match name {
            name if !names::is_plain(name) => Err(names::NO_NAME),
            name if twins.contains(&fold(name)) => Err(names::LOOKALIKE),
            name if !only.is_empty() && !only.contains(name) => Err("not asked for"),
            name => Surfaces::own(server, name)
                .or_else(|| room.like(name))
                .ok_or("there is no name left for its surface"),
        };
        match found {
            Ok(found) => surfaces.push(surface(heading, document, found, operation)),
            Err(why) => left_out.push(LeftOut { what: text::quoted(name), why }),
        }
    }
    surfaces.sort_by(|one, other| one.name.cmp(&other.name));
    Proposal { surfaces, left_out, origin: "an OpenAPI description", resources: Vec::new() }
}

fn operations(document: &Loose) -> Vec<Operation<'_>> {
    let Some(Loose::Object(paths)) = document.pointer("/paths") else { return Vec::new() };
    let mut operations = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            let Some(operation) = item.pointer(&format!("/{method}")) else { continue };
            let named = operation.pointer("/operationId").and_then(Loose::as_str);
            let name = named.map_or_else(|| format!("{method}{}", spelled(path)), ToOwned::to_owned);
            operations.push(Operation { name, method, path, item, operation });
        }
    }
    operations
}

/// A path as a word: `/users/{id}` is `_users_id`.
fn spelled(path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| format!("_{word}")).collect()
}

fn surface(heading: &Heading, document: &Loose, name: SurfaceName, operation: &Operation<'_>) -> Proposed {
    let mut notes =
        vec![format!("{} {}", operation.method.to_ascii_uppercase(), text::quoted(operation.path))];
    let said =
        operation.operation.pointer("/summary").or_else(|| operation.operation.pointer("/description"));
    let said = said.and_then(Loose::as_str).filter(|said| !said.trim().is_empty());
    notes.extend(said.map(|said| format!("The description says: {}", text::quoted(said))));
    let (arguments, mut left) = parameters(document, operation);
    let (body, left_of_body) = body(document, operation.operation);
    left.extend(left_of_body);
    let (body, clashing) = apart(body, &arguments);
    let (mut arguments, clashed) = apart(arguments, &clashing);
    let twice = "more than one input is called so, but for case";
    left.extend(clashed.iter().chain(&clashing).map(|argument| (text::quoted(&argument.key), twice)));
    arguments.extend(body);
    arguments.sort_by(|one, other| one.key.cmp(&other.key));
    notes.extend(left.iter().map(|(key, why)| format!("Not for policy to read: {key}: {why}.")));
    plain(heading, name, notes, arguments)
}

/// Those that are called otherwise than all others, and those that are not.
fn apart(arguments: Vec<Argument>, others: &[Argument]) -> (Vec<Argument>, Vec<Argument>) {
    let clashes = |argument: &Argument| others.iter().any(|other| fold(&other.key) == fold(&argument.key));
    arguments.into_iter().partition(|argument| !clashes(argument))
}

type Read = (Vec<Argument>, Vec<(String, &'static str)>);

/// The parameters of the path and the query, those of the operation before those of its path.
fn parameters(document: &Loose, operation: &Operation<'_>) -> Read {
    let listed =
        [operation.operation, operation.item].into_iter().filter_map(|place| place.pointer("/parameters"));
    let listed =
        listed.filter_map(|listed| if let Loose::Array(items) = listed { Some(items) } else { None });
    let (mut seen, mut properties, mut required) =
        (Vec::new(), std::collections::BTreeMap::new(), Vec::new());
    let mut left = Vec::new();
    for parameter in listed.flatten().filter_map(|parameter| resolve(document, parameter)) {
        let text_of = |key| parameter.pointer(key).and_then(Loose::as_str);
        let (Some(name), Some(place)) = (text_of("/name"), text_of("/in")) else { continue };
        if seen.contains(&(name, place)) {
            continue;
        }
        seen.push((name, place));
        if place != "path" && place != "query" {
            left.push((text::quoted(name), "a header or a cookie"));
            continue;
        }
        let schema = parameter.pointer("/schema").and_then(|schema| resolve(document, schema));
        if properties.insert(name.to_owned(), schema.cloned().map_or(Loose::Null, |schema| schema)).is_some()
        {
            // In the path and in the query: which one policy would read could not be told.
            properties.insert(name.to_owned(), Loose::Null);
        }
        if place == "path" || parameter.pointer("/required") == Some(&Loose::Bool(true)) {
            required.push(Loose::Str(name.to_owned()));
        }
    }
    let (arguments, others) = property::arguments(Some(&object(properties, required)), Source::Caller);
    left.extend(others);
    (arguments, left)
}

fn object(properties: std::collections::BTreeMap<String, Loose>, required: Vec<Loose>) -> Loose {
    let members = [
        ("properties".to_owned(), Loose::Object(properties)),
        ("required".to_owned(), Loose::Array(required)),
    ];
    Loose::Object(members.into())
}

/// The top-level properties of a body in JSON. Those of a body that may be left out are optional.
fn body(document: &Loose, operation: &Loose) -> Read {
    let body = operation.pointer("/requestBody").and_then(|body| resolve(document, body));
    let schema = body.and_then(|body| body.pointer("/content/application~1json/schema"));
    let Some(Loose::Object(members)) = schema.and_then(|schema| resolve(document, schema)) else {
        return (Vec::new(), Vec::new());
    };
    let mut members = members.clone();
    if body.and_then(|body| body.pointer("/required")) != Some(&Loose::Bool(true)) {
        members.remove("required");
    }
    if let Some(Loose::Object(properties)) = members.get_mut("properties") {
        for property in properties.values_mut() {
            let resolved = resolve(document, property).cloned();
            *property = resolved.map_or(Loose::Null, |resolved| resolved);
        }
    }
    property::arguments(Some(&Loose::Object(members)), Source::Caller)
}

/// What a node refers to within the document; itself, if it is no reference.
fn resolve<'a>(document: &'a Loose, node: &'a Loose) -> Option<&'a Loose> {
    let mut node = node;
    for _ in 0..MAX_REFERENCES {
        let Some(Loose::Str(reference)) = node.pointer("/$ref") else { return Some(node) };
        node = document.pointer(reference.strip_prefix('#')?)?;
    }
    None
}
