//! `portcullis mcp login`

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use portcullis_gate::oauth::{Client, LoggedIn, Login, log_in};

use crate::args::LoginArgs;
use crate::commands::{runtime, wait_for_signal};
use crate::say;

/// What opens a URL in the browser that the user has chosen.
const OPENER: &str = if cfg!(target_os = "macos") { "/usr/bin/open" } else { "/usr/bin/xdg-open" };

pub(super) fn run(args: &LoginArgs) -> Result<ExitCode, ExitCode> {
    let read = |file: &std::path::PathBuf| {
        std::fs::read_to_string(file)
            .map_err(|error| say::misuse(&format!("`{}` cannot be read: {error}", file.display())))
    };
    let authorities = args.ca.as_ref().map(read).transpose()?;
    let login = Login {
        url: args.url.clone(),
        authorities,
        store: args.store.clone(),
        client: args.client_id.clone().map_or(Client::Registers, Client::Known),
        scopes: args.scope.clone(),
        patience: Duration::from_secs(args.wait_seconds),
    };
    let runtime = runtime().map_err(|error| say::error(&error))?;
    let logged_in = runtime.block_on(async {
        tokio::select! {
            ended = log_in(login, |url| shown(url, args.no_browser)) => Some(ended),
            () = wait_for_signal() => None,
        }
    });
    match logged_in {
        Some(Ok(logged_in)) => {
            tell(&logged_in, args);
            Ok(ExitCode::SUCCESS)
        }
        Some(Err(error)) => Err(say::error(&error)),
        None => Err(say::misuse("interrupted; nobody is logged in, and nothing was stored")),
    }
}

fn shown(url: &str, no_browser: bool) {
    say::note("Open this URL in a browser on this machine, and say yes there:");
    say::line(url);
    if no_browser {
        return;
    }
    let mut opener = Command::new(OPENER);
    opener.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match opener.spawn() {
        // Nobody waits for it: the terminal may be where the browser runs.
        Ok(child) => drop(child),
        Err(_) => say::note("(no browser could be started)"),
    }
}

fn tell(logged_in: &LoggedIn, args: &LoginArgs) {
    let LoggedIn { issuer, resource, client_id, lifetime, refreshes } = logged_in;
    let store = args.store.display();
    say::note(&say::harmless(&format!(
        "logged in to `{resource}` with `{issuer}`, as the client `{client_id}`; stored in `{store}`"
    )));
    let lasts = lifetime.map(|lifetime| say::age(lifetime.as_secs().saturating_mul(1_000)));
    match (refreshes, lasts) {
        (true, _) => {}
        (false, Some(lasts)) => {
            say::note(&format!("the server gave no token to refresh it with: log in again within {lasts}"))
        }
        (false, None) => {
            say::note(
                "the server gave no token to refresh it with: log in again when it is not taken any more",
            );
        }
    }
}
