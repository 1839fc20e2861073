//! `portcullis bundle activate`

use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::{Seen, Snapshot, Trust};
use portcullis_protocol::wire::OrderCall;
use portcullis_protocol::{Order, OrderReason};
use portcullis_server::{Config, give_order, lay_ready};

use super::vouch::refused;
use crate::args::OperatorArg;
use crate::commands::runtime;
use crate::say;

pub(super) fn run(
    config: &Config,
    place: &Path,
    reason: &str,
    operator: &OperatorArg,
    json: bool,
) -> ExitCode {
    let read = config
        .arbiter()
        .and_then(|arbiter| Ok((arbiter, config.operator_token(operator.token_file.as_deref())?)));
    let (arbiter, token) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let reason: OrderReason = match reason.parse() {
        Ok(reason) => reason,
        Err(error) => return say::error(&error),
    };
    // The arbiter finds all this out by itself; here it is said with its particulars.
    let verified = Snapshot::read(place).and_then(|snapshot| {
        let (authority, pin) = (arbiter.signers.authority()?, snapshot.digest());
        let bundle = snapshot.clone().verify(&Trust { authority, pin, seen: Seen::default() })?;
        Ok((snapshot, bundle))
    });
    let (snapshot, bundle) = match verified {
        Ok(verified) => verified,
        Err(error) => return refused(&error),
    };
    if let Some(case) = bundle.failed_case() {
        let (file, name) = (case.file, case.name.escape_debug().to_string());
        return say::misuse(&format!(
            "{file}: `{name}` fails; `portcullis bundle test` says how. Nothing was changed."
        ));
    }
    let bundle = match lay_ready(&arbiter, &snapshot) {
        Ok(bundle) => bundle,
        Err(error) => return say::error(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let call = OrderCall { what: Order::ActivateBundle { bundle: bundle.clone() }, reason };
    match runtime.block_on(give_order(&arbiter, &token, call)) {
        Ok(reply) => {
            say::line(&if json {
                serde_json::json!({ "activated": bundle, "record": reply.seq }).to_string()
            } else {
                let (name, version, digest) = (&bundle.name, bundle.version, bundle.digest);
                format!("{name} version {version} decides\n{digest}\nby the order at index {}", reply.seq)
            });
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
