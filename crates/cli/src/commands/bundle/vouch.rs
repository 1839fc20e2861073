//! `portcullis bundle verify`

use std::process::ExitCode;

use portcullis_policy::{Authority, Bundle, BundleError, Snapshot, Trust};
use portcullis_protocol::{Digest, Succession};
use portcullis_server::SourceError;
use portcullis_server::config::BundleSigners;
use portcullis_verify::VerifierKey;

use super::{config, fetch, now};
use crate::args::{BundleArgs, VouchArgs};
use crate::commands::verify::read_key;
use crate::say;

/// Whom to believe: who is named, else whom the configuration believes.
pub(super) fn authority(args: &BundleArgs, vouch: &VouchArgs) -> Result<Authority, ExitCode> {
    let signers = match (&vouch.root, &vouch.root_pin) {
        (Some(file), Some(pin)) => {
            let pin: Digest = pin.parse().map_err(|error| say::error(&error))?;
            BundleSigners::Root { file: file.clone(), pin }
        }
        (None, _) | (_, None) if !vouch.key.is_empty() => {
            let keys: Result<Vec<VerifierKey>, _> = vouch.key.iter().map(|key| read_key(key)).collect();
            BundleSigners::Keys(keys.map_err(|error| say::misuse(&error))?)
        }
        (None, _) | (_, None) => {
            let arbiter = config(args)?.arbiter();
            arbiter.map_err(|error| say::error(&error))?.signers
        }
    };
    signers.authority().map_err(|error| refused(&error))
}

pub(super) fn refused(error: &BundleError) -> ExitCode {
    say::note(&format!("{}: {}", error.code(), error.remedy()));
    say::error(error)
}

pub(super) fn verify(read: Result<Snapshot, SourceError>, authority: Authority, json: bool) -> ExitCode {
    let verified = read.and_then(|snapshot| {
        let pin = snapshot.digest();
        Ok(snapshot.verify(&Trust { authority, pin, seen: Succession::default() })?)
    });
    let bundle = match verified {
        Ok(bundle) => bundle,
        Err(error) if json => {
            let said = serde_json::json!({
                "verified": false, "reason": error.code(), "detail": error.to_string(), "remedy": error.remedy(),
            });
            say::line(&said.to_string());
            return ExitCode::from(say::FAILED);
        }
        Err(error) => return fetch::refused(&error),
    };
    let now = match now() {
        Ok(now) => now,
        Err(code) => return code,
    };
    let tried = bundle.refuse_untested().map_err(|error| error.code());
    let valid = tried.and_then(|()| bundle.validity_at(now));
    if json {
        say::line(&told(&bundle, valid.err()).to_string());
    } else {
        tell(&bundle);
    }
    match valid {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if json => ExitCode::from(say::FAILED),
        Err(code) => say::misuse(&format!("{code}: {}", code.message())),
    }
}

fn told(bundle: &Bundle, refused: Option<portcullis_protocol::ReasonCode>) -> serde_json::Value {
    let (from, until) = bundle.validity();
    let signers: Vec<_> = bundle.signers().iter().map(ToString::to_string).collect();
    serde_json::json!({
        "verified": refused.is_none(),
        "reason": refused,
        "bundle": bundle.reference(),
        "signers": signers,
        "threshold": bundle.authority().threshold(),
        "root": bundle.authority().root().map(|root| root.version),
        "root_valid_until": bundle.authority().valid_until(),
        "valid_from": from,
        "valid_until": until,
    })
}

fn tell(bundle: &Bundle) {
    let reference = bundle.reference();
    say::line(&format!("{} version {}\n{}", reference.name, reference.version, reference.digest));
    let authority = bundle.authority();
    for signer in bundle.signers() {
        say::line(&format!("  signed by    {signer}"));
    }
    let (needed, of) = (authority.threshold(), authority.keys().len());
    let by =
        authority.root().map_or_else(|| "the given keys".to_owned(), |root| format!("root {}", root.version));
    say::line(&format!("  it takes     {needed} of the {of} keys of {by}"));
    let (from, until) = bundle.validity();
    say::line(&format!("  valid from   {}\n  valid until  {}", say::time(from), say::time(until)));
    if let Some(until) = authority.valid_until() {
        say::line(&format!("  root until   {}", say::time(until)));
    }
}
