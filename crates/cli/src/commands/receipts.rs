//! `portcullis receipts`

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::{Outcome, ReasonCode, Record};
use portcullis_server::{Config, RecordsError, Row, open_ledger, rows};

use crate::args::{ReceiptsArgs, ReceiptsCommand};
use crate::say;

pub(crate) fn run(args: &ReceiptsArgs) -> ExitCode {
    let config = match Config::read(&args.config.config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    let read = || -> Result<_, RecordsError> {
        let ledger = open_ledger(&config)?;
        let rows = rows(&ledger)?;
        Ok((ledger, rows))
    };
    let (ledger, rows) = match read() {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    match &args.command {
        ReceiptsCommand::List { last, json } => list(&rows, *last, *json),
        ReceiptsCommand::Show { id } => match find(&rows, id) {
            Ok(seq) => match ledger.receipt(seq) {
                Ok(receipt) => {
                    say::line(receipt.trim_end_matches('\n'));
                    ExitCode::SUCCESS
                }
                Err(error) => say::error(&error),
            },
            Err(error) => say::misuse(&error),
        },
        ReceiptsCommand::Export { directory } => export(&rows, directory, |seq| ledger.receipt(seq)),
    }
}

fn list(rows: &[Row], last: usize, json: bool) -> ExitCode {
    let skipped = rows.len().saturating_sub(last);
    for Row { record, outcome } in rows.iter().skip(skipped) {
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

fn find(rows: &[Row], id: &str) -> Result<u64, String> {
    if let Ok(seq) = id.parse::<u64>()
        && rows.iter().any(|row| row.record.seq == seq)
    {
        return Ok(seq);
    }
    let mut found = rows.iter().filter(|row| row.record.attempt.to_string().starts_with(id));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row.record.seq),
        (None, _) => {
            Err(format!("no decision has the index or attempt `{id}`; `portcullis receipts list` shows them"))
        }
        (Some(_), Some(_)) => Err(format!("more than one attempt begins with `{id}`; give more of it")),
    }
}

fn export<E: std::error::Error>(
    rows: &[Row],
    directory: &Path,
    receipt: impl Fn(u64) -> Result<String, E>,
) -> ExitCode {
    if let Err(error) = std::fs::create_dir_all(directory) {
        return say::misuse(&format!("`{}` cannot be made: {error}", directory.display()));
    }
    for Row { record, .. } in rows {
        let path = directory.join(format!("{:08}-{}.tlog-proof", record.seq, record.decision.as_str()));
        match receipt(record.seq) {
            Ok(text) => {
                if let Err(error) = std::fs::write(&path, text) {
                    return say::misuse(&format!("`{}` cannot be written: {error}", path.display()));
                }
            }
            Err(error) => return say::error(&error),
        }
    }
    say::line(&format!("{} receipts in {}", rows.len(), directory.display()));
    ExitCode::SUCCESS
}
