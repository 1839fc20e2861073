//! The operator's way out of a ledger that is behind its anchor: giving the lost head up, by name and on record.
//!
//! The log goes on in a new data directory, under a new name and key, with what is left of the old one. One rename, of
//! the configuration, puts it in the old one's place: before it the old log is refused as it was, after it the new one
//! is there whole. The old directory and anchor stay where they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_ledger::{
    AbandonError, Anchor, Clocks, DirectoryLock, KeyFile, LockError, Loss, SignError, Signer, Successor,
    SystemClocks, mark_given_up, replace_durably, survey,
};
use portcullis_policy::BundleError;
use portcullis_protocol::{Digest, LostProofs, OperatorId, OrderReason, Succession};
use portcullis_sdk::{HttpClient, Token};
use portcullis_verify::note::{signature_line, signed_text};
use portcullis_verify::{Hash, UnverifiedCheckpoint, UnverifiedNote, VerifiedCheckpoint, VerifierKey};

use crate::bundles::carry;
use crate::config::{ArbiterConfig, Config, ConfigError, WitnessesConfig};
use crate::host::{HostError, socket_path};
use crate::operator::{self, OperatorError};
use crate::operators::Operators;
use crate::setup::{SetupError, new_key, random_hex};
use crate::signing::keyring;

mod reconfigure;

use reconfigure::{Places, reconfigured};

/// Longest checkpoint that a witness's answer may be, in bytes.
const LONGEST_CHECKPOINT: usize = 64 * 1024;
/// Name of the file in the new data directory that holds what the old key signed about it.
const STATEMENT: &str = "continues";
/// What no record that is left can say, as the record says it.
const NOT_KNOWN: &str = "what the lost records permitted, and the keys, labels and room of limits that it took; their outcomes, \
    orders and erasures; bundles that they activated, but for the version that the operator names";

/// A head cannot be given up. The configuration is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AbandonLogError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be written, or a key not made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The configuration cannot be changed.
    #[error("`{path}` cannot be changed: {error}")]
    Edit {
        /// The configuration.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// The data directory's lock cannot be asked for.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An arbiter runs.
    #[error("an arbiter holds `{path}`; stop it, and the gates that host it, and try again")]
    Held {
        /// The data directory.
        path: PathBuf,
    },
    /// What is lost cannot be told, or nothing is, or the new log cannot be made.
    #[error(transparent)]
    Ledger(#[from] AbandonError),
    /// The token is none of an operator's.
    #[error("the token names no operator of this configuration")]
    Nobody,
    /// Another head was named.
    #[error("the head to be given up has {size} records and root {root}: name that one, or none")]
    OtherHead {
        /// Its size.
        size: u64,
        /// Its root.
        root: Hash,
    },
    /// What is left says that a newer bundle was in force.
    #[error("a bundle of version {seen} was in force, by what is left: name that version, or a higher one")]
    OlderBundle {
        /// The highest version of one.
        seen: u64,
    },
    /// It cannot be told which root of the bundles' keys is the newest, or it did not come about by the one that was in force.
    #[error("the root that the configuration names must go into the record: {0}")]
    Root(#[from] BundleError),
    /// The old log's signer does not sign.
    #[error("the log's signer must sign that it is given up, and does not: {0}")]
    Signer(#[from] SignError),
    /// The signer cannot be started.
    #[error("the signer's thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// A file of the old or the new log cannot be written.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The new log's arbiter could not be reached.
    #[error("the new data directory: {0}")]
    Socket(#[from] HostError),
    /// The gate of the new log cannot be shut.
    #[error(transparent)]
    Shut(#[from] OperatorError),
}

/// What is known before anything is given up.
#[derive(Debug)]
pub struct Outlook {
    /// What is lost, and what is left.
    pub loss: Loss,
    /// Witnesses of which nothing could be learned, with why: they may have seen more.
    pub silent: Vec<String>,
    _lock: DirectoryLock,
}

/// What an operator gives up.
#[derive(Clone, Debug)]
pub struct Abandonment {
    /// Size of the head, as the operator wrote it.
    pub size: u64,
    /// Its root, as the operator wrote it.
    pub root: Hash,
    /// Who, by the token.
    pub token: Token,
    /// Why.
    pub reason: OrderReason,
    /// The highest version of a bundle that was in force, by the operator's word: no lower one decides in the log that
    /// goes on.
    pub bundle_version: u64,
    /// What is known, by the operator's word, of the demands for proofs that only lost records knew.
    pub lost_proofs: LostProofs,
}

/// A log that goes on.
#[derive(Clone, Debug)]
pub struct Abandoned {
    /// Index of the record that says so: the new log's first of its own.
    pub record: u64,
    /// The new log's newest head.
    pub head: VerifiedCheckpoint,
    /// The new log's key.
    pub log_key: VerifierKey,
    /// Its data directory.
    pub data: PathBuf,
    /// Its anchor.
    pub anchor: PathBuf,
    /// A configuration by which what is left of the old log can be read and checked, if anything is.
    pub archive: Option<PathBuf>,
    /// Which bundles count as having been in force.
    pub seen: Succession,
    /// Whether the file of the bundle that was activated last was there to be carried over; `None` if there was no such
    /// bundle.
    pub carried: Option<bool>,
}

/// Looks at what is lost. Nobody can open the ledger as long as the outlook is held. `seen` are files with checkpoints
/// that others kept.
///
/// # Errors
/// [`AbandonLogError`].
pub async fn look(arbiter: &ArbiterConfig, seen: &[PathBuf]) -> Result<Outlook, AbandonLogError> {
    let lock = DirectoryLock::acquire(&arbiter.data)?;
    let lock = lock.ok_or_else(|| AbandonLogError::Held { path: arbiter.data.clone() })?;
    let mut outside = Vec::new();
    for path in seen {
        let failed = |error| AbandonLogError::File { path: path.clone(), error };
        let note = std::fs::read(path).map_err(failed)?;
        let head = UnverifiedCheckpoint::parse(&note).and_then(|head| head.verify_with(&arbiter.log_keys));
        outside.push(head.map_err(|error| failed(std::io::Error::other(error)))?);
    }
    let mut silent = Vec::new();
    if let Some(witnesses) = &arbiter.witnesses {
        ask(witnesses, arbiter, &mut outside, &mut silent).await;
    }
    let loss = survey(&arbiter.data, &arbiter.anchor, &arbiter.log_keys, &outside)?;
    Ok(Outlook { loss, silent, _lock: lock })
}

/// Asks each witness for the newest checkpoint that it cosigned.
async fn ask(
    witnesses: &WitnessesConfig,
    arbiter: &ArbiterConfig,
    heads: &mut Vec<VerifiedCheckpoint>,
    silent: &mut Vec<String>,
) {
    let origin = Digest::sha256(arbiter.log_key.name().as_str().as_bytes());
    for member in &witnesses.members {
        let path = format!("{}/{}/checkpoint", member.prefix, hex::encode(origin.as_bytes()));
        let client = HttpClient::new(member.endpoint.clone(), None);
        let answer = client.get(&path, LONGEST_CHECKPOINT, witnesses.patience).await;
        let shown = match answer {
            Ok((200, note)) => {
                let head = UnverifiedCheckpoint::parse(&note);
                head.and_then(|head| head.verify_with(&arbiter.log_keys)).map_err(|error| error.to_string())
            }
            Ok((404, _)) => Err("it shows no checkpoint of this log".to_owned()),
            Ok((status, _)) => Err(format!("it answered {status}")),
            Err(refusal) => Err(refusal.to_string()),
        };
        match shown {
            Ok(head) => heads.push(head),
            Err(error) => silent.push(format!("{}: {error}", member.name)),
        }
    }
}

/// Gives a head up, and lets the log go on with what is left, its gate shut.
///
/// # Errors
/// [`AbandonLogError`].
pub fn abandon(
    config: &Config,
    outlook: &Outlook,
    asked: &Abandonment,
) -> Result<Abandoned, AbandonLogError> {
    let arbiter = config.arbiter()?;
    let loss = &outlook.loss;
    if (asked.size, asked.root) != (loss.given_up.size(), loss.given_up.root()) {
        let (size, root) = (loss.given_up.size(), loss.given_up.root());
        return Err(AbandonLogError::OtherHead { size, root });
    }
    let seen = seen(&arbiter, loss, asked)?;
    let operators = Operators::new(&arbiter.operators);
    let by = operators.named(asked.token.reveal(), SystemClocks.wall()).ok_or(AbandonLogError::Nobody)?;
    let mut old = keyring(&arbiter).map_err(AbandonLogError::Thread)?;
    old.ready()?;
    let places = Places::of(config, &arbiter, &random_hex(4)?);
    socket_path(&places.data)?;
    let made = made(config, &arbiter, loss, &places, (by, asked, &seen), &mut old);
    let Made { head, log_key, statement, document, archive, carried } =
        made.inspect_err(|_| places.discard())?;
    mark_given_up(&arbiter.data, statement.as_bytes())
        .map_err(|error| AbandonLogError::File { path: arbiter.data.clone(), error })?;
    write(config.path(), document.as_bytes())?;
    let Places { data, anchor, .. } = places;
    Ok(Abandoned { record: loss.size, head, log_key, data, anchor, archive, seen, carried })
}

/// Which bundles count as having been in force: by what is left, which is a lower bound, by an operator's word, and by the
/// chain of roots that the configuration names.
fn seen(arbiter: &ArbiterConfig, loss: &Loss, asked: &Abandonment) -> Result<Succession, AbandonLogError> {
    let version = asked.bundle_version;
    if version < loss.succession.version {
        return Err(AbandonLogError::OlderBundle { seen: loss.succession.version });
    }
    let authority = arbiter.signers.authority()?;
    let left = loss.succession.clone();
    let known = match authority.roots() {
        Some(roots) => left.beside_roots(roots).map_err(BundleError::RolledBack)?,
        None => left,
    };
    Ok(known.raised_to(version, asked.lost_proofs))
}

/// All of a log that goes on. Nothing refers to it yet.
struct Made {
    head: VerifiedCheckpoint,
    log_key: VerifierKey,
    statement: String,
    document: String,
    archive: Option<PathBuf>,
    carried: Option<bool>,
}

fn made(
    config: &Config,
    arbiter: &ArbiterConfig,
    loss: &Loss,
    places: &Places,
    (by, asked, seen): (&OperatorId, &Abandonment, &Succession),
    old: &mut dyn Signer,
) -> Result<Made, AbandonLogError> {
    let archive = archive(config, loss, places)?;
    let log_key = new_key(&places.signing_key, &places.origin)?;
    let statement = signed(old, &statement(loss, by, &asked.reason, &log_key))?;
    let document = reconfigured(config, arbiter, places, &log_key)?;
    let successor = Successor {
        from: &arbiter.data,
        directory: &places.data,
        anchor: &places.anchor,
        vault_key: &arbiter.vault_key,
        seen,
        lost: asked.lost_proofs,
    };
    let mut signer = KeyFile::new(places.signing_key.clone(), log_key.clone());
    let detail = detail(loss, by, &asked.reason, &statement);
    let head = successor.make(loss, &mut signer, &SystemClocks, detail)?;
    let activated = seen.activated.as_ref();
    let carried = activated.map(|bundle| carry(&arbiter.data, &places.data, &bundle.digest)).transpose()?;
    write(&places.data.join(STATEMENT), statement.as_bytes())?;
    // What the lost records permitted is not known: nothing is permitted before a person says so.
    operator::shut(
        &places.data,
        &format!("a head of {} records was given up: {}", asked.size, asked.reason.as_str()),
    )?;
    Ok(Made { head, log_key, statement, document, archive, carried })
}

/// What the old log's key says, as the text of a signed note. It is no checkpoint: those have three lines.
fn statement(loss: &Loss, by: &OperatorId, reason: &OrderReason, log_key: &VerifierKey) -> String {
    let (given_up, log) = (&loss.given_up, loss.given_up.origin());
    format!(
        "Portcullis: a head of this log is given up\nlog {log}\ngiven up {} {}\nleft {} {}\ncontinued by {log_key}\n\
         by {}\nreason {}\n",
        given_up.size(),
        given_up.root(),
        loss.size,
        loss.root,
        by,
        reason.as_str()
    )
}

/// The note of a text that the log's own key signed, verified.
fn signed(signer: &mut dyn Signer, text: &str) -> Result<String, AbandonLogError> {
    let key = signer.verifier().clone();
    let signature = signer.sign(signed_text(text).map_err(|_| SignError::Failed)?)?;
    let note = format!("{text}\n{}", signature_line(&key, &signature));
    let verified = UnverifiedNote::parse(note.as_bytes()).and_then(|note| note.verify(&[key]));
    verified.map(|_| note).map_err(|_| SignError::Failed.into())
}

/// The particulars of the record.
fn detail(loss: &Loss, by: &OperatorId, reason: &OrderReason, statement: &str) -> BTreeMap<String, String> {
    let mut most = loss.most().to_string();
    if loss.open_ended {
        most.push_str(", and what was signed after it");
    }
    let said = [
        ("log", loss.given_up.origin().to_string()),
        ("given_up_size", loss.given_up.size().to_string()),
        ("given_up_root", loss.given_up.root().to_string()),
        ("left_size", loss.size.to_string()),
        ("left_root", loss.root.to_string()),
        ("lost_at_least", loss.least().to_string()),
        ("lost_at_most", most),
        ("permits_in_doubt", loss.open_permits.to_string()),
        ("agents_with_labels", loss.labelled.to_string()),
        ("counters_of_limits", loss.counters.to_string()),
        ("not_known", NOT_KNOWN.to_owned()),
        ("by", by.to_string()),
        ("reason", reason.as_str().to_owned()),
        ("statement", statement.to_owned()),
    ];
    said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A configuration beside the one in force under which what is left of the old log can be read and checked: the old
/// one, with an anchor that holds the newest signed head that is left.
fn archive(config: &Config, loss: &Loss, places: &Places) -> Result<Option<PathBuf>, AbandonLogError> {
    let Some(proved) = &loss.proved else { return Ok(None) };
    let failed = |error| AbandonLogError::File { path: places.left.clone(), error };
    let (mut anchor, _) = Anchor::open(&places.left).map_err(failed)?;
    // Without the lines of witnesses: two of ML-DSA-44 are longer than a slot.
    anchor.keep(proved.signed_only().note_bytes()).map_err(failed)?;
    let text = reconfigure::archived(config, places)?;
    write(&places.archive, text.as_bytes())?;
    Ok(Some(places.archive.clone()))
}

fn write(path: &Path, content: &[u8]) -> Result<(), AbandonLogError> {
    replace_durably(path, content).map_err(|error| AbandonLogError::File { path: path.to_owned(), error })
}
