//! Arguments of `portcullis receipts`, `evidence` and `verify`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_protocol::{AgentId, SurfaceName};

use super::ConfigArg;

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Receipts (C2SP tlog-proof files) and evidence packs.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The log's verifier key, or a file that holds it. May be given more than once.
    ///
    /// A key that was retired is given as "VKEY until SIZE": it counts for heads of at most SIZE records. One that was
    /// revoked is given as "VKEY revoked", so that the error names it.
    #[arg(long, required = true, value_name = "VKEY|FILE")]
    pub(crate) key: Vec<String>,
    /// Demand that this key cosigned the checkpoint too: a cosigner's verifier key, or a file that holds it. May be given
    /// more than once; each is demanded.
    ///
    /// The log's own second key, of ML-DSA-44, so that what is proved stands where Ed25519 is forged; or a witness's.
    #[arg(long, value_name = "VKEY|FILE")]
    pub(crate) require_cosigner: Vec<String>,
    /// Demand of each bundle in a pack that one of these keys signed it: a verifier key, or a file that holds it. May be given more
    /// than once; any one suffices.
    ///
    /// The digest by which records name a bundle does not cover its signatures: without this and --root they are not looked at,
    /// the answer says so, and the exit code is 2.
    #[arg(long, value_name = "VKEY|FILE")]
    pub(crate) bundle_key: Vec<String>,
    /// Demand of each bundle in a pack that a root of this chain, or one before it, vouches for it.
    #[arg(long, value_name = "FILE", requires = "root_pin", conflicts_with = "bundle_key")]
    pub(crate) root: Option<PathBuf>,
    /// The digest of the chain's first root.
    #[arg(long, value_name = "DIGEST", requires = "root")]
    pub(crate) root_pin: Option<String>,
    /// Print JSON, one object a file.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReceiptsArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(subcommand)]
    pub(crate) command: ReceiptsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptsCommand {
    /// List decisions, newest last.
    List {
        /// Only the newest.
        #[arg(long, default_value_t = 20, value_name = "COUNT")]
        last: usize,
        /// Print JSON, one record a line.
        #[arg(long)]
        json: bool,
    },
    /// Print the receipt of one decision.
    Show {
        /// Its index in the log, or the beginning of its attempt.
        id: String,
        #[command(flatten)]
        form: FormArgs,
    },
    /// Write the receipts of all decisions into a directory, one `.tlog-proof` file each. Says how many of them are under a cosigned
    /// checkpoint, and why the others are not.
    Export {
        /// The directory; made if it does not exist.
        directory: PathBuf,
        #[command(flatten)]
        form: FormArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// In which form receipts are given.
#[derive(Args, Debug)]
pub(crate) struct FormArgs {
    /// The form of the receipts.
    #[arg(long, value_enum, default_value_t = ReceiptFormat::TlogProof)]
    pub(crate) format: ReceiptFormat,
    /// Prove it under the newest head, and not under the newest cosigned checkpoint that covers it.
    #[arg(long)]
    pub(crate) at_head: bool,
    /// Give no receipt but under a cosigned checkpoint. A record that none covers is left out, and the exit code is 1.
    #[arg(long, conflicts_with = "at_head")]
    pub(crate) cosigned: bool,
    /// The file with the key that signs attestations; it must sign nothing else.
    #[arg(long, value_name = "FILE", required_if_eq("format", "dsse"))]
    pub(crate) key: Option<PathBuf>,
}

/// A form of receipts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReceiptFormat {
    /// A C2SP tlog-proof, which the log's verifier key verifies.
    TlogProof,
    /// An in-toto statement about it in a DSSE envelope, signed with --key.
    Dsse,
}

#[derive(Args, Debug)]
pub(crate) struct EvidenceArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    #[command(subcommand)]
    pub(crate) command: EvidenceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Make an evidence pack: receipts, proofs, keys, bundles and a text that says what they prove.
    ///
    /// `portcullis verify` checks all of it. Without --agent and --surface every record of the time is in it in full;
    /// otherwise the others are in it by hash only, counted. Exits 0 if it was made; 2 if it was, and nobody whose keys are known
    /// vouches for a bundle in it; 1 if it was not: also of a bundle whose signatures are not those that it was archived with.
    Pack {
        /// From this time on: `2026-11-20`, `2026-11-20T14:00:00Z`, or milliseconds since 1970. Default: the log's beginning.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before this time. Default: the log's end.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Only decisions about this surface, and their outcomes.
        #[arg(long)]
        surface: Option<SurfaceName>,
        /// Only decisions for this agent, and their outcomes.
        #[arg(long)]
        agent: Option<AgentId>,
        /// Under the newest cosigned checkpoint, instead of the newest head.
        #[arg(long)]
        cosigned: bool,
        /// A key whose signature on a bundle counts, beside those of the configuration: one of an earlier time. May be given more
        /// than once.
        #[arg(long, value_name = "VKEY|FILE")]
        bundle_key: Vec<String>,
        /// The file to write, which must not exist.
        #[arg(long, default_value = "evidence.tar", value_name = "FILE")]
        out: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
