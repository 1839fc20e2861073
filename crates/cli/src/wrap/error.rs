//! Why a configuration is left as it is.

use std::io;
use std::path::PathBuf;

use super::whose::Other;

/// What is wrong with a server's entry, or with what was asked of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("`{0}` stands there twice, and readers differ in which of them counts: keep one")]
    Twice(String),
    #[error(
        "`{found}` is `{key}` to readers that ignore case, and nothing to others: write `{key}`, or remove it"
    )]
    Spelling { found: String, key: &'static str },
    #[error("`{0}` is not an object")]
    NotAnObject(String),
    #[error(
        "it is neither a command with `type` `stdio` or none, nor an address with a `type` of HTTP or none: write it as one of them"
    )]
    Shape,
    #[error(
        "`{0}` has a command or an address of its own in it, which this version does not know: remove it"
    )]
    Nested(String),
    #[error(
        "the file has `{0}`, as the form of another client has: say whose form it is with `--format`, or remove that"
    )]
    Foreign(&'static str),
    #[error("`{0}` is not a string that every reader takes for the same")]
    NoString(&'static str),
    #[error("`args` is not a list of strings")]
    Arguments,
    #[error("`env` is not an object of strings")]
    Environment,
    #[error("it has no command")]
    NoCommand,
    #[error(
        "it sets `{0}`, which would act on the gate itself: set it in the server's own command, as `env {0}=VALUE COMMAND`"
    )]
    ActsOnGate(String),
    #[error("`{0}` is no name of a variable that could be passed on")]
    Variable(String),
    #[error(
        "it has an `envFile`, and which variables that sets cannot be told: name those that it needs with `--pass-env NAME`"
    )]
    EnvFile,
    #[error(
        "it starts `portcullis mcp` in a way that this version does not know: start the server's own command there"
    )]
    UnknownGate,
    #[error(
        "it goes through {}, which is not this gate, and what that lets through cannot be told: start the server's own command there, or \
         leave it ungoverned by this gate with `--leave-gate {}`", one_line(&.other.to_string()), quote(.server)
    )]
    OtherGate { server: String, other: Other },
    #[error("`--leave-gate`: there is no such server that goes through another gate")]
    NoOtherGate,
    #[error("it is a remote server, and {why}; or leave it ungoverned with `--leave-remote {}`", quote(.server))]
    Remote { server: String, why: Obstacle },
    #[error(
        "how its client reached it is in the backup alone, which is not there or has no such server: write its address there by hand"
    )]
    Unkept,
    #[error("`--leave-remote`: there is no such remote server")]
    NotRemote,
    #[error("`--name`: there is no such server that is to be wrapped")]
    NoSuchServer,
    #[error("nothing of its name can be a word of a surface: give one with `--name {}`", quote(&format!("{}=WORD", .0)))]
    Nameless(String),
    #[error(
        "`{0}` cannot be the first word of a surface: use a-z, 0-9, `_` and `-`, beginning with a letter or digit"
    )]
    NoWord(String),
    #[error(
        "its surfaces would begin with `{word}`, as those of `{other}` do: give another word with `--name {}`", quote(&format!("{server}=WORD")))]
    Taken { word: String, server: String, other: String },
}

/// Why the gate cannot reach a remote server in its client's place, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error("its address is not a string that every reader takes for the same: write it plainly")]
    Address,
    #[error(
        "the client fills in its address (`${{…}}`), and the gate could not tell whom it would reach: write it out"
    )]
    AddressFilledIn,
    #[error(
        "its address is none that the gate goes to: {0}: use `https://HOST/PATH`, or `http://127.0.0.1:PORT/PATH` on this machine"
    )]
    Url(&'static str),
    #[error(
        "it speaks HTTP+SSE of 2024-11-05, which the gate does not: give its address for Streamable HTTP, with `type` `http`"
    )]
    Sse,
    #[error(
        "it is reached by WebSocket, which the gate does not speak: give its address for Streamable HTTP, with `type` `http`"
    )]
    WebSocket,
    #[error(
        "the gate sends no header `{0}`, and no other than `Authorization: Bearer TOKEN`: have it take such a token"
    )]
    Header(String),
    #[error("its `headers` are not strings that every reader takes for the same: write them plainly")]
    Headers,
    #[error(
        "its `Authorization` is no `Bearer TOKEN`, and the gate sends nothing else: have it take such a token"
    )]
    Scheme,
    #[error(
        "the client fills in its token (`${{…}}`), which cannot be put into a file: write the token itself there, and it is moved into a \
         file that only its owner reads"
    )]
    TokenFilledIn,
    #[error(
        "its client shows by `{0}` who it is, which the gate cannot: give it a token, `Authorization: Bearer TOKEN` in `headers`, instead"
    )]
    Credentials(String),
    #[error(
        "it has `{0}`, which means nothing to a client that connects, and would act on the gate that the client starts instead: remove it"
    )]
    Started(&'static str),
    #[error(
        "it lets nobody in who has no token (status 401): give it one, `Authorization: Bearer TOKEN` in `headers`; or log in to it with \
         `portcullis mcp login`, and put the gate there by hand, with `--credential`"
    )]
    Asks,
    #[error(
        "its token would lie where tool servers read it: put `gate.token_file` into a directory of its own below that of the \
         gate's configuration"
    )]
    Exposed,
}

/// A problem, and whose it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `None`: the file's.
    pub(crate) server: Option<String>,
    pub(crate) problem: Problem,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { server: None, problem }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.server {
            Some(server) => write!(f, "server `{}`: {}", one_line(server), self.problem),
            None => self.problem.fmt(f),
        }
    }
}

/// Why a file is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrapError {
    #[error(
        "`{}` is called like no configuration of a client that is known: say whose form it has with `--format`",
        path.display()
    )]
    UnknownFormat { path: PathBuf },
    #[error("`{}` cannot be {what}", path.display())]
    File {
        path: PathBuf,
        what: &'static str,
        #[source]
        error: io::Error,
    },
    #[error("`{}` {what}", path.display())]
    Unfit { path: PathBuf, what: &'static str },
    #[error("`{}` is not JSON with comments: {what}", path.display())]
    Syntax { path: PathBuf, what: String },
    #[error("it names no MCP servers where the form `{format}` has them (`{section}`): {remedy}")]
    NoServers { format: &'static str, section: String, remedy: &'static str },
    #[error("nothing was changed:{}", list(.0))]
    Refused(Vec<Refusal>),
    #[error(
        "the path `{0}` cannot be written into a configuration: clients would read `${{` as a variable, and only text"
    )]
    Path(PathBuf),
    #[error("what was about to be written would not say what was meant; nothing was changed")]
    Unfaithful,
    #[error(
        "`{}` was changed by somebody else meanwhile, and is as they left it: end the client, and try again",
        path.display()
    )]
    Changed { path: PathBuf },
    #[error(
        "`{}` is there already and keeps another configuration: look whether you need it, and move it away",
        path.display()
    )]
    OtherBackup { path: PathBuf },
    #[error(
        "`{}` is there already, and is not the file of this server's token that only its owner reads: look whose it is, and move it away",
        path.display()
    )]
    OtherToken { path: PathBuf },
    #[error(
        "`{}` is there, left by a run that was killed, and is neither in the file nor in its backup: it may be what somebody else wrote \
         meanwhile, so look whether you need it, and move it away",
        path.display()
    )]
    LeftBeside { path: PathBuf },
    #[error("the system starts nothing by which a server could be asked")]
    Runtime(#[source] io::Error),
    #[error("there is no backup `{}`; `--edits keep` takes the gate out of the entries without one", path.display())]
    NoBackup { path: PathBuf },
    #[error(
        "`{}` was edited since it was wrapped, as shown above: `--edits keep` takes the gate out of the entries and keeps \
         the rest, `--edits discard` puts the backup in its place",
        path.display()
    )]
    Edited { path: PathBuf },
    #[error("no server in `{}` was wrapped by `portcullis wrap`", path.display())]
    NotWrapped { path: PathBuf },
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("\n  {refusal}")).collect()
}

/// A word as a shell takes it for one.
pub(crate) fn quote(word: &str) -> String {
    // What no shell can be given is shown as it is.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}

/// A name in one line, in which it could otherwise say something of other servers.
pub(crate) fn one_line(name: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    name.chars().map(shown).collect()
}
