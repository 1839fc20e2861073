//! `portcullis evidence`

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, NaiveTime};
use portcullis_policy::{Authority, BundleSigners};
use portcullis_protocol::{BundleDigest, Millis};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{Config, EvidenceError, PackWith, Packed, bundle_digest, evidence_pack};
use portcullis_verify::{LogKeys, PackError, Selection, UnverifiedPack, VerifiedPack, VerifierKey};

use crate::args::{EvidenceArgs, EvidenceCommand};
use crate::commands::log::{NOT_WHOLE, unvouched_bundles};
use crate::commands::verify::read_key;
use crate::commands::{quoted, signer_of, view};
use crate::progress::Progress;
use crate::say;

pub(crate) fn run(args: &EvidenceArgs) -> ExitCode {
    let EvidenceCommand::Pack { since, until, surface, agent, cosigned, bundle_key, out, json } =
        &args.command;
    let times = [since, until].map(|text| text.as_deref().map(time).transpose());
    let [since, until] = match times {
        [Ok(since), Ok(until)] => [since, until],
        [Err(error), _] | [_, Err(error)] => return say::misuse(&error),
    };
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return say::misuse("--until lies before --since");
    }
    let selection = Selection { agent: agent.clone(), surface: surface.clone(), since, until };
    let bundle_keys = match bundle_key.iter().map(|key| read_key(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => keys,
        Err(error) => return say::misuse(&error),
    };
    let config = match Config::read(&args.config.config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match packed(&config, *cosigned, &bundle_keys, selection) {
        Ok(packed) => written(&config, &bundle_keys, &packed, out, *json),
        Err(code) => code,
    }
}

/// The pack of what is selected, made under the log's newest head or its newest cosigned checkpoint.
fn packed(
    config: &ArbiterConfig,
    cosigned: bool,
    bundle_keys: &[VerifierKey],
    selection: Selection,
) -> Result<Packed, ExitCode> {
    let view = view(config, cosigned)?;
    let authorities = config.signers.authorities();
    let mut authorities =
        authorities.map_err(|error| say::error(&EvidenceError::Signers(Box::new(error))))?;
    authorities.extend(bundle_keys.iter().map(|key| Authority::any_of(vec![key.clone()])));
    let mut progress = Progress::new("packing record").map_err(|error| say::error(&error))?;
    let key = signer_of(config, view.head());
    let with = PackWith { key: &key.key, keys: &config.log_keys, authorities: &authorities };
    let made = evidence_pack(&view, &with, selection, |done, total| progress.step(done, total));
    drop(progress);
    made.map_err(|error| say::error(&error))
}

fn written(
    config: &ArbiterConfig,
    bundle_keys: &[VerifierKey],
    packed: &Packed,
    out: &Path,
    json: bool,
) -> ExitCode {
    if let Err(error) = write_new(out, &packed.bytes) {
        return say::misuse(&format!("`{}` cannot be written: {error}", out.display()));
    }
    match verified(&packed.bytes, &config.log_keys) {
        Ok(pack) => {
            let signers = if packed.unvouched.is_empty() {
                signed_by(config, bundle_keys, &pack)
            } else {
                String::new()
            };
            let by = format!("--key {}{signers}", quoted(&signer_of(config, pack.head()).to_string()));
            told(out, &pack, &by, &packed.unvouched, json);
            if packed.unvouched.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) }
        }
        Err(error) => say::error(&error),
    }
}

/// What `portcullis verify` is to be given so that it looks at who signed the bundles in a pack.
fn signed_by(config: &ArbiterConfig, bundle_keys: &[VerifierKey], pack: &VerifiedPack) -> String {
    match &config.signers {
        _ if pack.bundles().is_empty() => String::new(),
        // Either keys or a chain of roots is given.
        BundleSigners::Root { file, pin } if bundle_keys.is_empty() => {
            format!(" --root {} --root-pin {pin}", quoted(&file.display().to_string()))
        }
        BundleSigners::Root { .. } => bundle_keys.iter().map(|key| format!(" --bundle-key {key}")).collect(),
        BundleSigners::Keys(keys) => {
            keys.iter().chain(bundle_keys).map(|key| format!(" --bundle-key {key}")).collect()
        }
    }
}

/// Writes a file that does not exist yet. Records say in clear who did what: it is the owner's to pass on.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a pack is none.
        drop(std::fs::remove_file(path));
    }
    written
}

fn verified(bytes: &[u8], keys: &LogKeys) -> Result<VerifiedPack, PackError> {
    UnverifiedPack::parse(bytes)?.verify(keys, &bundle_digest)
}

fn told(out: &Path, pack: &VerifiedPack, by: &str, unvouched: &BTreeSet<BundleDigest>, json: bool) {
    let ((first, end), records, withheld) = (pack.range(), pack.records().len(), pack.withheld());
    if json {
        let said = serde_json::json!({
            "file": out.display().to_string(), "log": pack.head().origin().as_str(), "size": pack.head().size(),
            "first": first, "end": end, "records": records, "withheld": withheld, "unvouched": unvouched,
        });
        return say::line(&said.to_string());
    }
    let range = end.checked_sub(1).filter(|last| *last >= first).map_or_else(
        || "no record".to_owned(),
        |last| format!("records {first} to {last}: {records} in full, {withheld} by hash"),
    );
    say::line(&format!("{}: {range}", out.display()));
    unvouched_bundles(unvouched);
    say::line(&format!("verify: portcullis verify {} {by}", quoted(&out.display().to_string())));
}

/// A time in UTC: a date, a date and time (RFC 3339), or milliseconds since 1970.
pub(super) fn time(text: &str) -> Result<Millis, String> {
    let millis = |milliseconds: i64| u64::try_from(milliseconds).map_or(None, |at| Some(Millis(at)));
    let date = text
        .parse::<NaiveDate>()
        .map_or(None, |date| millis(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis()));
    let time = || DateTime::parse_from_rfc3339(text).map_or(None, |time| millis(time.timestamp_millis()));
    let number = || text.parse().map_or(None, |at| Some(Millis(at)));
    date.or_else(time).or_else(number).ok_or_else(|| {
        format!("`{text}` is no time; write `2026-11-20`, `2026-11-20T14:00:00Z` or milliseconds since 1970")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_instants_or_milliseconds() {
        assert_eq!(time("1970-01-02"), Ok(Millis(86_400_000)));
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(Millis(0)));
        assert_eq!(time("2026-11-20T14:00:00.5Z"), Ok(Millis(1_795_183_200_500)));
        assert_eq!(time("1795183200500"), Ok(Millis(1_795_183_200_500)));
        for text in ["", "yesterday", "1969-12-31", "2026-13-01", "2026-11-20T14:00:00", "-1", "1.5"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
