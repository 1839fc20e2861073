//! The demo: the main job in one run, faults included.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use portcullis_protocol::{Decision, Enforcement, Outcome, ReasonCode, Record};
use portcullis_server::open_ledger;
use portcullis_verify::UnverifiedReceipt;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::DrillError;
use crate::client::Agent;
use crate::deployment::Deployment;
use crate::faults::{Fault, Part};

/// How the demo runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `portcullis` program itself.
    pub program: PathBuf,
    /// Keep the files here.
    pub keep: Option<PathBuf>,
    /// JSON instead of text.
    pub json: bool,
    /// Whether text may be coloured.
    pub colour: bool,
}

/// What a step attempts, and what must come of it.
struct Step {
    title: String,
    tool: &'static str,
    arguments: Value,
    key: Option<&'static str>,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expected {
    reason: Option<ReasonCode>,
    ran: bool,
}

/// What a step came to.
struct Seen {
    decision: Decision,
    reason: Option<ReasonCode>,
    enforcement: Enforcement,
    ran: bool,
    logged: bool,
    /// Whether the log, where it has a record, says what the agent was told.
    agrees: bool,
}

impl Step {
    fn read(title: &str, expected: Option<ReasonCode>) -> Self {
        let arguments = json!({ "account": "acme" });
        let expected = Expected { reason: expected, ran: expected.is_none() };
        Self { title: title.into(), tool: "read_balance", arguments, key: None, expected }
    }

    fn charge(title: &str, amount: &str, key: &'static str, expected: Option<ReasonCode>) -> Self {
        let arguments = json!({ "account": "acme", "amount": amount });
        let expected = Expected { reason: expected, ran: expected.is_none() };
        Self { title: title.into(), tool: "charge", arguments, key: Some(key), expected }
    }

    fn other(title: &str, tool: &'static str, key: &'static str, expected: ReasonCode) -> Self {
        let expected = Expected { reason: Some(expected), ran: false };
        Self { title: title.into(), tool, arguments: json!({ "account": "acme" }), key: Some(key), expected }
    }
}

/// The faults of the demo, each with the code that it must have.
const FAULTS: [(Fault, ReasonCode); 7] = [
    (Fault::Killed, ReasonCode::ArbiterUnreachable),
    (Fault::Hung, ReasonCode::ArbiterTimeout),
    (Fault::Pulled(Part::Policy), ReasonCode::PolicyMissing),
    (Fault::LedgerUnwritable, ReasonCode::EvidenceUnwritable),
    (Fault::Pulled(Part::Key), ReasonCode::SignerUnavailable),
    (Fault::Pulled(Part::Anchor), ReasonCode::EvidenceAnchorUnwritable),
    (Fault::Shut, ReasonCode::GateShut),
];

/// The demo under way.
struct Show<'a> {
    options: &'a Options,
    place: Deployment,
    agent: Agent,
    daemon: Child,
    steps: usize,
    wrong: usize,
    say: &'a mut dyn FnMut(&str),
}

/// Runs the demo. `say` gets one line at a time. Says whether every step went as it must.
///
/// # Errors
/// If the demo could not be carried out.
pub async fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<bool, DrillError> {
    let place = Deployment::new(options.keep.as_deref(), true)?;
    let program = options.program.clone();
    let text =
        program.to_str().ok_or_else(|| DrillError::Answer("the program's path is not UTF-8".into()))?;
    let daemon = place.serve(&program).await?;
    let agent = Agent::start(&program, &place.gate_arguments(text)?, Stdio::null()).await?;
    let mut show = Show { options, place, agent, daemon, steps: 0, wrong: 0, say };
    show.introduce();
    show.ordinary().await?;
    show.nervous().await?;
    show.faults(&program).await?;
    show.finish().await
}

impl Show<'_> {
    fn introduce(&mut self) {
        self.heading("An agent calls tools of an MCP server through the gate");
        self.line(&format!(
            "  {:<46}{:<9}{:<30}{:<10}{}",
            "attempted", "decision", "reason", "enforced", "tool ran (by its own journal)"
        ));
    }

    fn line(&mut self, text: &str) {
        if !self.options.json {
            (self.say)(text);
        }
    }

    fn heading(&mut self, text: &str) {
        let text = if self.options.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
        self.line("");
        self.line(&text);
    }

    async fn ordinary(&mut self) -> Result<(), DrillError> {
        self.step(Step::read("read a balance", None)).await?;
        self.step(Step::charge("charge 12.50", "12.50", "invoice-1", None)).await?;
        self.step(Step::charge("charge 5000.00", "5000.00", "invoice-2", Some(ReasonCode::PolicyNoGrant)))
            .await?;
        self.step(Step::other(
            "delete the account",
            "delete_account",
            "delete-1",
            ReasonCode::PolicyForbidden,
        ))
        .await?;
        self.step(Step::other(
            "call a tool that no rule names",
            "wipe_everything",
            "wipe-1",
            ReasonCode::SurfaceUnknown,
        ))
        .await
    }

    async fn nervous(&mut self) -> Result<(), DrillError> {
        self.heading("A nervous agent repeats itself");
        for turn in ["once more", "and again"] {
            let title = format!("charge 12.50, {turn}");
            self.step(Step::charge(&title, "12.50", "invoice-1", Some(ReasonCode::IdempotencyCompleted)))
                .await?;
        }
        let changed = Some(ReasonCode::IdempotencyConflict);
        self.step(Step::charge("charge 13.00 under the same key", "13.00", "invoice-1", changed)).await?;
        for turn in ["once more", "and again"] {
            self.step(Step::read(&format!("read the balance {turn}"), None)).await?;
        }
        Ok(())
    }

    async fn faults(&mut self, program: &Path) -> Result<(), DrillError> {
        for (fault, code) in FAULTS {
            self.heading(&format!("Then {}", fault.describe()));
            self.place.settled().await?;
            fault.strike(&self.place, &mut self.daemon).await?;
            self.step(Step::read("read the balance", Some(code))).await?;
            fault.mend(&self.place, &mut self.daemon, program).await?;
            self.step(Step::read("read the balance, after it was mended", None)).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), DrillError> {
        let (ran_before, rows_before) = (self.place.ran()?, self.rows()?.len());
        let answer = self.agent.call(step.tool, &step.arguments, step.key).await?;
        let ran = self.place.ran()?.saturating_sub(ran_before);
        let seen = self.seen(&answer, ran, rows_before)?;
        let right = Expected { reason: seen.reason, ran: seen.ran } == step.expected
            && ran <= 1
            && seen.agrees
            && (seen.enforcement == Enforcement::Executed) == seen.ran;
        self.steps = self.steps.saturating_add(1);
        self.wrong = self.wrong.saturating_add(usize::from(!right));
        self.print(&step, &seen, right);
        Ok(())
    }

    /// The decisions on record. While the anchor is away nothing new can be on record.
    fn rows(&self) -> Result<Vec<portcullis_server::Row>, DrillError> {
        if self.place.config.anchor.exists() { self.place.rows() } else { Ok(Vec::new()) }
    }

    fn seen(&self, answer: &Value, ran: usize, rows_before: usize) -> Result<Seen, DrillError> {
        let told = told(answer)?;
        let (decision, reason) = match told {
            Some(code) => (code.decision(), Some(code)),
            None => (Decision::Permit, None),
        };
        // A call that a hung arbiter still had in hand may be refused on record by now, so not every new row is
        // this step's. What executed without a PERMIT on record would be the worst that a gate can do.
        let rows: Vec<_> = self.rows()?.into_iter().skip(rows_before).collect();
        let logged = rows.iter().any(|row| row.record.decision == decision && row.record.reason == reason);
        let permitted = rows.iter().any(|row| row.record.decision == Decision::Permit);
        let agrees = permitted == (decision == Decision::Permit);
        let enforcement = if told.is_none() { Enforcement::Executed } else { Enforcement::Blocked };
        Ok(Seen { decision, reason, enforcement, ran: ran > 0, logged, agrees })
    }

    fn print(&mut self, step: &Step, seen: &Seen, right: bool) {
        let (decision, enforcement) = (seen.decision.as_str(), seen.enforcement.as_str());
        let reason = seen.reason.map_or("", ReasonCode::as_str);
        let captured = if seen.logged { "logged" } else { "none" };
        if self.options.json {
            let step = json!({
                "attempted": step.title, "tool": step.tool, "decision": decision, "reason": seen.reason,
                "enforcement": enforcement, "ran": seen.ran, "captured": captured, "as_expected": right,
            });
            (self.say)(&step.to_string());
            return;
        }
        let colour = match (self.options.colour, right, seen.decision) {
            (false, _, _) => ("", ""),
            (true, false, _) => ("\x1b[1;31m", "\x1b[0m"),
            (true, true, Decision::Permit) => ("\x1b[32m", "\x1b[0m"),
            (true, true, Decision::Deny) => ("\x1b[33m", "\x1b[0m"),
            (true, true, Decision::Silence) => ("\x1b[36m", "\x1b[0m"),
        };
        let ran = if seen.ran { "ran" } else { "did not run" };
        let wrong = if right { "" } else { "  NOT AS IT MUST BE" };
        let text = format!(
            "  {:<46}{}{decision:<9}{}{reason:<30}{enforcement:<10}{ran}, record {captured}{wrong}",
            step.title, colour.0, colour.1
        );
        (self.say)(&text);
    }

    async fn finish(mut self) -> Result<bool, DrillError> {
        self.heading("Offline, with nothing but the log's public key");
        let Self { agent, mut daemon, place, steps, mut wrong, .. } = self;
        agent.end().await?;
        stop(&mut daemon).await?;
        let (verified, permits, executed) = verify_all(&place)?;
        let ran = place.ran()?;
        let sound = executed == ran && permits >= executed;
        wrong = wrong.saturating_add(usize::from(!sound));
        let lines = [
            format!("  {verified} receipts verified, every decision that was logged"),
            format!(
                "  {ran} executions in the tool server's journal, {executed} PERMITs with an outcome in the log"
            ),
            format!("  {} of {steps} steps went as they must", steps.saturating_sub(wrong)),
        ];
        if self.options.json {
            let summary = json!({
                "receipts_verified": verified, "executions": ran, "permits_executed": executed, "steps": steps, "wrong": wrong,
            });
            (self.say)(&summary.to_string());
        } else {
            for line in lines {
                (self.say)(&line);
            }
        }
        if let Some(kept) = &self.options.keep
            && !self.options.json
        {
            (self.say)(&format!("  files are in {}", kept.display()));
        }
        Ok(wrong == 0)
    }
}

/// The code that the agent was told, or `None` if the tool's own result came back.
fn told(answer: &Value) -> Result<Option<ReasonCode>, DrillError> {
    // A replayed result is the tool's own, but nothing ran for it.
    if answer.pointer("/result/_meta/portcullis~1replayed") == Some(&Value::Bool(true)) {
        return Ok(Some(ReasonCode::IdempotencyCompleted));
    }
    match answer.pointer("/result/structuredContent/portcullis/reason/code").and_then(Value::as_str) {
        Some(code) => {
            code.parse().map(Some).map_err(|_| DrillError::Answer(format!("an unknown code: {code}")))
        }
        None if answer.pointer("/result/content").is_some() => Ok(None),
        None => Err(DrillError::Answer(format!("neither a result nor a refusal: {answer}"))),
    }
}

/// Ends the daemon in good order.
async fn stop(daemon: &mut Child) -> Result<(), DrillError> {
    let id = daemon.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        rustix::process::kill_process(id, rustix::process::Signal::TERM)
            .map_err(|error| DrillError::system("stopping the arbiter")(error.into()))?;
    }
    daemon.wait().await.map(drop).map_err(DrillError::system("waiting for the arbiter's end"))
}

/// Verifies the receipt of every decision on record from its bytes. Says how many, how many are PERMITs, and how
/// many of those have run.
fn verify_all(place: &Deployment) -> Result<(usize, usize, usize), DrillError> {
    let ledger = open_ledger(&place.config)?;
    let keys = std::slice::from_ref(&place.config.log_key);
    let (mut verified, mut permits, mut executed) = (0_usize, 0_usize, 0_usize);
    for row in place.rows()? {
        let receipt = ledger.receipt(row.record.seq).map_err(portcullis_server::RecordsError::from)?;
        let record = UnverifiedReceipt::parse(receipt.as_bytes())
            .and_then(|receipt| receipt.verify(keys))
            .and_then(|receipt| receipt.record())
            .map_err(|error| DrillError::Answer(format!("a receipt does not verify: {error}")))?;
        let Record::Decision(decision) = record else {
            return Err(DrillError::Answer("a receipt of a decision holds something else".into()));
        };
        verified = verified.saturating_add(1);
        if decision.decision == Decision::Permit {
            permits = permits.saturating_add(1);
            executed = executed
                .saturating_add(usize::from(matches!(row.outcome, Some(Outcome::Ok | Outcome::Failed))));
        }
    }
    Ok((verified, permits, executed))
}
