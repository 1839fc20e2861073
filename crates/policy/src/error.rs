//! Why a bundle is not used: whose fault, where, and what to do.

use std::fmt;
use std::path::PathBuf;

use portcullis_protocol::{BundleDigest, BundleRef, ReasonCode, RolledBack};
use portcullis_verify::{NoteError, VerifierKeyError};

use crate::root::RootError;

/// Why there is no bundle to decide by. Each variant is one reason code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// [`ReasonCode::PolicyMissing`]
    #[error(transparent)]
    Missing(Missing),
    /// [`ReasonCode::PolicyRootInvalid`]
    #[error(transparent)]
    Root(Box<RootError>),
    /// [`ReasonCode::PolicyUnsigned`], [`ReasonCode::PolicySignatureEmpty`]
    #[error(transparent)]
    Unsigned(Unsigned),
    /// [`ReasonCode::PolicyUntrustedKey`]
    #[error(transparent)]
    UntrustedKey(UntrustedKey),
    /// [`ReasonCode::PolicyThreshold`]
    #[error(transparent)]
    TooFewSignatures(TooFewSignatures),
    /// [`ReasonCode::PolicySignatureInvalid`]
    #[error(transparent)]
    SignatureInvalid(SignatureInvalid),
    /// [`ReasonCode::PolicyRolledBack`]
    #[error(transparent)]
    RolledBack(RolledBack),
    /// [`ReasonCode::PolicyPinMismatch`]
    #[error(transparent)]
    PinMismatch(PinMismatch),
    /// [`ReasonCode::PolicyTooDeep`] of what is nested too deeply, else [`ReasonCode::PolicyCorrupt`]
    #[error(transparent)]
    Corrupt(Box<Defect>),
    /// [`ReasonCode::PolicyUnproved`]
    #[error(transparent)]
    Unproved(Unproved),
    /// [`ReasonCode::PolicyUntested`]
    #[error(transparent)]
    Untested(Untested),
}

impl BundleError {
    /// The reason code of every decision while this lasts.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Missing(_) => ReasonCode::PolicyMissing,
            Self::Root(_) => ReasonCode::PolicyRootInvalid,
            Self::Unsigned(Unsigned::Stripped) => ReasonCode::PolicyUnsigned,
            Self::Unsigned(Unsigned::Empty | Unsigned::TextOnly) => ReasonCode::PolicySignatureEmpty,
            Self::UntrustedKey(_) => ReasonCode::PolicyUntrustedKey,
            Self::TooFewSignatures(_) => ReasonCode::PolicyThreshold,
            Self::SignatureInvalid(_) => ReasonCode::PolicySignatureInvalid,
            Self::RolledBack(_) => ReasonCode::PolicyRolledBack,
            Self::PinMismatch(_) => ReasonCode::PolicyPinMismatch,
            Self::Corrupt(defect)
                if matches!(
                    defect.fault,
                    Fault::TooDeep
                        | Fault::HierarchyTooDeep
                        | Fault::HierarchyTooWide
                        | Fault::SchemaTooLarge { .. }
                        | Fault::PolicyTooWide { .. }
                        | Fault::PoliciesTooWide
                ) =>
            {
                ReasonCode::PolicyTooDeep
            }
            Self::Corrupt(_) => ReasonCode::PolicyCorrupt,
            Self::Unproved(_) => ReasonCode::PolicyUnproved,
            Self::Untested(_) => ReasonCode::PolicyUntested,
        }
    }

    /// What to do about it, for the person who keeps the bundle.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Corrupt(defect) => defect.fault.remedy(),
            Self::Missing(_)
            | Self::Root(_)
            | Self::Unsigned(_)
            | Self::UntrustedKey(_)
            | Self::TooFewSignatures(_)
            | Self::SignatureInvalid(_)
            | Self::RolledBack(_)
            | Self::PinMismatch(_)
            | Self::Unproved(_)
            | Self::Untested(_) => self.code().remedy(),
        }
    }

    pub(crate) fn corrupt(file: &str, fault: Fault) -> Self {
        Self::corrupt_at(file, None, fault)
    }

    pub(crate) fn corrupt_at(file: &str, line: Option<usize>, fault: Fault) -> Self {
        Self::Corrupt(Box::new(Defect { file: file.to_owned(), line, fault }))
    }
}

/// The bundle cannot be read where it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be read: {cause}", path.display())]
pub struct Missing {
    /// The directory, or a file in it.
    pub path: PathBuf,
    /// The operating system's words.
    pub cause: String,
}

/// There is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It was taken away, or never made: [`ReasonCode::PolicyUnsigned`].
    #[error("the bundle is not signed: `bundle.sig` is not there")]
    Stripped,
    /// Its file is there, with nothing in it: [`ReasonCode::PolicySignatureEmpty`].
    #[error("the bundle is not signed: `bundle.sig` is empty")]
    Empty,
    /// Its file is there, with a text that nobody signed: [`ReasonCode::PolicySignatureEmpty`].
    #[error("the bundle is not signed: `bundle.sig` has no signature in it")]
    TextOnly,
}

/// No signature is by a trusted key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no signature in `bundle.sig` is by a trusted key; trusted: {}", names(trusted))]
pub struct UntrustedKey {
    /// The names of the keys that are trusted.
    pub trusted: Vec<String>,
}

fn names(trusted: &[String]) -> String {
    if trusted.is_empty() { "none".to_owned() } else { trusted.join(", ") }
}

/// Some trusted keys signed, and not enough of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`bundle.sig` takes signatures of {needed} keys of the root, and has {}: {}", signers.len(), names(signers))]
pub struct TooFewSignatures {
    /// How many distinct keys must sign.
    pub needed: usize,
    /// The names of those that did.
    pub signers: Vec<String>,
}

/// A trusted key's signature does not cover this bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureInvalid {
    /// `bundle.sig` is no signed note, or the signature in it is wrong.
    #[error("`bundle.sig` does not verify: {0}")]
    Note(NoteError),
    /// What is signed is no statement about a bundle.
    #[error("`bundle.sig` does not sign a bundle: its text is not that of a `portcullis bundle v1`")]
    NoStatement,
    /// What is signed is another content.
    #[error("`bundle.sig` signs digest {signed}, and the files have {found}")]
    Digest {
        /// The digest in the statement.
        signed: BundleDigest,
        /// The digest of the files.
        found: BundleDigest,
    },
    /// What is signed has another name or version than the files.
    #[error("`bundle.sig` signs `{signed}`, and `bundle.toml` says `{found}`")]
    Naming {
        /// Name and version in the statement.
        signed: String,
        /// Name and version in `bundle.toml`.
        found: String,
    },
}

/// A signed bundle, but another than the pinned one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bundle's digest is {found}, and the pin is {pin}")]
pub struct PinMismatch {
    /// The digest that the configuration wants.
    pub pin: BundleDigest,
    /// The digest of the files.
    pub found: BundleDigest,
}

/// A bundle of which a proof is demanded, and the log names none by which it came into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} version {} is not proved, and {} demands a proof: it comes into force by an activation", bundle.name, bundle.version, by)]
pub struct Unproved {
    /// The bundle.
    pub bundle: BundleRef,
    /// Who demands it.
    pub by: &'static str,
}

/// A bundle that nothing tries, and that does not say so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} version {} has no test cases, and does not say `untested = true`", .0.name, .0.version)]
pub struct Untested(pub BundleRef);

/// Something in a bundle that this version does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Path within the bundle; empty for the bundle as a whole.
    pub file: String,
    /// Line in the file, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong there.
    pub fault: Fault,
}

impl fmt::Display for Defect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match (self.file.as_str(), self.line) {
            ("", _) => String::new(),
            (file, Some(line)) => format!("{file}:{line}: "),
            (file, None) => format!("{file}: "),
        };
        formatter.write_str(&plain(&format!("{place}{}", self.fault)))
    }
}

/// What a bundle says must not steer the terminal of who reads why it was refused.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() }).collect()
}

impl std::error::Error for Defect {}

macro_rules! faults {
    ($( $(#[doc = $doc:literal])* $name:ident $( { $( $field:ident : $type:ty ),* } )? = $message:literal, $remedy:literal; )*) => {
        /// What is wrong in a bundle.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[expect(missing_docs, reason = "a field holds what the variant's message names")]
        pub enum Fault { $( $(#[doc = $doc])* #[error($message)] $name $( { $( $field: $type ),* } )?, )* }

        impl Fault {
            /// What to do about it.
            #[must_use]
            pub const fn remedy(&self) -> &'static str {
                match self { $( Self::$name $( { $( $field: _ ),* } )? => $remedy, )* }
            }
        }
    };
}

faults! {
    /// A name with control characters, or none that is UTF-8.
    FileName = "the file's name is not plain text", "Rename or remove the file.";
    /// A file or directory that a bundle does not have.
    UnknownFile = "a bundle has no such file",
        "Keep only bundle.toml, schema.cedarschema, entities.json, policies/*.cedar, tests/*.toml, tests/*.json, invariants/*.cedar, tools/*.json, bundle.sig and README.md.";
    /// A symlink, pipe, socket or device, or a directory in a file's place.
    NotRegular = "not a regular file; symlinks are not followed", "Put a copy of the file in its place.";
    /// More than 256.
    TooManyFiles = "the bundle has more than 256 files", "Merge policy files.";
    /// More than 1 MiB.
    FileTooLarge = "the file is larger than 1 MiB", "Split the file.";
    /// More than 8 MiB in all.
    BundleTooLarge = "the bundle's files are larger than 8 MiB in all", "Split the bundle.";
    /// Its files changed between the first look and the last.
    Changed = "the bundle changed while it was read",
        "Write bundles to a new directory and rename it into place; reading is tried again by itself.";
    /// A file that every bundle has.
    FileMissing = "the file is missing", "Add the file.";
    /// Bytes that are not UTF-8.
    NotUtf8 = "not UTF-8", "Save the file as UTF-8.";
    /// Policies or types beyond the one bound on nesting.
    TooDeep = "nested more deeply than 32 levels",
        "Split it: several policies, or types with fewer levels. Each bracket is a level, and so is each operator in a row: of `a || b || c` make a set and ask with `contains` or `in`.";
    /// Entities, entity types or actions beyond the one bound on what lies in what.
    HierarchyTooDeep = "lies in one another more than 32 levels deep",
        "Make fewer levels: what is in a group is in the group's groups too, and can be put there directly.";
    /// Entities that lie in so much that what each lies in has no bounded room.
    HierarchyTooWide = "the entities lie in others in more than 2,000,000 ways",
        "Make fewer: each entity counts once for each way that leads upwards from it. Groups that have the same members can be one.";
    /// A schema that comes to more than there is bounded room for.
    SchemaTooLarge { what: &'static str, most: usize } = "the schema comes to more than {most} {what}",
        "Declare less in it: a declaration of several names counts once for each, and a type that has a name once for each place where the name stands. Several bundles may share what one cannot hold.";
    /// A policy that is long, and held against very many pairs of a principal and a resource.
    PolicyTooWide { policy: String } = "policy `{policy}` is too long for the pairs of a principal and a resource that it is held against: its bytes times these are more than 4,000,000",
        "Name its action in its scope, with `==`, or split it.";
    /// Policies that are that together.
    PoliciesTooWide = "the policies are too long for the pairs of a principal and a resource that they are held against: their bytes times these are more than 2,000,000,000",
        "Name actions in scopes, with `==`, or let actions apply to fewer types.";
    /// The manifest cannot be written as canonical JSON.
    NoDigest = "the bundle has no digest", "Rename the files.";
    /// Bytes that are no bundle's file.
    Archive = "not a bundle's file, or not a whole one; no archives of another form are read, such as zip or tar",
        "Make the file with `portcullis bundle build`.";
    /// `bundle.toml` does not parse, or has a key or value that is not understood.
    Manifest { message: String } = "{message}", "Correct bundle.toml; unknown keys are refused, never ignored.";
    /// `bundle.toml` contradicts itself.
    Validity = "`valid_until` is not later than `valid_from`", "Correct the two dates.";
    /// A surface's values contradict each other.
    Surface { surface: String, message: String } = "surface `{surface}`: {message}", "Correct the surface in bundle.toml.";
    /// A limit that cannot be kept, or names what is not there.
    Limit { limit: String, message: String } = "limit `{limit}`: {message}",
        "Correct the limit in bundle.toml; docs/limits.md says what one is made of.";
    /// A label that would be over at once, or stay for ever.
    LabelLifetime { label: String } = "label `{label}`: `lifetime` is not within 1m and 366d", "Correct the lifetime.";
    /// A grant that adds what `bundle.toml` does not declare.
    LabelUndeclared { policy: String, label: String } = "policy `{policy}` adds label `{label}`, which is not declared",
        "Declare it in bundle.toml, as in `[labels.NAME]` with `lifetime = \"8h\"`.";
    /// A condition on what `bundle.toml` does not declare.
    LabelUnknown { policy: String, label: String } = "policy `{policy}` asks for label `{label}`, which is not declared",
        "Correct its name, or declare it in bundle.toml, as in `[labels.NAME]` with `lifetime = \"8h\"`: a label that no agent can have is never there, without an error.";
    /// A condition on labels that could be any.
    LabelsUnread { policy: String } = "policy `{policy}` asks for labels that are not written out in it",
        "Ask with `context.labels.contains(\"a\")`, `containsAll([\"a\", \"b\"])` or `containsAny`, or `isEmpty()`, and take `context` itself for nothing else: labels are held against those that are declared.";
    /// A condition that passes over each action without labels.
    LabelsAsked { policy: String } = "policy `{policy}` asks whether `context has labels`",
        "Leave that out: the arbiter gives labels wherever the schema has `labels: Set<String>`, and on an action where it has not, nothing behind it is looked at. Declare them for each action of the policy's scope.";
    /// A condition that passes over an action whose policies do not see for whom the agent acts.
    PrincipalUnseen { policy: String, action: String } =
        "policy `{policy}` asks whether `context has acts_for`, which the schema does not have for action `{action}`",
        "Declare `acts_for?` for each action of the policy's scope, or name in its scope those that have it: elsewhere it is false for whomever the agent acts.";
    /// A condition that asks for what never comes.
    KeyAbsent { policy: String, key: String } =
        "policy `{policy}` asks whether `context has {key}`, which no action of its scope has",
        "Correct the key or the scope: on every action the answer would be no, and what is asked behind it never looked at.";
    /// More labels than a record has room for.
    TooManyLabels = "the bundle has more than 64 labels", "Merge labels.";
    /// A surface that lets its callers say which labels they have.
    LabelsFromCaller { surface: String } = "surface `{surface}` declares context `labels`, which the arbiter gives",
        "Remove it from the surface; in the schema it is `labels: Set<String>`.";
    /// A surface that lets its callers say for whom they act, beside the request's own word.
    PrincipalFromCaller { surface: String } = "surface `{surface}` declares context `acts_for`, which the arbiter gives",
        "Remove it from the surface; in the schema it is `acts_for?: User`, or `acts_for: User` where nobody may act for itself.";
    /// People of no type that can be theirs.
    Principals { message: String } = "`principals.type`: {message}",
        "Name the entity type of the people for whom agents act, as in `[principals]` with `type = \"User\"`.";
    /// A person for whom agents act and an agent.
    PersonAgent { person: String, agent: String } = "person `{person}` looks like agent `{agent}`",
        "Rename one of them: for whom an agent acts must not be in doubt.";
    /// A person for whom agents act and another one in the roster.
    LookAlike { person: String, other: String } = "person `{person}` looks like person `{other}` of the roster",
        "Give one person one name in both, and two people two names that do not look alike.";
    /// More limits than are kept.
    TooManyLimits = "the bundle has more than 64 limits", "Merge limits.";
    /// A source of facts that cannot be one.
    Facts { name: String, message: String } = "source of facts `{name}`: {message}",
        "Correct `[facts.NAME]` in bundle.toml; docs/facts.md says what one is made of.";
    /// More sources than a record has room for.
    TooManySources = "the bundle has more than 16 sources of facts", "Merge sources.";
    /// An entity in the bundle that is to come from a source.
    EntitySourced { entity: String } = "`{entity}` is of a type that comes from a source of facts",
        "Leave it to the source, or take its type out of `[facts.NAME]`: an entity has one origin.";
    /// An exception that goes too far, or excepts nothing.
    Exception { surface: String, message: String } = "exception for surface `{surface}`: {message}",
        "Correct the exception in bundle.toml; docs/governance.md says what one can cover.";
    /// More exceptions than anybody looks after.
    TooManyExceptions = "the bundle has more than 64 exceptions", "Remove exceptions.";
    /// An action that two surfaces claim.
    SharedAction { action: String, first: String, second: String } =
        "action `{action}` belongs to both `{first}` and `{second}`", "Give each action to one surface.";
    /// A tool that two surfaces list.
    SharedTool { tool: String, first: String, second: String } =
        "tool `{tool}` belongs to both `{first}` and `{second}`", "List each tool on one surface.";
    /// A tool that one surface lists and another is called after.
    AmbiguousTool { tool: String, surface: String, namesake: String } =
        "tool `{tool}` is listed on `{surface}`, and surface `{namesake}` is called after it",
        "Rename or remove the one, or list the tool on it: a reader of the bundle must not guess which one applies.";
    /// A file of pins that is none.
    Pins { message: String } = "{message}", "Write the file anew with `portcullis mcp pin`; docs/tool-pinning.md says what it holds.";
    /// An input of policy that no call of a tool can give, as the tool is pinned.
    Mapping { surface: String, key: String, message: String } = "surface `{surface}`, context `{key}`: {message}",
        "Correct the context's `from` or `type` in bundle.toml; `portcullis mcp inspect` shows what the tool takes. If it takes something else by now, review it and pin it again.";
    /// The schema does not parse or contradicts itself.
    Schema { message: String } = "{message}", "Correct the schema.";
    /// A schema that leaves declarations to others.
    SchemaIncomplete = "the schema has `external` declarations", "Declare every type and action in full.";
    /// A surface's action that the schema does not have.
    ActionUndeclared { action: String, surface: String } =
        "no action `{action}`, which surface `{surface}` names", "Declare the action in schema.cedarschema.";
    /// A schema's action that no surface has.
    ActionUnowned { action: String } =
        "action `{action}` belongs to no surface", "Name it in a surface's `actions`, or remove it.";
    /// An action to which agents or the surface's resource do not apply.
    ActionScope { action: String, what: &'static str, kind: String } =
        "action `{action}` does not apply to {what} `{kind}`", "Add the type to the action's `appliesTo`.";
    /// The schema's context differs from the surface's.
    Context { action: String, key: String, schema: String, surface: String } =
        "action `{action}`, context `{key}`: the schema has {schema}, and its surface has {surface}",
        "Declare the same keys with the same types in both: a guard on a key that never comes does not guard.";
    /// The entities do not parse, or do not fit the schema.
    Entities { message: String } = "{message}", "Correct entities.json.";
    /// An entity that occurs twice.
    EntityTwice { entity: String } = "entity `{entity}` occurs twice", "Merge the two.";
    /// An entity that is named but not there.
    EntityAbsent { entity: String, by: String } = "{by} names `{entity}`, which the entities do not hold",
        "Add it to entities.json: membership in what is not there is false without an error.";
    /// A policy file does not parse.
    Policy { message: String } = "{message}", "Correct the policy.";
    /// A policy with slots.
    Template = "templates are not supported", "Write one policy for each case.";
    /// A policy without `@id`.
    PolicyUnnamed = "a policy has no `@id`", "Put `@id(\"a-name\")` in front of it.";
    /// A policy whose `@id` cannot be one.
    PolicyName { message: String } = "{message}", "Give the policy another `@id`.";
    /// An `@id` that occurs twice.
    PolicyTwice { id: String, first: String } = "policy `{id}` is also in `{first}`", "Give one of them another `@id`.";
    /// An annotation that means nothing here.
    Annotation { policy: String, annotation: String } = "policy `{policy}` has an unknown annotation `@{annotation}`",
        "Remove it, or correct its name; docs/obligations.md lists what is understood.";
    /// An annotation whose value means nothing, or that means nothing where it stands.
    AnnotationValue { policy: String, annotation: String, message: String } =
        "policy `{policy}`, `@{annotation}`: {message}", "Correct the annotation; docs/obligations.md says what it takes.";
    /// An annotation that means nothing on an invariant.
    InvariantAnnotation { policy: String, annotation: String } =
        "invariant `{policy}` has an unknown annotation `@{annotation}`",
        "Remove it; an invariant has `@id` and `@sentence`, and may have `@unless`.";
    /// An `@unless` that names nothing that a grant can ask for.
    InvariantUnless { policy: String } = "invariant `{policy}` has an `@unless` that means nothing",
        "A `forbid` may have `@unless(\"approval_roles\")`, `\"identity_within\"` or `\"witnessed\"`; a `permit` has none.";
    /// An invariant without `@sentence`.
    InvariantUnsaid { policy: String } = "invariant `{policy}` has no `@sentence` of 1 to 500 bytes on one line",
        "Say with `@sentence(\"…\")` what must hold, for whoever reads the proof.";
    /// An approval that nobody could give.
    Unanswerable { policy: String, message: String } = "policy `{policy}`: {message}",
        "Correct the grant's `@approval_…` annotations, or add people to `[roster]`; docs/governance.md says how.";
    /// A person who is called like an agent.
    Namesake { person: String, agent: String } = "person `{person}` of the roster looks like agent `{agent}`",
        "Rename one of them: who asks and who approves must not be taken for each other.";
    /// `untested = true` beside cases.
    Tested = "`untested = true` stands beside cases", "Remove it: it says that nothing tries the bundle.";
    /// A case that cannot be one.
    Case { message: String } = "{message}", "Correct the case; docs/bundle-tests.md says what one is made of.";
    /// A policy that Cedar's strict validation refuses.
    Validation { message: String } = "{message}", "Correct the policy or the schema.";
}

/// Why a bundle cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// It has no statement.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The key or its name cannot sign notes.
    #[error("the key cannot sign: {0}")]
    Key(#[from] VerifierKeyError),
}
