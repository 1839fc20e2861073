use portcullis_protocol::wire::ListingReply;
use portcullis_protocol::{BundleDigest, BundleRef, Millis, Snapshots};

use super::*;
use crate::authorizer::Call;
use crate::refusal::Unverifiable;
use crate::testing::{Log, agent, text};

const DEADLINE: Duration = Duration::from_secs(10);

fn listing() -> Listing {
    let tools = ["files/read", "files/write"].map(|tool| tool.parse().unwrap());
    let who = (agent(), Some("maya".parse().unwrap()));
    Listing::new(who, "gate".parse().unwrap(), "files".parse().unwrap(), (tools.into(), 1)).unwrap()
}

/// What the arbiter records of it: `files/read` is shown.
fn record(call: &ListingCall) -> ListingRecord {
    let (shown, hidden) = call.tools.iter().cloned().partition(|tool| tool.as_str() == "files/read");
    let digest = BundleDigest(Digest::sha256(b"bundle"));
    ListingRecord {
        seq: 0,
        time: Millis(1_700_000_000_000),
        agent: agent(),
        acts_for: call.acts_for.clone(),
        gate: call.gate.clone(),
        listing: call.listing,
        server: call.server.clone(),
        shown,
        hidden,
        unnamed: call.unnamed,
        bundle: BundleRef { name: "test".into(), version: 1, digest },
        sources: Snapshots::new(),
        engine: "test".into(),
    }
}

/// What the receipt of a list comes to, once its record was changed before it was signed.
fn redeemed(change: impl FnOnce(&mut ListingRecord)) -> Result<ListingRecord, String> {
    let (log, listing) = (Log::new(), listing());
    let mut record = record(&listing.call(DEADLINE));
    change(&mut record);
    let receipt = text(&log.proof_at(0, &Record::Listing(Box::new(record))));
    listing.redeem(&receipt, &log.trusted()).map_err(|refusal| match refusal {
        Refusal::Unverifiable(Unverifiable { cause }) => cause,
        other @ (Refusal::Blocked(_) | Refusal::Unavailable(_)) => panic!("{other:?}"),
    })
}

#[test]
fn a_list_is_what_its_receipt_says_and_no_other_lists_receipt_passes_for_it() {
    let shown: Vec<String> = redeemed(|_| {}).unwrap().shown.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["files/read"]);
    type Change = fn(&mut ListingRecord);
    let changes: [(&str, Change); 8] = [
        ("list", |record| record.listing = Digest::sha256(b"another")),
        ("agent", |record| record.agent = "other".parse().unwrap()),
        ("principal", |record| record.acts_for = None),
        ("gate", |record| record.gate = "other".parse().unwrap()),
        ("server", |record| {
            record.server = "git".parse().unwrap();
            (record.shown, record.hidden) = Default::default();
        }),
        ("set of tools", |record| record.shown.extend(["files/more".parse().unwrap()])),
        ("set of tools", |record| drop(record.hidden.pop_first())),
        ("set of tools", |record| record.unnamed = 0),
    ];
    for (what, change) in changes {
        assert_eq!(redeemed(change).unwrap_err(), format!("the receipt is for another {what}"));
    }
}

#[test]
fn a_list_of_another_log_or_of_no_list_shows_nothing() {
    let (log, listing) = (Log::new(), listing());
    let record = record(&listing.call(DEADLINE));
    let other = Log::of("gate.example/other", 7);
    let receipt = text(&other.proof_at(0, &Record::Listing(Box::new(record))));
    assert!(listing.redeem(&receipt, &log.trusted()).is_err());
    let attempt = crate::testing::attempt();
    let permit = log.receipt(crate::testing::permit(&attempt.call(DEADLINE), 60_000));
    assert!(self::listing().redeem(&permit, &log.trusted()).is_err());
}

/// An arbiter that answers lists with one receipt, or never.
struct Lists(Option<String>);

impl Authorizer for Lists {
    fn decide(
        &self,
        _: portcullis_protocol::wire::DecisionCall,
    ) -> Call<'_, portcullis_protocol::wire::DecisionReply> {
        Box::pin(std::future::pending())
    }

    fn report(&self, _: crate::OutcomeReport) -> Call<'_, portcullis_protocol::wire::OutcomeReply> {
        Box::pin(std::future::pending())
    }

    fn surfaces(&self) -> Call<'_, portcullis_protocol::SurfaceTable> {
        Box::pin(std::future::pending())
    }

    fn list(&self, _: ListingCall) -> Call<'_, ListingReply> {
        let receipt = self.0.clone();
        Box::pin(async move {
            match receipt {
                Some(receipt) => Ok(ListingReply { receipt }),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test]
async fn a_list_that_is_not_answered_in_time_shows_nothing() {
    let log = Log::new();
    let refused = list(&Lists(None), listing(), &log.trusted(), Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(refused.code(), ReasonCode::ArbiterTimeout);
    let listing = listing();
    let record = record(&listing.call(DEADLINE));
    let receipt = text(&log.proof_at(0, &Record::Listing(Box::new(record))));
    assert!(list(&Lists(Some(receipt)), listing, &log.trusted(), DEADLINE).await.is_ok());
}
