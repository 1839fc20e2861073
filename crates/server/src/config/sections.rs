//! What may be written: every section and key, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::issuers::SubjectTable;
use super::paths::Paths;

/// A key of the configuration, for its reference.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The section that it belongs to.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its default, or `required`.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

macro_rules! sections {
    ($( $(#[doc = $about:literal])* $section:literal $name:ident { $( $(#[doc = $doc:literal])* $key:ident: $type:ty = $default:literal, )* } )*) => {
        $(
            $(#[doc = $about])*
            #[derive(Clone, Debug, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(super) struct $name { $( $(#[doc = $doc])* pub(super) $key: $type, )* }

            impl Paths for $name {
                fn paths(&self, _: &'static str, found: &mut dyn FnMut(&'static str, &Path)) {
                    $( self.$key.paths(stringify!($key), found); )*
                }
            }
        )*

        /// Every key, in the order of the reference.
        pub const KEYS: &[Key] = &[$( $( Key {
            section: $section, name: stringify!($key), default: $default, doc: concat!($($doc),*),
        }, )* )*];
    };
}

sections! {
    /// The arbiter.
    "arbiter" ArbiterSection {
        /// The data directory: ledger, lock and socket. Only the arbiter's user may read it.
        data: PathBuf = "required",
        /// The anchor: a file outside the data directory that keeps the newest signed head. Keep it where a restored
        /// backup of the data directory does not reach.
        anchor: PathBuf = "required",
        /// The log's verifier key, pinned: receipts count only if this key signed them.
        log_key: String = "required",
        /// Other keys of this log: `VKEY until SIZE` for one that was retired and counts for heads of at most SIZE
        /// records, `VKEY revoked` for one that counts for nothing, `VKEY` for one that will sign from some day on.
        other_log_keys: Option<Vec<String>> = "none",
        /// The file with the log's signing key, mode 0600. Instead of it there may be a section `[signer]`.
        signing_key: Option<PathBuf> = "required without `[signer]`",
        /// The file with the vault's master key, mode 0600, outside the data directory: requests and results are kept
        /// under keys that it wraps. Keep it where a backup of the data directory does not go.
        vault_key: PathBuf = "required",
        /// Bytes of disk that are kept for outcomes and operators; below them nothing is permitted.
        disk_reserve: Option<u64> = "67108864",
    }
    /// The log's signer, where it is not the key file of `arbiter.signing_key`.
    "signer" SignerSection {
        /// `file`: a key file. `pkcs11`: a key in a token. `command`: a program that is run for each signature.
        /// `http`: a service.
        kind: String = "required",
        /// Only of `[next_signer]`, which has the same keys as this section and signs every head too while it is
        /// there: the verifier key of the key that is to follow. `portcullis keys rotate` writes it.
        log_key: Option<String> = "none",
        /// How long a signature may take, in milliseconds, from 10 to 10000. After it nothing is permitted, and an
        /// answer that comes later is not used. Gates should wait longer than twice as long.
        deadline_ms: Option<u64> = "500",
        /// Of a `file`: the signing key's file, mode 0600.
        key_file: Option<PathBuf> = "none",
        /// Of `pkcs11`: absolute path of the module, a shared library that is loaded into the arbiter.
        module: Option<PathBuf> = "none",
        /// Of `pkcs11`: the token's label.
        token: Option<String> = "none",
        /// Of `pkcs11`: the label of the Ed25519 private key in the token.
        key: Option<String> = "none",
        /// Of `pkcs11`: the file with the user's PIN, mode 0600. A PIN that was refused is not tried again before the
        /// file has changed, for a token locks itself after a few.
        pin_file: Option<PathBuf> = "none",
        /// Of a `command`: absolute path of the program, which others must not be able to write, nor any folder or link on
        /// the way to it, and its arguments. It reads the text to be signed from standard input and writes one signature
        /// line of a C2SP signed note. It sees no environment but PATH, and is killed at the deadline with its process group.
        command: Option<Vec<String>> = "none",
        /// Of `http`: `https://HOST:PORT`, `http://127.0.0.1:PORT` or `unix:/path`. The text to be signed is posted;
        /// the answer is 200 with one signature line of a C2SP signed note.
        endpoint: Option<String> = "none",
        /// Of `http`: the path that is posted to.
        path: Option<String> = "/sign",
        /// Of `http`: PEM file with the certificate authority of an `https` endpoint.
        ca: Option<PathBuf> = "none",
        /// Of `http`: the file with the bearer token that the service is shown, mode 0600.
        token_file: Option<PathBuf> = "none",
    }
    /// The spool: where attempts are kept that are refused while evidence cannot be written, to be entered into the
    /// log late. Without this section they are only counted.
    "spool" SpoolSection {
        /// Its file, outside the data directory, in a directory that is there; best on another disk.
        path: PathBuf = "required",
        /// Entries, at most, from 1 to 100000. What comes beyond them is answered `captured: none`.
        max_entries: Option<u64> = "10000",
        /// Bytes of its file, at most, from 4096 to 134217728.
        max_bytes: Option<u64> = "8388608",
    }
    /// The policy.
    "policy" PolicySection {
        /// The bundle: its directory, or the file that `portcullis bundle build` makes of it. Or where that file is fetched
        /// from, `https://HOST/PATH` or `oci://HOST/REPOSITORY:TAG`; only the pinned bundle is kept and decides.
        /// docs/bundle-sources.md.
        bundle: PathBuf = "required",
        /// The digest of the only bundle that may decide; `portcullis bundle pin` writes it.
        pin: String = "required",
        /// Verifier keys whose signatures on a bundle count: one of them suffices.
        trusted_keys: Option<Vec<String>> = "required without `root`",
        /// Instead of `trusted_keys`: the chain of roots, a file that says which keys sign bundles, how many of them it
        /// takes, and until when. docs/bundle-format.md.
        root: Option<PathBuf> = "none",
        /// The digest of the first root of that chain; `portcullis bundle root show` says it.
        root_pin: Option<String> = "required with `root`",
        /// PEM file with the certificate authorities that are believed where bundles are fetched. The system's authorities
        /// are not believed unless this is their file.
        ca: Option<PathBuf> = "required where bundles are fetched over TLS",
        /// The file with the credential that the host of `bundle` is shown, mode 0600: a bearer token, or `USER:PASSWORD`.
        /// No other host is shown it.
        token_file: Option<PathBuf> = "none",
        /// How often it is looked what lies where `bundle` is fetched from, in seconds, from 1 to 86400.
        poll_seconds: Option<u64> = "300",
        /// Whether a bundle decides only if the arbiter proved it when it was activated. docs/proofs.md.
        require_proofs: Option<bool> = "false",
        /// The solver that proves: a cvc5 program.
        solver: Option<PathBuf> = "/usr/bin/cvc5",
        /// How long the proof of a bundle may take, in seconds, from 1 to 86400. After it the bundle is not proved.
        prove_within_s: Option<u64> = "600",
    }
    /// Where a source of facts is that the bundle declares, by the name that it has there. Either a file, or a service.
    "facts.NAME" FactsSection {
        /// The file with the document; whoever keeps it replaces it by renaming another into its place.
        file: Option<PathBuf> = "required without `endpoint`",
        /// The service that gives the document: `https://HOST:PORT`, `http://127.0.0.1:PORT` or `unix:/path`.
        endpoint: Option<String> = "required without `file`",
        /// Of a service: the path that is asked for.
        path: Option<String> = "/",
        /// Of a service: PEM file with the certificate authority of an `https` endpoint.
        ca: Option<PathBuf> = "none",
        /// Of a service: the file with the bearer token that it is shown, mode 0600.
        token_file: Option<PathBuf> = "none",
        /// Of a service: how often it is asked, in milliseconds, from 100 to 3600000.
        interval_ms: Option<u64> = "30000",
    }
    /// An agent, by its name.
    "agents.NAME" AgentSection {
        /// Digest of the agent's bearer token; `portcullis keys agent` makes both.
        token: Option<String> = "required without `subject`",
        /// Which access tokens name the agent: `{ issuer = "URL", sub = "SUBJECT", client_id = "CLIENT" }`, of any client without
        /// `client_id`; or `{ issuer = "URL", client_id = "CLIENT", people = { "SUBJECT" = "NAME" } }` for tokens
        /// that people got for that client, by each of which the agent acts for that person alone. docs/identity.md.
        subject: Option<SubjectTable> = "required without `token`",
        /// When the agent's credentials expire at the latest, in milliseconds since 1970; never, if left out. An access
        /// token expires when it says so, if that is earlier.
        expires_ms: Option<u64> = "never",
        /// For whom the agent may act: names of people or of other agents. Each request must then name one of them;
        /// without any, none may name anybody. Whoever is listed here acts for nobody: name the person behind an agent
        /// that acts for one.
        acts_for: Option<Vec<String>> = "nobody",
    }
    /// An identity provider whose access tokens name agents, by its issuer: letter for letter as its tokens say it.
    "issuers.URL" IssuerSection {
        /// The arbiter's own name at the provider (RFC 8707): `aud` of a token must have it.
        audience: String = "required",
        /// Where the provider's JWK set is, `https://HOST/PATH` or `http://127.0.0.1:PORT/PATH`. Without it and `jwks_file`
        /// the provider's metadata are asked (RFC 8414, else OpenID Connect Discovery), which must be of this very issuer.
        jwks: Option<String> = "as the metadata say",
        /// Instead of `jwks`: the file with the JWK set, which only its owner may be able to write. Whoever keeps it replaces
        /// it by renaming another into its place, at least as often as `expire_seconds` says.
        jwks_file: Option<PathBuf> = "none",
        /// PEM file with the certificate authorities that are believed of the provider. The system's authorities are not
        /// believed unless this is their file.
        ca: Option<PathBuf> = "required where the provider is asked over TLS",
        /// Algorithms that count.
        algorithms: Option<Vec<String>> = "`[\"ES256\", \"EdDSA\", \"PS256\", \"RS256\"]`",
        /// Types that are taken as access tokens. `JWT` is for providers that do not follow RFC 9068.
        types: Option<Vec<String>> = "`[\"at+jwt\"]`",
        /// How far the provider's clock may be ahead of this machine's, in seconds, up to 60. No token lives longer by it.
        skew_seconds: Option<u64> = "10",
        /// How old the provider's keys may become before they are asked for again, in seconds, from 1 to 86400.
        fresh_seconds: Option<u64> = "300",
        /// How old they may become before they count for nothing, in seconds, more than `fresh_seconds` and at most 604800.
        /// After it tokens of this issuer name nobody until there is an answer.
        expire_seconds: Option<u64> = "12 times `fresh_seconds`",
    }
    /// The log, as others may read it.
    "log" LogSection {
        /// Whether anybody may read the whole log at `/log/`, without a token. Records say in clear who did what.
        public: Option<bool> = "false",
        /// Tiles and entry bundles that lie wholly below this record are not served. Nothing is removed.
        minimum_index: Option<u64> = "0",
        /// Whether the log is shown under its newest cosigned checkpoint, instead of its newest head.
        cosigned: Option<bool> = "false",
    }
    /// Cosignatures of the log's own operator on its checkpoints, with a second key: ML-DSA-44 stands where quantum
    /// computers forge the log's signatures.
    "cosigning" CosigningSection {
        /// The verifier key of the second key; `portcullis keys generate --cosigner ml-dsa-44` prints it.
        key: String = "required",
        /// Its file, mode 0600. Without it, `portcullis log cosign --key FILE` cosigns when somebody says so.
        key_file: Option<PathBuf> = "none",
        /// How often the newest head is cosigned, in milliseconds.
        interval_ms: Option<u64> = "60000",
        /// New records after which it is cosigned sooner.
        records: Option<u64> = "10000",
    }
    /// An auditor, by name: may read the whole log at `/log/`, and nothing else.
    "auditors.NAME" AuditorSection {
        /// Digest of the auditor's bearer token; `portcullis keys auditor` makes both.
        token: String = "required",
        /// When the token expires, in milliseconds since 1970; never, if left out.
        expires_ms: Option<u64> = "never",
    }
    /// An operator, by name: a person who gives orders to the arbiter.
    "operators.NAME" OperatorsSection {
        /// Digest of the operator's bearer token; `portcullis keys operator` makes both.
        token: String = "required",
        /// When the token expires, in milliseconds since 1970; never, if left out.
        expires_ms: Option<u64> = "never",
    }
    /// Commands of an operator on this machine.
    "operator" OperatorSection {
        /// The file with the operator's token, mode 0600. Keep it where no agent can read it.
        token_file: PathBuf = "required",
    }
    /// The gate.
    "gate" GateSection {
        /// The gate's name in records.
        name: String = "required",
        /// The agent for which this gate asks.
        agent: String = "required",
        /// The file with that agent's token, mode 0600.
        token_file: PathBuf = "required",
        /// For whom that agent acts here. Each call says so, and the arbiter refuses it unless the agent's credential
        /// lists that name. `portcullis decide` asks for whom its request says.
        acts_for: Option<String> = "nobody",
        /// How long a decision may take, in milliseconds. After it the call does not run.
        deadline_ms: Option<u64> = "2000",
        /// An arbiter elsewhere, `https://HOST:PORT`, `http://127.0.0.1:PORT` or `unix:/path`. Without it, the gate
        /// uses the data directory of this configuration: it hosts the arbiter if no other process does.
        arbiter: Option<String> = "the data directory",
        /// PEM file with the certificate authority of an `https` arbiter. The system's authorities are not believed.
        arbiter_ca: Option<PathBuf> = "none",
        /// A directory, which must be there: attempts for which there is no answer of the arbiter's, or that come while an
        /// outcome is not on record, are kept in it, and entered into the log late. Gates may share one. Without it they are not kept.
        spool: Option<PathBuf> = "none",
        /// Surfaces on which this gate itself asks that the witnesses saw a PERMIT, whatever the arbiter says; `"*"` is all.
        witnessed: Option<Vec<String>> = "none",
    }
    /// The MCP gate.
    "mcp" McpSection {
        /// The tool server's name: the first word of its surfaces.
        server: String = "required",
        /// Environment variables that the tool server gets beside PATH, HOME, LANG and the like.
        pass_environment: Option<Vec<String>> = "none",
    }
    /// The MCP gate as an endpoint, `portcullis mcp --listen`. docs/endpoint.md.
    "endpoint" EndpointSection {
        /// Hosts that it is known by beside its address, `HOST` or `HOST:PORT`, as clients write them. `--host` names more.
        hosts: Option<Vec<String>> = "none",
        /// Origins of the web pages that may ask.
        origins: Option<Vec<String>> = "none",
        /// The URL that it is known by to those who give out tokens: what tokens for it name as their audience. Where
        /// clients learn of them is served then (RFC 9728).
        resource: Option<String> = "none",
        /// With `resource`: the issuers' URLs of the authorization servers that give out tokens for it.
        authorization_servers: Option<Vec<String>> = "none",
        /// With `resource`: the scopes that clients should ask for.
        scopes: Option<Vec<String>> = "none",
    }
    /// Witnesses of this log, as a whole. Only with `[witnesses.NAME]`.
    "witnessing" WitnessingSection {
        /// How many of the witnesses must have cosigned a checkpoint for it to count as witnessed.
        quorum: usize = "required",
        /// How often witnesses are asked when no PERMIT waits for them, in milliseconds.
        interval_ms: Option<u64> = "5000",
        /// How long a witness may take to answer, in milliseconds.
        patience_ms: Option<u64> = "2000",
    }
    /// A witness of this log, by a name of your choice.
    "witnesses.NAME" WitnessSection {
        /// Its submission prefix, `https://HOST:PORT/PREFIX` or `http://127.0.0.1:PORT`.
        url: String = "required",
        /// Its verifier keys for cosignatures (types 0x04 and 0x06). All of them count as one witness.
        keys: Vec<String> = "required",
        /// PEM file with the certificate authority of an `https` witness. The system's authorities are not believed.
        ca: Option<PathBuf> = "none",
    }
    /// `portcullis witness`, which cosigns the checkpoints of other people's logs.
    "witness" OwnWitnessSection {
        /// Numeric address and port to listen on. Other than loopback addresses need TLS.
        listen: String = "required",
        /// PEM file with the certificate chain, for TLS 1.3 only.
        tls_certificate: Option<PathBuf> = "none",
        /// PEM file with the certificate's private key, mode 0600.
        tls_key: Option<PathBuf> = "none",
        /// The directory that keeps the newest checkpoint of each log. Never put an old copy of it in place.
        state: PathBuf = "required",
        /// Files with the witness's signing keys, mode 0600; `portcullis keys generate --cosigner` makes them.
        signing_keys: Vec<PathBuf> = "required",
        /// Verifier keys of the logs that are served, each for the log of its name. Where a log's key was replaced:
        /// `VKEY until SIZE` for the old one, `VKEY revoked` for a stolen one.
        logs: Vec<String> = "required",
        /// Requests that are answered in a second; more get status 429.
        requests_per_second: Option<u32> = "100",
    }
    /// `portcullis serve`.
    "serve" ServeSection {
        /// Numeric address and port of the HTTP API. Other than loopback addresses need TLS.
        listen: String = "required",
        /// PEM file with the certificate chain of the HTTP API, which then speaks TLS 1.3 only.
        tls_certificate: Option<PathBuf> = "none",
        /// PEM file with the certificate's private key, mode 0600.
        tls_key: Option<PathBuf> = "none",
    }
}

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) arbiter: Option<ArbiterSection>,
    pub(super) signer: Option<SignerSection>,
    pub(super) next_signer: Option<SignerSection>,
    pub(super) spool: Option<SpoolSection>,
    pub(super) policy: Option<PolicySection>,
    #[serde(default)]
    pub(super) facts: BTreeMap<String, FactsSection>,
    #[serde(default)]
    pub(super) agents: BTreeMap<String, AgentSection>,
    #[serde(default)]
    pub(super) issuers: BTreeMap<String, IssuerSection>,
    pub(super) log: Option<LogSection>,
    pub(super) cosigning: Option<CosigningSection>,
    #[serde(default)]
    pub(super) auditors: BTreeMap<String, AuditorSection>,
    #[serde(default)]
    pub(super) operators: BTreeMap<String, OperatorsSection>,
    pub(super) operator: Option<OperatorSection>,
    pub(super) gate: Option<GateSection>,
    pub(super) mcp: Option<McpSection>,
    pub(super) endpoint: Option<EndpointSection>,
    pub(super) witnessing: Option<WitnessingSection>,
    #[serde(default)]
    pub(super) witnesses: BTreeMap<String, WitnessSection>,
    pub(super) witness: Option<OwnWitnessSection>,
    pub(super) serve: Option<ServeSection>,
}
