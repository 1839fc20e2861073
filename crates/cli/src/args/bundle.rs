//! Arguments of `portcullis bundle`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::prove::{DiffArgs, ProveArgs};
use super::{ConfigArg, OperatorArg};

#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
    /// PEM file of the authorities that are believed where a bundle is fetched. Default: `policy.ca`.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) source_ca: Option<PathBuf>,
    /// The file with the credential that its host is shown: a bearer token, or USER:PASSWORD. Default: for the host of the
    /// configuration's own bundle, `policy.token_file`; for others none.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) source_token_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: BundleCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Write a bundle that declares nothing and grants nothing, to begin with.
    New {
        /// The directory, which must not exist yet. Its name is the bundle's.
        #[arg(default_value = "bundle")]
        directory: PathBuf,
    },
    /// Parse and validate a bundle; say what it declares, or all that is wrong, with the places. Nothing is decided by it.
    Check {
        /// The bundle's directory or file. Default: the bundle in force.
        bundle: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try a bundle with the cases in its `tests/*.toml`, and the cases with changed policies.
    ///
    /// Each policy is left out, turned round and freed of its conditions in turn; a case must notice. Exits 1 if a
    /// case fails or there is none. Nothing is decided by it. The form of a case: docs/bundle-tests.md.
    Test {
        /// The bundle's directory or file. Default: the bundle in force.
        bundle: Option<PathBuf>,
        /// Exit 1 also if a policy, a surface or a change of a policy is tried by no case.
        #[arg(long)]
        strict: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make one file of a bundle's directory. Equal content gives equal bytes, on any machine.
    ///
    /// The bundle is checked first. Its signatures go along, if it has any; the form: docs/bundle-format.md.
    Build {
        /// The bundle's directory. Default: the configuration's.
        directory: Option<PathBuf>,
        /// The file to write; one that is there is replaced.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Add a signature to a bundle, in place. Signatures of the same content by other keys stay.
    Sign {
        /// The file with the signing key.
        #[arg(long, default_value = "keys/bundle.key", value_name = "FILE")]
        key: PathBuf,
        /// The bundle's directory or file. Default: the configuration's.
        bundle: Option<PathBuf>,
    },
    /// Say by whom a bundle is signed, and whether it could decide now. Exits 1 if it could not.
    Verify {
        /// The bundle's directory or file, or where its file is: `https://…`, `oci://…`. Default: the bundle in force.
        bundle: Option<PathBuf>,
        #[command(flatten)]
        vouch: VouchArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the people who may be asked for approvals, with their roles and keys, and the digest to pin them by.
    Roster {
        /// The bundle's directory or file. Default: the bundle in force.
        bundle: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Have a solver prove what is to hold of a bundle, for all requests and all entities. Nothing is decided by it.
    ///
    /// That no policy can raise an error, and the invariants in `invariants/*.cedar`. Exits 1 unless all is proved: what
    /// the solver refutes, does not know, or has no time for is not. Also says which policies never apply, never grant
    /// or are redundant. The form of an invariant: docs/proofs.md.
    Prove(ProveArgs),
    /// Say what differs between two bundles: surfaces and other sections, policies, entities, files.
    ///
    /// With `--semantic` a solver says which requests the policies of the one grant and those of the other do not, and the
    /// other way round: for each request environment in which they differ it shows a request. An environment that is not
    /// named grants the same, proved. Then it exits 1 if something is not known.
    Diff(DiffArgs),
    /// Make a bundle the one that decides, on a running arbiter, without a moment in between.
    ///
    /// It is verified, compiled and tried with its own cases first, and one without any must say so (`untested = true`); on any
    /// failure the one in force stays. Its version must be higher than every one that was in force: to go back, sign the old
    /// content under a higher version. From the first activation on, the log says which bundle decides, and `policy.bundle` and
    /// `policy.pin` do no more.
    Activate {
        /// The bundle's file or directory, or where its file is: `https://HOST/PATH`, `oci://HOST/REPOSITORY:TAG`.
        bundle: PathBuf,
        /// Why, for the record, where it stays in clear.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        operator: OperatorArg,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the digest of the configuration's bundle into the configuration, as it lies there now.
    ///
    /// Takes effect when the arbiter is started again. A bundle that is fetched must be signed by those whom the
    /// configuration believes, and is kept in the data directory.
    Pin,
    /// Say whether the pinned bundle is there, signed, no older than what was in force, and valid now.
    Show,
    /// Say which bundles came into force when, by the log.
    History {
        /// Tell of the same bundle's every coming into force, as at each start.
        #[arg(long)]
        all: bool,
        /// Print JSON, one object for each.
        #[arg(long)]
        json: bool,
    },
    /// Make and sign roots: who signs bundles, and how many of them it takes.
    Root {
        #[command(subcommand)]
        command: RootCommand,
    },
}

/// Whom to believe. Default: whom the configuration does.
#[derive(Args, Debug)]
pub(crate) struct VouchArgs {
    /// A verifier key of which one signature suffices, or a file that holds it. May be given more than once.
    #[arg(long, value_name = "VKEY|FILE", conflicts_with = "root")]
    pub(crate) key: Vec<String>,
    /// A chain of roots.
    #[arg(long, value_name = "FILE", requires = "root_pin")]
    pub(crate) root: Option<PathBuf>,
    /// The digest of the chain's first root.
    #[arg(long, value_name = "DIGEST", requires = "root")]
    pub(crate) root_pin: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Write a chain of one root, to be signed.
    New {
        /// The chain's file, which must not exist yet.
        file: PathBuf,
        /// A name that all roots of the chain have: 1 to 64 of a-z, 0-9, `.`, `_` and `-`.
        #[arg(long, default_value = "bundles")]
        name: String,
        #[command(flatten)]
        says: RootSays,
    },
    /// Add the next root to a chain, to be signed by enough keys of the newest one and of its own.
    ///
    /// Until it is, the chain does not verify and permits nothing: work on a copy, and put it in place when it does.
    Next {
        /// The chain's file.
        file: PathBuf,
        #[command(flatten)]
        says: RootSays,
    },
    /// Add a signature to the newest root of a chain, in place.
    Sign {
        /// The chain's file.
        file: PathBuf,
        /// The file with the signing key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Say what a chain's roots are, and whether it verifies. Exits 1 if it does not.
    Show {
        /// The chain's file.
        file: PathBuf,
        /// The digest of its first root. Default: what the chain itself says, which proves nothing of where it comes from.
        #[arg(long, value_name = "DIGEST")]
        root_pin: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What a new root says.
#[derive(Args, Debug)]
pub(crate) struct RootSays {
    /// A verifier key that may sign, or a file that holds it. Once for each.
    #[arg(long, required = true, value_name = "VKEY|FILE")]
    pub(crate) key: Vec<String>,
    /// How many of the keys must sign.
    #[arg(long, value_name = "N")]
    pub(crate) threshold: usize,
    /// From when on the root does not count any more, as in 2027-01-31T12:00:00Z.
    #[arg(long = "until", value_name = "TIME")]
    pub(crate) valid_until: String,
}
