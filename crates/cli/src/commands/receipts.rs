//! `portcullis receipts`

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::{Outcome, ReasonCode, Record};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{
    AttestError, Attestor, Config, LedgerError, LedgerReader, LogView, RecordsError, Row, newest,
    open_cosigned_log, open_ledger,
};

use crate::args::{FormArgs, ReceiptFormat, ReceiptsArgs, ReceiptsCommand};
use crate::say;

pub(crate) fn run(args: &ReceiptsArgs) -> ExitCode {
    let config = match Config::read(&args.config.config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    let ledger = match open_ledger(&config) {
        Ok(ledger) => ledger,
        Err(error) => return say::error(&error),
    };
    match &args.command {
        ReceiptsCommand::List { last, json } => match newest(&ledger, *last) {
            Ok(rows) => list(&rows, *json),
            Err(error) => say::error(&error),
        },
        ReceiptsCommand::Show { id, form } => match Form::new(form, &config) {
            Ok(mut form) => show(&ledger, id, &mut form),
            Err(error) => say::error(&error),
        },
        ReceiptsCommand::Export { directory, form } => match Form::new(form, &config) {
            Ok(mut form) => export(&ledger, directory, &mut form),
            Err(error) => say::error(&error),
        },
    }
}

/// A receipt cannot be given in the form that was asked for.
#[derive(Debug, thiserror::Error)]
enum FormError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Log(#[from] RecordsError),
    #[error(transparent)]
    Attest(#[from] AttestError),
    #[error("an attestation needs --key, the file with the key that signs it")]
    NoKey,
}

/// In which form receipts are given, and under which head.
struct Form {
    attestor: Option<Box<Attestor>>,
    /// The log at the newest cosigned checkpoint: what that covers is proved under it.
    cosigned: Option<LogView>,
}

impl Form {
    fn new(args: &FormArgs, config: &ArbiterConfig) -> Result<Self, FormError> {
        let attestor = match (args.format, &args.key) {
            (ReceiptFormat::TlogProof, _) => None,
            (ReceiptFormat::Dsse, Some(key)) => Some(Box::new(Attestor::new(key, config)?)),
            (ReceiptFormat::Dsse, None) => return Err(FormError::NoKey),
        };
        let cosigned = if args.at_head { None } else { open_cosigned_log(config)? };
        Ok(Self { attestor, cosigned })
    }

    /// How the names of files end.
    const fn ending(&self) -> &'static str {
        if self.attestor.is_some() { "dsse.json" } else { "tlog-proof" }
    }

    /// The receipt of the record at an index.
    fn of(&mut self, ledger: &LedgerReader, seq: u64) -> Result<String, FormError> {
        let receipt = match &self.cosigned {
            Some(view) if seq < view.head().size() => view.receipt(seq)?,
            Some(_) | None => ledger.receipt(seq)?,
        };
        match &mut self.attestor {
            None => Ok(receipt),
            Some(attestor) => Ok(attestor.attest(&receipt)?),
        }
    }
}

fn list(rows: &[Row], json: bool) -> ExitCode {
    for Row { record, outcome } in rows {
        if json {
            let record = Record::Decision(Box::new(record.clone()));
            say::line(&serde_json::json!({ "record": record, "outcome": outcome }).to_string());
            continue;
        }
        let what = record.reason.map_or_else(|| outcome.map_or("open", Outcome::as_str), ReasonCode::as_str);
        let attempt = record.attempt.to_string();
        say::line(&format!(
            "{:>8}  {:<7}  {:<28}  {:<20}  {:<32}  {}",
            record.seq,
            record.decision.as_str(),
            what,
            record.agent.as_str(),
            record.surface.as_str(),
            attempt.get(..12).unwrap_or_default()
        ));
    }
    ExitCode::SUCCESS
}

fn show(ledger: &LedgerReader, id: &str, form: &mut Form) -> ExitCode {
    let seq = match find(ledger, id) {
        Ok(Ok(seq)) => seq,
        Ok(Err(misuse)) => return say::misuse(&misuse),
        Err(error) => return say::error(&error),
    };
    match form.of(ledger, seq) {
        Ok(receipt) => {
            say::line(receipt.trim_end_matches('\n'));
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

/// The decision, late record or list with an index, or the decision whose attempt begins so.
fn find(ledger: &LedgerReader, id: &str) -> Result<Result<u64, String>, LedgerError> {
    if let Ok(seq) = id.parse::<u64>()
        && seq < ledger.head().size()
        && let Record::Decision(_) | Record::Late(_) | Record::Listing(_) = ledger.record(seq)?
    {
        return Ok(Ok(seq));
    }
    let none =
        || format!("no decision has the index or attempt `{id}`; `portcullis receipts list` shows them");
    Ok(match ledger.attempts(id)?.as_slice() {
        [seq] if *seq < ledger.head().size() => match ledger.record(*seq)? {
            Record::Decision(record) if record.attempt.to_string().starts_with(id) => Ok(*seq),
            Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Event(_)
            | Record::Late(_)
            | Record::Listing(_) => Err(none()),
        },
        [] | [_] => Err(none()),
        [_, _, ..] => Err(format!("more than one attempt begins with `{id}`; give more of it")),
    })
}

fn export(ledger: &LedgerReader, directory: &Path, form: &mut Form) -> ExitCode {
    if let Err(error) = std::fs::create_dir_all(directory) {
        return say::misuse(&format!("`{}` cannot be made: {error}", directory.display()));
    }
    let mut written: u64 = 0;
    for tile in 0..ledger.tiles() {
        let records = match ledger.tile(tile) {
            Ok(records) => records,
            Err(error) => return say::error(&error),
        };
        for listed in records {
            let Record::Decision(record) = listed.record else { continue };
            let (decision, ending) = (record.decision.as_str(), form.ending());
            let path = directory.join(format!("{:08}-{decision}.{ending}", record.seq));
            let text = match form.of(ledger, record.seq) {
                Ok(text) => text,
                Err(error) => return say::error(&error),
            };
            if let Err(error) = std::fs::write(&path, text) {
                return say::misuse(&format!("`{}` cannot be written: {error}", path.display()));
            }
            written = written.saturating_add(1);
        }
    }
    say::line(&format!("{written} receipts in {}", directory.display()));
    ExitCode::SUCCESS
}
