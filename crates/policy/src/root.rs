//! Roots: which keys sign bundles, how many of them it takes, and until when. A root is changed by the next one, which
//! enough keys of both have signed (after The Update Framework, section 5.3 of its specification).
//!
//! A chain of roots is one file: signed notes (c2sp.org/signed-note), one behind the other, oldest first. The text of
//! each is
//!
//! ```text
//! portcullis bundle root v1
//! <name>
//! <version>
//! <valid until, as 2027-01-31T12:00:00Z>
//! <threshold>
//! <verifier key>, one a line, sorted, no public key twice
//! ```

use std::collections::BTreeSet;

use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::{Digest, Domain, Lineage, Millis};
use portcullis_verify::note::signature_line;
use portcullis_verify::{NoteError, UnverifiedNote, VerifierKey};

use crate::authority::{Authority, Disagreed, agree};
use crate::error::SignError;
use crate::manifest::{MAX_VERSION, is_bundle_name};
use crate::units::Instant;

const HEADER: &str = "portcullis bundle root v1\n";
/// The largest chain that is read, in bytes.
pub const MAX_CHAIN_BYTES: usize = 1024 * 1024;
/// The most roots in a chain, and the most keys in a root.
const MAX_ROOTS: usize = 256;
const MAX_KEYS: usize = 32;

/// Why a chain of roots is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The file cannot be read.
    #[error("the chain of roots `{path}` cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// The operating system's words.
        cause: String,
    },
    /// Not a chain of roots at all.
    #[error("not a chain of roots: {0}")]
    Form(&'static str),
    /// A root's text is not of its form.
    #[error("root {place} of the chain is not one: {what}")]
    Text {
        /// Its place in the chain, from 1.
        place: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The chain begins with another root than the pinned one.
    #[error("the chain's first root is {found}, and the pin is {pin}")]
    Pin {
        /// The digest that the configuration wants.
        pin: Digest,
        /// The digest of the first root.
        found: Digest,
    },
    /// A root is not the next one of the one before it.
    #[error("root {version} does not follow the one before it: {what}")]
    Order {
        /// Its version.
        version: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A root's signatures do not verify.
    #[error("root {version} does not verify with the keys of root {by}: {error}")]
    Note {
        /// Its version.
        version: u64,
        /// Whose keys were to sign it.
        by: u64,
        /// What is wrong.
        error: NoteError,
    },
    /// Too few keys signed a root.
    #[error("root {version} is signed by {found} keys of root {by}, and takes {needed}")]
    Threshold {
        /// Its version.
        version: u64,
        /// Whose keys were to sign it.
        by: u64,
        /// How many must have.
        needed: usize,
        /// How many have.
        found: usize,
    },
}

/// What a root says. Its text is the only one of its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    name: String,
    version: u64,
    valid_until: String,
    until: Millis,
    threshold: usize,
    keys: Vec<VerifierKey>,
}

impl Root {
    /// A root. `valid_until` is written as in `2027-01-31T12:00:00Z`.
    ///
    /// # Errors
    /// What cannot stand in a root: a name or an instant that is none, no keys or too many, the same key twice, a
    /// threshold of none or of more keys than there are.
    pub fn new(
        name: &str,
        version: u64,
        valid_until: &str,
        threshold: usize,
        mut keys: Vec<VerifierKey>,
    ) -> Result<Self, &'static str> {
        if !is_bundle_name(name) {
            return Err("its name is not one of 1 to 64 of a-z, 0-9, `.`, `_` and `-`");
        }
        if version == 0 || version > MAX_VERSION {
            return Err("its version is not an integer from 1");
        }
        let instant =
            Instant::parse(valid_until).filter(|_| valid_until.len() == "2027-01-31T12:00:00Z".len());
        let Some(Instant(until)) = instant else {
            return Err("its end is not an instant as in 2027-01-31T12:00:00Z");
        };
        keys.sort_by_key(ToString::to_string);
        let distinct: BTreeSet<_> = keys.iter().map(VerifierKey::public_key).collect();
        if distinct.len() != keys.len() {
            return Err("it names a key twice, which would count for two");
        }
        if keys.len() > MAX_KEYS {
            return Err("it names more than 32 keys");
        }
        if threshold == 0 || threshold > keys.len() {
            return Err("its threshold is none, or more than it has keys");
        }
        Ok(Self {
            name: name.to_owned(),
            version,
            valid_until: valid_until.to_owned(),
            until,
            threshold,
            keys,
        })
    }

    /// The name that all roots of a chain have.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version: one more than that of the root before it.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// From when on its word does not count any more, as it is written.
    #[must_use]
    pub fn valid_until(&self) -> &str {
        &self.valid_until
    }

    /// How many of the keys must sign.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// What signers sign.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (name, version, until, threshold) = (&self.name, self.version, &self.valid_until, self.threshold);
        let keys: String = self.keys.iter().map(|key| format!("{key}\n")).collect();
        format!("{HEADER}{name}\n{version}\n{until}\n{threshold}\n{keys}")
    }

    /// SHA-256, in [`Domain::BundleRoot`], of [`Self::to_text`]: what the first root of a chain is pinned by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(Domain::BundleRoot, &[self.to_text().as_bytes()])
    }

    /// Reads exactly what [`Self::to_text`] writes.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let malformed = "its text is not that of a `portcullis bundle root v1`";
        let body = text.strip_prefix(HEADER).and_then(|body| body.strip_suffix('\n')).ok_or(malformed)?;
        let mut lines = body.split('\n');
        let mut line = || lines.next().ok_or(malformed);
        let (name, version, until, threshold) = (line()?, line()?, line()?, line()?);
        let version = version.parse().map_err(|_| malformed)?;
        let threshold = threshold.parse().map_err(|_| malformed)?;
        let keys =
            lines.map(str::parse).collect::<Result<_, _>>().map_err(|_| "it has a line that is no key")?;
        let root = Self::new(name, version, until, threshold, keys)?;
        if root.to_text() == text { Ok(root) } else { Err(malformed) }
    }

    /// What the newest root of a chain says.
    fn authority(&self, roots: Lineage) -> Authority {
        Authority::of_root(self.keys.clone(), self.threshold, roots, self.until)
    }
}

/// One root of a chain with the signatures on it, of which nothing is verified.
#[derive(Clone, Debug)]
struct Link {
    root: Root,
    signatures: String,
}

impl Link {
    fn parse(note: &str, place: usize) -> Result<Self, RootError> {
        let text = |what| RootError::Text { place, what };
        let (head, signatures) = note.split_once("\n\n").ok_or_else(|| text("it has no blank line"))?;
        let root = Root::parse(&format!("{head}\n")).map_err(text)?;
        Ok(Self { root, signatures: signatures.to_owned() })
    }

    fn to_text(&self) -> String {
        format!("{}\n{}", self.root.to_text(), self.signatures)
    }

    /// Whether enough keys of a root signed this one.
    fn is_signed_by(&self, by: &Root) -> Result<(), RootError> {
        let (version, of) = (self.root.version, by.version);
        let wrong = |error| RootError::Note { version, by: of, error };
        let note = UnverifiedNote::parse(self.to_text().as_bytes()).map_err(wrong)?;
        match agree(&by.keys, by.threshold, note) {
            Ok(_) => Ok(()),
            Err(Disagreed::Note(error)) => Err(wrong(error)),
            Err(Disagreed::TooFew { needed, signers }) => {
                Err(RootError::Threshold { version, by: of, needed, found: signers.len() })
            }
        }
    }
}

/// A chain of roots as it was read: its form is right, and nobody has vouched for any of it yet.
#[derive(Clone, Debug)]
pub struct RootChain {
    first: Link,
    later: Vec<Link>,
}

impl RootChain {
    /// A chain of one root, unsigned.
    #[must_use]
    pub const fn new(root: Root) -> Self {
        Self { first: Link { root, signatures: String::new() }, later: Vec::new() }
    }

    /// Reads a chain's form.
    ///
    /// # Errors
    /// [`RootError`]: `Form` or `Text`.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        if bytes.len() > MAX_CHAIN_BYTES {
            return Err(RootError::Form("it has more than 1 MiB"));
        }
        let text = str::from_utf8(bytes).map_err(|_| RootError::Form("it is not UTF-8"))?;
        let rest = text.strip_prefix(HEADER).ok_or(RootError::Form("it does not begin with a root"))?;
        // A header is a whole line, and no other line of a note is one.
        let bodies: Vec<_> = rest.split(&format!("\n{HEADER}")).collect();
        if bodies.len() > MAX_ROOTS {
            return Err(RootError::Form("it has more than 256 roots"));
        }
        let ends = std::iter::repeat_n("\n", bodies.len().saturating_sub(1)).chain([""]);
        let notes = bodies.iter().zip(ends).map(|(body, end)| format!("{HEADER}{body}{end}"));
        let mut links = (1..).zip(notes).map(|(place, note)| Link::parse(&note, place));
        let first = links.next().ok_or(RootError::Form("it is empty"))??;
        let later = links.collect::<Result<_, _>>()?;
        let chain = Self { first, later };
        // Nothing between, before or behind the notes.
        if chain.to_text() == text { Ok(chain) } else { Err(RootError::Form("it holds more than roots")) }
    }

    /// The chain's bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.links().map(Link::to_text).collect()
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.first).chain(&self.later)
    }

    fn newest(&self) -> &Link {
        self.later.last().map_or(&self.first, |link| link)
    }

    /// The roots, oldest first, unverified.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.links().map(|link| &link.root)
    }

    /// Adds a root, unsigned.
    ///
    /// # Errors
    /// [`RootError::Order`] if it cannot follow the newest.
    pub fn add(&mut self, root: Root) -> Result<(), RootError> {
        follows(&root, &self.newest().root)?;
        self.later.push(Link { root, signatures: String::new() });
        Ok(())
    }

    /// Adds a signature to the newest root. Signing twice changes nothing.
    ///
    /// # Errors
    /// [`SignError`] if `key_name` is no key name.
    pub fn sign(&mut self, key: &SigningKey, key_name: &str) -> Result<(), SignError> {
        let verifier = VerifierKey::ed25519(key_name, key.verifying_key().to_bytes())?;
        let link = self.later.last_mut().map_or(&mut self.first, |link| link);
        let line = signature_line(&verifier, &key.sign(link.root.to_text().as_bytes()).to_bytes());
        if !link.signatures.split_inclusive('\n').any(|known| known == line) {
            link.signatures.push_str(&line);
        }
        Ok(())
    }

    /// The authority of the chain's newest root: the first root is the pinned one and enough of its own keys signed
    /// it, and enough keys of each root, and of the one before it, signed each later one. Whether the newest has
    /// expired is asked for every decision ([`crate::Bundle::validity_at`]); that an older one has does not matter.
    ///
    /// # Errors
    /// [`RootError`], by the first root that is not so. There is no authority of the roots before it.
    pub fn verify(&self, pin: Digest) -> Result<Authority, RootError> {
        let all = self.verify_all(pin)?;
        all.into_iter().last().ok_or(RootError::Form("it is empty"))
    }

    /// The authorities of all its roots, oldest first: for what was signed in the time of an older one.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_all(&self, pin: Digest) -> Result<Vec<Authority>, RootError> {
        let found = self.first.root.digest();
        if found != pin {
            return Err(RootError::Pin { pin, found });
        }
        self.first.is_signed_by(&self.first.root)?;
        let mut roots = Lineage::of_first(self.first.root.version, found);
        let mut authorities = vec![self.first.root.authority(roots.clone())];
        for (before, link) in self.links().zip(&self.later) {
            follows(&link.root, &before.root)?;
            link.is_signed_by(&before.root)?;
            link.is_signed_by(&link.root)?;
            roots = roots.followed_by(link.root.digest());
            authorities.push(link.root.authority(roots.clone()));
        }
        Ok(authorities)
    }
}

fn follows(root: &Root, before: &Root) -> Result<(), RootError> {
    let wrong = |what| Err(RootError::Order { version: root.version, what });
    if before.version.checked_add(1) != Some(root.version) {
        return wrong("its version is not the next one");
    }
    if root.name != before.name {
        return wrong("it has another name");
    }
    Ok(())
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
