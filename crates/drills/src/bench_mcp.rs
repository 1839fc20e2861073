//! What the gate costs an MCP call: direct and through the gate, over stdio and HTTP, by 1 to many callers, with small results and
//! long ones, in one run; and beside another gateway, if somebody gives one. Or, instead, what memory many calls take.

mod accounts;
mod beside;
mod load;
mod meter;
mod pipe;
mod place;
mod table;
mod tool;
mod web;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use portcullis_server::open_ledger;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::DrillError;
use crate::bench::{resident, sync};
use accounts::{OnRecord, Ran, is_measured};
pub use beside::Beside;
use load::{Got, Road, Scene, Until};
use meter::{Meter, load_average};
use pipe::Pipe;
use place::Place;
use tool::{Asked, BALANCE, STATEMENT};
use web::{Server, Session};

/// Longer than any answer takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// In how many turns the time of a measurement is cut: a machine that changes its pace changes it for all.
const TURNS: u32 = 4;
/// Bare syncs of the disk in each of them.
const SYNCS: u32 = 20;
/// Calls before measuring, at least.
const WARM_UP: u64 = 20;
/// How often it is looked whether outcomes are on record.
const LOOK: Duration = Duration::from_millis(20);

/// How a tool server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Standard input and output.
    Stdio,
    /// Streamable HTTP.
    Http,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `portcullis` program itself.
    pub program: PathBuf,
    /// How long each leg of a row is measured.
    pub each: Duration,
    /// How many callers call at once: a row each.
    pub callers: Vec<u32>,
    /// Over what.
    pub over: Vec<Over>,
    /// Bytes of a long result; `None` for small ones only.
    pub long: Option<u32>,
    /// Instead of all that: so many gated calls over HTTP, and the memory that they take.
    pub calls: Option<u64>,
    /// Another gateway.
    pub beside: Option<Beside>,
    /// Where the tool server over HTTP listens.
    pub upstream: SocketAddr,
    /// JSON instead of text.
    pub json: bool,
}

/// A way to a tool server, and what it is known by.
#[derive(Clone)]
struct Leg {
    name: &'static str,
    road: Road,
    /// The tools' names there.
    tools: (String, String),
    /// The gate's process, of one that is gated.
    gate: Option<u32>,
}

/// What a leg was seen to do in a row.
#[derive(Default)]
struct Seen {
    got: Got,
    meter: Meter,
}

/// A measurement under way. Its processes end with it, and its files go.
struct Bench {
    place: Place,
    legs: BTreeMap<&'static str, Leg>,
    numbers: Arc<AtomicU64>,
    book: BTreeMap<&'static str, Got>,
    bare: (File, Vec<Duration>),
    /// Processes that nobody speaks to otherwise.
    _children: Vec<Child>,
}

/// Measures. `say` gets the report, `note` what is under way.
///
/// # Errors
/// If it could not be carried out, or the accounts do not agree. A call that is refused is counted, and no part of any rate.
pub async fn run(
    options: &Options,
    say: &mut dyn FnMut(&str),
    note: &mut dyn FnMut(&str),
) -> Result<(), DrillError> {
    let mut bench = Bench::start(options, note).await?;
    let load = load_average();
    let mut report = match options.calls {
        Some(calls) => json!({ "memory": bench.fill(options, calls, note).await? }),
        None => json!({ "rows": bench.rows(options, note).await? }),
    };
    if let Some(report) = report.as_object_mut() {
        report.insert("beside".into(), json!(options.beside.as_ref().map(|beside| &beside.name)));
        report.insert("load_average".into(), json!([load, load_average()]));
        report.insert("bare_fdatasync_us".into(), table::spread(&mut bench.bare.1));
        report.insert("resident_kb".into(), bench.memory());
        report.insert("accounts".into(), bench.accounts().await?);
    }
    if options.json {
        say(&report.to_string());
    } else {
        table::print(&report, say);
    }
    Ok(())
}

impl Bench {
    async fn start(options: &Options, note: &mut dyn FnMut(&str)) -> Result<Self, DrillError> {
        let place = Place::start(&options.program, options.long).await?;
        let bare = File::create(place.deployment.directory.join("bare"));
        let bare = (bare.map_err(DrillError::system("making a file"))?, Vec::new());
        let over = |it: Over| options.over.contains(&it) && (options.calls.is_none() || it == Over::Http);
        let mut legs = BTreeMap::new();
        let mut children = Vec::new();
        let tools = (BALANCE.to_owned(), STATEMENT.to_owned());
        if over(Over::Stdio) {
            for (name, command) in [("stdio-direct", place.direct()), ("stdio-gated", place.gated()?)] {
                let pipe = Pipe::start(command).await?;
                let gate = if name == "stdio-gated" { pipe.id() } else { None };
                legs.insert(name, Leg { name, road: Road::Stdio(pipe), tools: tools.clone(), gate });
            }
        }
        if over(Over::Http) || options.calls.is_some() {
            let (child, upstream) = place.tool_server_over_http(options.upstream).await?;
            let (gate, gated) = place.gate_over_http(&upstream).await?;
            for (name, server, gate) in [("http-direct", &upstream, None), ("http-gated", &gated, gate.id())]
            {
                let road = sessions(server, &place.tokens).await?;
                legs.insert(name, Leg { name, road, tools: tools.clone(), gate });
            }
            if let Some(beside) = &options.beside {
                beside.is_another_than(options.upstream)?;
                let leg = beside.leg(&upstream, options.long.is_some(), note).await?;
                legs.insert(leg.name, leg);
            }
            children.extend([child, gate]);
        }
        let (numbers, book) = (Arc::new(AtomicU64::new(1)), BTreeMap::new());
        Ok(Self { place, legs, numbers, book, bare, _children: children })
    }

    async fn rows(
        &mut self,
        options: &Options,
        note: &mut dyn FnMut(&str),
    ) -> Result<Vec<Value>, DrillError> {
        let mut rows = Vec::new();
        for over in &options.over {
            for long in [None, options.long].into_iter().take(if options.long.is_some() { 2 } else { 1 }) {
                for callers in &options.callers {
                    let (what, result) = (table::word(*over), long.unwrap_or_default());
                    note(&format!("{what}, {callers} callers, results of {result} bytes more"));
                    rows.push(self.row(*over, long, *callers, options.each).await?);
                }
            }
        }
        Ok(rows)
    }

    /// All legs of a row, in turns.
    async fn row(
        &mut self,
        over: Over,
        long: Option<u32>,
        callers: u32,
        each: Duration,
    ) -> Result<Value, DrillError> {
        let ways = match over {
            Over::Stdio => ["stdio-direct", "stdio-gated", ""],
            Over::Http => ["http-direct", "http-gated", "beside"],
        };
        let legs: Vec<Leg> = ways.iter().filter_map(|name| self.legs.get(name).cloned()).collect();
        let mut seen: Vec<Seen> = legs.iter().map(|_| Seen::default()).collect();
        let many = size(callers)?;
        let mut clients = Vec::new();
        for leg in &legs {
            let warm = Until::Calls(WARM_UP.max(u64::from(callers)));
            let mut of = leg.road.clients(many)?;
            let got = self.scene(leg, long)?.ask(&mut of, warm).await?;
            clients.push(of);
            self.enter(leg, got);
        }
        let turn = each.checked_div(TURNS).unwrap_or(each);
        for _ in 0..TURNS {
            for ((leg, seen), clients) in legs.iter().zip(&mut seen).zip(&mut clients) {
                let before = self.meter(leg).await?;
                let got = self.scene(leg, long)?.ask(clients, Until::Time(turn)).await?;
                seen.meter.add(self.meter(leg).await?.since(before));
                seen.got.add(got);
            }
            self.sync()?;
        }
        for (leg, seen) in legs.iter().zip(&seen) {
            is_measured((leg.name, leg.gate.is_some()), &seen.got, seen.meter.syncs)?;
        }
        let row = table::row(over, long, callers, &mut seen);
        for (leg, seen) in legs.iter().zip(seen) {
            self.enter(leg, seen.got);
        }
        Ok(row)
    }

    fn scene(&self, leg: &Leg, long: Option<u32>) -> Result<Scene, DrillError> {
        let asked = match long {
            None => Asked::balance(&leg.tools.0),
            Some(bytes) => Asked::statement(&leg.tools.1, size(bytes)?),
        };
        Ok(Scene { leg: leg.name, asked, numbers: Arc::clone(&self.numbers) })
    }

    /// Puts calls into the book.
    fn enter(&mut self, leg: &Leg, mut got: Got) {
        got.waits.clear();
        self.book.entry(leg.name).or_default().add(got);
    }

    fn sync(&mut self) -> Result<(), DrillError> {
        for _ in 0..SYNCS {
            self.bare.1.push(sync(&mut self.bare.0)?);
        }
        Ok(())
    }

    async fn meter(&self, leg: &Leg) -> Result<Meter, DrillError> {
        let Some(gate) = leg.gate else { return Ok(Meter::default()) };
        let health = self.place.deployment.health().await;
        let counted = health.and_then(|health| Some((health.syncs?, health.batches?)));
        // A count that cannot be had is an error: it must not read as none.
        let none = || DrillError::Answer("the arbiter does not say how often it has synced".into());
        Meter::read(counted.ok_or_else(none)?, gate, self.place.arbiter.id())
    }

    /// What gates and daemon hold in memory.
    fn memory(&self) -> Value {
        let gates = self.legs.values().filter_map(|leg| Some((leg.name, resident(Some(leg.gate?)))));
        let mut memory: BTreeMap<_, _> = gates.collect();
        memory.insert("arbiter", resident(self.place.arbiter.id()));
        json!(memory)
    }

    /// Many gated calls over HTTP, and what they take in memory at each power of ten.
    async fn fill(
        &mut self,
        options: &Options,
        calls: u64,
        note: &mut dyn FnMut(&str),
    ) -> Result<Vec<Value>, DrillError> {
        let none = || DrillError::Answer("there is no gate over HTTP".into());
        let leg = self.legs.get("http-gated").cloned().ok_or_else(none)?;
        let callers = size(options.callers.iter().copied().max().unwrap_or(1))?;
        let (scene, mut clients) = (self.scene(&leg, None)?, leg.road.clients(callers)?);
        let (mut made, mut rows, mut next) =
            (0, vec![json!({ "calls": 0, "resident_kb": self.memory() })], 1_000);
        while made < calls {
            let until = calls.min(next);
            note(&format!("{made} of {calls} calls"));
            let before = self.meter(&leg).await?;
            let mut got = scene.ask(&mut clients, Until::Calls(until.saturating_sub(made))).await?;
            let meter = self.meter(&leg).await?.since(before);
            is_measured((leg.name, leg.gate.is_some()), &got, meter.syncs)?;
            rows.push(table::filled(until, &mut got, &meter, self.memory()));
            self.enter(&leg, got);
            self.sync()?;
            (made, next) = (until, next.saturating_mul(10));
        }
        Ok(rows)
    }

    /// Holds what was answered against the tool servers' journals, and those against what is on record.
    async fn accounts(&self) -> Result<Value, DrillError> {
        let settled = async {
            while self.place.deployment.health().await.and_then(|health| health.open_permits) != Some(0) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| DrillError::Answer("the outcomes of calls did not come to be on record".into());
        tokio::time::timeout(PATIENCE, settled).await.map_err(late)?;
        let (mut ran, mut gated, mut legs) = (Ran::default(), 0_u64, BTreeMap::new());
        for journal in ["stdio-direct", "stdio-gated", "http"] {
            let path = self.place.journal(journal);
            if path.exists() {
                ran.read(&path)?;
            }
        }
        for (name, got) in &self.book {
            let count = ran.check(name, got)?;
            if self.legs.get(name).is_some_and(|leg| leg.gate.is_some()) {
                gated = gated.saturating_add(count);
            }
            legs.insert(
                *name,
                json!({ "made": got.made(), "answered": got.ran.len(), "in_the_journal": count, "refusals": got.words }),
            );
        }
        ran.is_done()?;
        let on_record = OnRecord::read(&open_ledger(&self.place.deployment.config)?)?;
        on_record.check(gated)?;
        Ok(json!({ "legs": legs, "gated_calls_that_ran": gated, "on_record": on_record.to_json() }))
    }
}

/// A session for each token.
async fn sessions(server: &Server, tokens: &[String]) -> Result<Road, DrillError> {
    let mut sessions = Vec::new();
    for token in tokens {
        sessions.push(Session::begin(&server.with(token)).await?);
    }
    Ok(Road::Http(sessions))
}

/// The first message of a session.
fn hello(id: u64) -> String {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "bench", "version": "1" } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "initialize", "params": params }).to_string()
}

fn size(number: u32) -> Result<usize, DrillError> {
    usize::try_from(number).map_err(|error| DrillError::Answer(error.to_string()))
}
