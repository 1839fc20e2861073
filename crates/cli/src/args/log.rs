//! Arguments of `portcullis log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_verify::Hash;

use super::{ConfigArg, OperatorArg};

#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(subcommand)]
    pub(crate) command: LogCommand,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// An older checkpoint of this log, which it must contain.
    #[arg(long, value_name = "FILE")]
    pub(crate) since: Option<PathBuf>,
    /// Begin with the first record, whatever an earlier check had done.
    #[arg(long)]
    pub(crate) restart: bool,
    /// Open the kept requests and results too, with the vault's master key. Without it they are only compared with their
    /// records.
    #[arg(long)]
    pub(crate) with_key: bool,
    /// A key whose signature on a bundle counts, beside those of the configuration: one of an earlier time. May be given more than
    /// once.
    #[arg(long, value_name = "VKEY|FILE")]
    pub(crate) bundle_key: Vec<String>,
    /// Show how far it is even where standard error is no terminal.
    #[arg(long)]
    pub(crate) progress: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// A key whose signature on a bundle counts, beside those of the configuration. May be given more than once.
    #[arg(long, value_name = "VKEY|FILE")]
    pub(crate) bundle_key: Vec<String>,
    /// Do without the vault's master key: requests stay closed, and only order and state are compared.
    #[arg(long)]
    pub(crate) without_key: bool,
    /// Print what came of each decision.
    #[arg(long)]
    pub(crate) each: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AbandonArgs {
    /// Records of the head that is given up.
    #[arg(long, value_name = "RECORDS", requires = "root")]
    pub(crate) size: Option<u64>,
    /// Root of the head that is given up.
    #[arg(long, value_name = "HASH", requires = "size", requires = "reason", requires = "bundle_version")]
    pub(crate) root: Option<Hash>,
    /// The highest version of a bundle that was in force, as far as is known: no lower one decides in the log that goes on.
    #[arg(long, value_name = "VERSION", requires = "size")]
    pub(crate) bundle_version: Option<u64>,
    /// As far as is known, no bundle that only lost records had activated demanded a proof of the one after it. Without this, the
    /// next bundle must be proved if any was.
    #[arg(long, requires = "size")]
    pub(crate) no_lost_proofs: bool,
    /// Why, for the record, where it stays in clear.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// A file with a signed checkpoint of this log that somebody kept. May be given more than once.
    #[arg(long, value_name = "FILE")]
    pub(crate) seen: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) operator: OperatorArg,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Check all of the ledger here against its anchored head: records, tiles, state and archives. Exits 0 if all of it is
    /// sound, 1 if something is wrong or it was stopped, 2 if nothing is and it went on from an earlier check, or nobody whose
    /// keys are known vouches for a bundle by which records were decided.
    ///
    /// Works beside a running arbiter, on all processors. After Ctrl-C the next check goes on where this one stopped: what
    /// the earlier one had read is not read again, and may have been changed since.
    Check(CheckArgs),
    /// Write the log as static files (C2SP tlog-tiles): a signed checkpoint, tiles and records.
    ///
    /// An earlier export of the same log is extended. The checkpoint is written last.
    Export {
        /// The directory; made if it does not exist.
        directory: PathBuf,
        /// Export the log under its newest cosigned checkpoint, instead of its newest head.
        #[arg(long)]
        cosigned: bool,
        /// Leave out tiles and bundles that lie wholly below this record: a pruned log.
        #[arg(long, default_value_t = 0, value_name = "INDEX")]
        from: u64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Cosign the newest head with the log's second key, of `[cosigning]`, now. Works beside a running arbiter.
    ///
    /// An arbiter cosigns by itself where `cosigning.key_file` is named; this is for a key that is kept elsewhere, and
    /// for an export that is to have everything under a cosigned checkpoint.
    Cosign {
        /// The key's file, mode 0600. Default: `cosigning.key_file`.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Decide every recorded decision again, and build the state again from the log alone.
    ///
    /// Says for each decision whether it comes out `identical`, byte for byte, `different`, or is not replayable
    /// (erased, not kept, key withheld, other engine version), and compares the state's tables with what the
    /// records lead to. Exits 0 if nothing is different, 1 otherwise; 2 if nothing is, and nobody whose keys are known vouches
    /// for a bundle by which records were decided. Needs the ledger, its anchor and the vault's
    /// master key of the configuration; a copy of them on another machine does.
    Replay(ReplayArgs),
    /// Give up a head that the ledger is behind, and let the log go on with what is left, under a new name and key.
    ///
    /// The way out of `evidence.behind_anchor` when what is lost cannot be had back. Without --size and --root it
    /// changes nothing: it says which head would be given up, what of the log is left, and what nobody knows any more.
    /// No arbiter may run. The log's signing key must be there: it signs that the head is given up. The new log begins
    /// with its gate shut; `portcullis open` opens it. See docs/operating.md before.
    Abandon(AbandonArgs),
    /// Verify an exported log offline, with nothing but its public key. Exits 0 if all of it verifies.
    Verify {
        /// The directory.
        directory: PathBuf,
        /// The log's verifier key, or a file that holds it. May be given more than once.
        ///
        /// A key that was retired is given as "VKEY until SIZE", one that was revoked as "VKEY revoked".
        #[arg(long, required = true, value_name = "VKEY|FILE")]
        key: Vec<String>,
        /// Demand that this key cosigned the checkpoint too: a cosigner's verifier key, or a file that holds it. May be
        /// given more than once; each is demanded.
        #[arg(long, value_name = "VKEY|FILE")]
        require_cosigner: Vec<String>,
        /// Accept that tiles and bundles which lie wholly below this record are missing: the log was pruned.
        #[arg(long, default_value_t = 0, value_name = "INDEX")]
        pruned_below: u64,
        /// An earlier checkpoint that the log must contain. May be given more than once.
        #[arg(long, value_name = "FILE")]
        since: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
