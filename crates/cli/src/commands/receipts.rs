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
        ReceiptsCommand::Export { directory, form, json } => match Form::new(form, &config) {
            Ok(mut form) => export(&ledger, directory, &mut form, *json),
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
    #[error("{}", uncovered(*seq, *checkpoint))]
    NotCosigned { seq: u64, checkpoint: Option<u64> },
}

fn uncovered(seq: u64, checkpoint: Option<u64>) -> String {
    let newest = checkpoint.map_or_else(
        || "no checkpoint of this log is cosigned".to_owned(),
        |size| format!("the newest cosigned checkpoint covers {size} records"),
    );
    format!(
        "no cosigned checkpoint covers record {seq}: {newest}; `portcullis log cosign` cosigns the newest head"
    )
}

/// In which form receipts are given, and under which head.
struct Form {
    attestor: Option<Box<Attestor>>,
    /// The log at the newest cosigned checkpoint: what that covers is proved under it.
    cosigned: Option<LogView>,
    /// Whether the newest head was asked for.
    at_head: bool,
    /// Whether nothing is given that no cosigned checkpoint covers.
    demands: bool,
}

impl Form {
    fn new(args: &FormArgs, config: &ArbiterConfig) -> Result<Self, FormError> {
        let attestor = match (args.format, &args.key) {
            (ReceiptFormat::TlogProof, _) => None,
            (ReceiptFormat::Dsse, Some(key)) => Some(Box::new(Attestor::new(key, config)?)),
            (ReceiptFormat::Dsse, None) => return Err(FormError::NoKey),
        };
        let cosigned = if args.at_head { None } else { open_cosigned_log(config)? };
        Ok(Self { attestor, cosigned, at_head: args.at_head, demands: args.cosigned })
    }

    /// Records that the cosigned checkpoint covers, if there is one.
    fn checkpoint(&self) -> Option<u64> {
        self.cosigned.as_ref().map(|view| view.head().size())
    }

    /// Whether a record is proved under a cosigned checkpoint.
    fn is_cosigned(&self, seq: u64) -> bool {
        self.checkpoint().is_some_and(|size| seq < size)
    }

    /// How the names of files end.
    const fn ending(&self) -> &'static str {
        if self.attestor.is_some() { "dsse.json" } else { "tlog-proof" }
    }

    /// The receipt of the record at an index.
    fn of(&mut self, ledger: &LedgerReader, seq: u64) -> Result<String, FormError> {
        let covered = self.is_cosigned(seq);
        let receipt = match &self.cosigned {
            Some(view) if covered => view.receipt(seq)?,
            _ if self.demands => return Err(FormError::NotCosigned { seq, checkpoint: self.checkpoint() }),
            Some(_) | None => ledger.receipt(seq)?,
        };
        match &mut self.attestor {
            None => Ok(receipt),
            Some(attestor) => Ok(attestor.attest(&receipt)?),
        }
    }
}

fn list(rows: &[Row], json: bool) -> ExitCode {
    for Row { record, outcome, simulated } in rows {
        if json {
            let of = if *simulated { Record::Simulation } else { Record::Decision };
            let record = of(Box::new(record.clone()));
            say::line(&serde_json::json!({ "record": record, "outcome": outcome }).to_string());
            continue;
        }
        let became = if *simulated { "would be permitted" } else { outcome.map_or("open", Outcome::as_str) };
        let attempt = record.attempt.to_string();
        // It is found by its index: no attempt of it is in the log's index.
        let (attempt, mark) =
            if *simulated { ("", "simulated") } else { (attempt.get(..12).unwrap_or_default(), "") };
        say::line(&format!(
            "{:>8}  {:<7}  {:<28}  {:<20}  {:<32}  {attempt}{mark}",
            record.seq,
            record.decision.as_str(),
            record.reason.map_or(became, ReasonCode::as_str),
            record.agent.as_str(),
            record.surface.as_str(),
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

/// The decision, late record, list or simulation with an index, or the decision whose attempt begins so.
fn find(ledger: &LedgerReader, id: &str) -> Result<Result<u64, String>, LedgerError> {
    if let Ok(seq) = id.parse::<u64>()
        && seq < ledger.head().size()
        && let Record::Decision(_) | Record::Late(_) | Record::Listing(_) | Record::Simulation(_) =
            ledger.record(seq)?
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
            | Record::Listing(_)
            | Record::Simulation(_) => Err(none()),
        },
        [] | [_] => Err(none()),
        [_, _, ..] => Err(format!("more than one attempt begins with `{id}`; give more of it")),
    })
}

/// How many receipts were written, and of how many records there is none that was asked for.
#[derive(Default)]
struct Exported {
    /// Under the cosigned checkpoint.
    cosigned: u64,
    /// Under the newest head.
    others: u64,
    /// Not written: no cosigned checkpoint covers them, and that was demanded.
    left_out: u64,
}

fn export(ledger: &LedgerReader, directory: &Path, form: &mut Form, json: bool) -> ExitCode {
    if let Err(error) = std::fs::create_dir_all(directory) {
        return say::misuse(&format!("`{}` cannot be made: {error}", directory.display()));
    }
    let mut exported = Exported::default();
    for tile in 0..ledger.tiles() {
        let records = match ledger.tile(tile) {
            Ok(records) => records,
            Err(error) => return say::error(&error),
        };
        for listed in records {
            let (record, kind) = match listed.record {
                Record::Decision(record) => (record, ""),
                Record::Simulation(record) => (record, "simulated-"),
                Record::Outcome(_)
                | Record::Aggregate(_)
                | Record::Event(_)
                | Record::Late(_)
                | Record::Listing(_) => continue,
            };
            let is_cosigned = form.is_cosigned(record.seq);
            if form.demands && !is_cosigned {
                exported.left_out = exported.left_out.saturating_add(1);
                continue;
            }
            let count = if is_cosigned { &mut exported.cosigned } else { &mut exported.others };
            *count = count.saturating_add(1);
            let (decision, ending) = (record.decision.as_str(), form.ending());
            let path = directory.join(format!("{:08}-{kind}{decision}.{ending}", record.seq));
            let text = match form.of(ledger, record.seq) {
                Ok(text) => text,
                Err(error) => return say::error(&error),
            };
            if let Err(error) = std::fs::write(&path, text) {
                return say::misuse(&format!("`{}` cannot be written: {error}", path.display()));
            }
        }
    }
    exported.said(directory, form, json)
}

impl Exported {
    /// Why receipts are not under a cosigned checkpoint, if some are not: for machines, and for people.
    fn why_not(&self, form: &Form) -> Option<(&'static str, String)> {
        if self.others == 0 && self.left_out == 0 {
            return None;
        }
        Some(match form.checkpoint() {
            _ if form.at_head => ("at_head", "--at-head asked for that".to_owned()),
            None => ("none_cosigned", "no checkpoint of this log is cosigned".to_owned()),
            Some(size) => {
                let what = format!("the cosigned checkpoint covers {size} records, and they came later");
                ("newer_than_checkpoint", what)
            }
        })
    }

    /// Says how many of which there are and why, and whether that is what was demanded.
    fn said(&self, directory: &Path, form: &Form, json: bool) -> ExitCode {
        let Self { cosigned, others, left_out } = *self;
        let (written, why) = (cosigned.saturating_add(others), self.why_not(form));
        if json {
            let said = serde_json::json!({
                "directory": directory.display().to_string(), "receipts": written, "cosigned": cosigned,
                "not_cosigned": others, "left_out": left_out, "checkpoint": form.checkpoint(),
                "why_not": why.as_ref().map(|(word, _)| word),
            });
            say::line(&said.to_string());
        } else {
            say::line(&format!("{written} receipts in {}", directory.display()));
            if let Some(size) = form.checkpoint() {
                say::line(&format!("{cosigned} of them under the cosigned checkpoint of {size} records"));
            }
            if let Some((_, why)) = why.as_ref().filter(|_| others > 0) {
                say::line(&format!("{others} of them under the newest head, which nobody cosigned: {why}"));
            }
        }
        match why {
            Some((_, why)) if left_out > 0 => {
                say::misuse(&format!("{left_out} receipts are left out: {why}"))
            }
            Some(_) | None => ExitCode::SUCCESS,
        }
    }
}
