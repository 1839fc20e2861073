//! The limits of the worked bundles, held against what their READMEs say.

use std::collections::BTreeMap;
use std::path::Path;

use portcullis_policy::Bundle;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{Outcome, Precondition, Request};

use super::*;
use crate::testing::verified;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const BEGIN: u64 = 1_790_000_000_000;

/// A worked bundle, and what was permitted by it so far.
struct Worked {
    bundle: Bundle,
    standing: Standing,
    next: u64,
}

/// A PERMIT's number, or the limit that refused.
type Weighing = Result<u64, String>;

impl Worked {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name);
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let named = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    files.insert(named, std::fs::read(path).unwrap());
                }
            }
        }
        Self { bundle: verified(files), standing: Standing::new(), next: 0 }
    }

    /// Asks the limits at a time since the beginning; what has room is permitted.
    fn ask(&mut self, agent: &str, surface: &str, context: &str, at: u64) -> Weighing {
        let ask = format!(
            r#"{{"surface":"{surface}","action":"{surface}","resource":{{"type":"Surface","id":"{surface}"}},"context":{context}}}"#
        );
        let request = Request { agent: agent.parse().unwrap(), ask: Ask::parse(ask.as_bytes()).unwrap() };
        let (counting, now) = (self.bundle.counting(&request, None), Millis(BEGIN + at));
        assert!(!counting.is_empty(), "{surface} has no limit");
        match weigh(&counting, &request.agent, &self.standing, now) {
            Weighed::Room(uses) => {
                self.next += 1;
                self.standing.reserve(self.next, &request.agent, now, &uses);
                Ok(self.next)
            }
            Weighed::Full(code, limit, _) => {
                assert_eq!(code.precondition(), Precondition::Limits);
                Err(limit.to_string())
            }
        }
    }

    /// As many as have room, each so long after the one before; and what refused.
    fn fill(
        &mut self,
        agent: &str,
        surface: &str,
        context: &str,
        (from, every): (u64, u64),
    ) -> (u64, String) {
        for count in 0..10_000 {
            match self.ask(agent, surface, context, from + count * every) {
                Ok(permit) => self.standing.end(permit, Outcome::Ok),
                Err(limit) => return (count, limit),
            }
        }
        panic!("nothing bounds {surface}")
    }
}

fn refused(limit: &str) -> Weighing {
    Err(limit.to_owned())
}

fn money(amount: &str, currency: &str) -> String {
    format!(r#"{{"customer":"c","payment":"p","iban":"i","amount":"{amount}","currency":"{currency}"}}"#)
}

#[test]
fn what_is_charged_refunded_and_paid_out_is_bounded_as_the_payments_readme_says() {
    let (charge, refund, payout) = ("payments.charge", "payments.refund", "payments.payout");
    // 20,000.00 EUR charged by an agent in any 24 hours. Each currency has a counter of its own.
    let mut worked = Worked::new("payments");
    let full = worked.fill("billing", charge, &money("500.00", "EUR"), (0, MINUTE));
    assert_eq!(full, (40, "charged-per-day".to_owned()));
    assert_eq!(worked.ask("billing", charge, &money("0.01", "EUR"), 23 * HOUR), refused("charged-per-day"));
    assert!(worked.ask("billing", charge, &money("500.00", "USD"), 23 * HOUR).is_ok());
    assert!(worked.ask("billing-old", charge, &money("500.00", "EUR"), 23 * HOUR).is_ok());
    assert!(worked.ask("billing", charge, &money("500.00", "EUR"), 25 * HOUR).is_ok());
    // One that a limit does not list is refused.
    assert_eq!(worked.ask("billing", charge, &money("1.00", "CHF"), 3 * DAY), refused("charged-per-day"));
    // 5,000.00 EUR refunded by all together.
    let mut worked = Worked::new("payments");
    let full = worked.fill("billing", refund, &money("100.00", "EUR"), (0, MINUTE));
    assert_eq!(full, (50, "refunded-per-day".to_owned()));
    assert_eq!(worked.ask("helpdesk", refund, &money("0.01", "EUR"), HOUR), refused("refunded-per-day"));
    assert!(worked.ask("billing", refund, &money("100.00", "EUR"), 25 * HOUR).is_ok());
    // 50,000.00 EUR paid out in any seven days, one payout at a time.
    let mut worked = Worked::new("payments");
    let first = worked.ask("billing", payout, &money("25000.00", "EUR"), 0).unwrap();
    let early = worked.ask("billing-old", payout, &money("1.00", "USD"), MINUTE);
    assert_eq!(early, refused("one-payout-at-a-time"));
    worked.standing.end(first, Outcome::Ok);
    let full = worked.fill("billing", payout, &money("5000.00", "EUR"), (DAY, MINUTE));
    assert_eq!(full, (5, "paid-out-per-week".to_owned()));
    assert_eq!(worked.ask("billing", payout, &money("0.01", "EUR"), 6 * DAY), refused("paid-out-per-week"));
    assert!(worked.ask("billing", payout, &money("25000.00", "EUR"), 8 * DAY + HOUR).is_ok());
    // The other currencies, which the README leaves to the bundle.
    for (surface, amount, limit, counts) in [
        (charge, "500.00", "charged-per-day", [("USD", 44), ("GBP", 34)]),
        (refund, "100.00", "refunded-per-day", [("USD", 55), ("GBP", 42)]),
        (payout, "1000.00", "paid-out-per-week", [("USD", 55), ("GBP", 42)]),
    ] {
        for (currency, most) in counts {
            let full =
                Worked::new("payments").fill("billing", surface, &money(amount, currency), (0, MINUTE));
            assert_eq!(full, (most, limit.to_owned()), "{currency}");
        }
    }
    // Ten charges and ten refunds of an agent in a minute.
    let mut worked = Worked::new("payments");
    for surface in [charge, refund] {
        let full = worked.fill("billing", surface, &money("1.00", "EUR"), (0, 100));
        assert_eq!(full, (10, "pace".to_owned()), "{surface}");
    }
    assert!(worked.ask("billing-old", charge, &money("1.00", "EUR"), 2_000).is_ok());
    assert!(worked.ask("billing", charge, &money("1.00", "EUR"), 2 * MINUTE).is_ok());
}

#[test]
fn applies_and_scaling_are_bounded_as_the_infra_readme_says() {
    let apply = r#"{"environment":"staging","plan":"p","changes":1,"destroys":0}"#;
    let mut worked = Worked::new("infra");
    let first = worked.ask("deployer", "infra.apply", apply, 0).unwrap();
    assert_eq!(worked.ask("deployer-old", "infra.apply", apply, HOUR), refused("one-apply-at-a-time"));
    // One whose outcome is unknown counts as one that runs.
    worked.standing.end(first, Outcome::Unknown);
    assert_eq!(worked.ask("deployer", "infra.apply", apply, HOUR), refused("one-apply-at-a-time"));
    worked.standing.end(first, Outcome::Ok);
    let full = worked.fill("deployer", "infra.apply", apply, (HOUR, MINUTE));
    assert_eq!(full, (29, "applies-per-day".to_owned()));
    let other = worked.ask("deployer-old", "infra.apply", apply, 2 * HOUR).unwrap();
    worked.standing.end(other, Outcome::Ok);
    let scale = r#"{"environment":"staging","service":"s","replicas":3}"#;
    let full = worked.fill("deployer", "infra.scale", scale, (3 * HOUR, 1_000));
    assert_eq!(full, (6, "scaling-pace".to_owned()));
    assert!(worked.ask("deployer", "infra.apply", apply, 26 * HOUR).is_ok());
}

#[test]
fn what_is_carried_out_is_bounded_as_the_support_and_secrets_readmes_say() {
    for (surface, context, every, expected, again) in [
        (
            "support.read_customer",
            r#"{"customer":"c"}"#,
            1_000,
            (60, "customers-per-hour"),
            HOUR + 5 * MINUTE,
        ),
        (
            "support.send_mail",
            r#"{"domain":"customer.example","attachments":0}"#,
            MINUTE,
            (100, "mail-per-day"),
            26 * HOUR,
        ),
        ("support.fetch", r#"{"url":"https://docs.example.com/"}"#, 10, (30, "fetches"), 2 * MINUTE),
    ] {
        let mut worked = Worked::new("support");
        let (count, limit) = worked.fill("desk-agent", surface, context, (0, every));
        assert_eq!((count, limit.as_str()), expected);
        assert!(worked.ask("desk-agent", surface, context, again).is_ok(), "{surface}");
    }
    let mut worked = Worked::new("secrets");
    let path = r#"{"path":"/kv/web/x"}"#;
    let full = worked.fill("web-deployer", "secrets.read", path, (0, 1_000));
    assert_eq!(full, (40, "reads-per-hour".to_owned()));
    assert!(worked.ask("data-pipeline", "secrets.read", path, MINUTE).is_ok());
    assert!(worked.ask("web-deployer", "secrets.read", path, HOUR + 5 * MINUTE).is_ok());
    assert!(worked.ask("rotator", "secrets.rotate", path, 0).is_ok());
    assert_eq!(worked.ask("rotator", "secrets.rotate", path, DAY), refused("rotations"));
}
