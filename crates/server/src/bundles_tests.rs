use portcullis_arbiter::{Fact, Policy, PolicyNow, Ports, Validity};
use portcullis_policy::Snapshot;

use super::*;
use crate::config::Config;
use crate::offer::Offer;
use crate::setup::{Deployment, demo, deploy};

/// A deployment, and the arbiter's bundles before its log was read.
fn bundles() -> (tempfile::TempDir, Bundles) {
    let folder = tempfile::tempdir().unwrap();
    let config = demo(folder.path(), false).unwrap().config;
    let config = Config::read(&config).unwrap().arbiter().unwrap();
    (folder, Bundles::new(&config))
}

const REQUIRED: &str = "\n[proofs]\nrequired = true\n";
const WAIVED: &str = "\n[proofs]\nrequired = false\n";

type Files = std::collections::BTreeMap<String, Vec<u8>>;

/// A deployment whose pinned bundle has this in its manifest, and the arbiter's bundles before its log was read.
fn bundles_of(said: &str) -> (tempfile::TempDir, Bundles) {
    bundles_from(|files| files.get_mut("bundle.toml").unwrap().extend_from_slice(said.as_bytes()))
}

/// The same, with the demo's bundle changed otherwise.
fn bundles_from(change: impl FnOnce(&mut Files)) -> (tempfile::TempDir, Bundles) {
    let folder = tempfile::tempdir().unwrap();
    let mut bundle = portcullis_policy::bundles::demo();
    change(&mut bundle);
    let agents = ["demo-agent", "stranger-agent"];
    let deployment = Deployment {
        bundle,
        agents: &agents,
        server: "demo",
        listen: "127.0.0.1:0",
        arbiter: None,
        spool: false,
    };
    let path = deploy(folder.path(), &deployment).unwrap().config;
    let config = Config::read(&path).unwrap().arbiter().unwrap();
    (folder, Bundles::new(&config))
}

/// The pinned bundle with another version and this in its manifest, signed and offered.
fn next(bundles: &Bundles, said: &str) -> Offer {
    next_of(bundles, |files| {
        let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
        let manifest = manifest.replace(REQUIRED, "").replace(WAIVED, "");
        files.insert("bundle.toml".into(), format!("{manifest}{said}").into_bytes());
    })
}

/// The pinned bundle changed, under another version, signed and offered.
fn next_of(bundles: &Bundles, change: impl FnOnce(&mut Files)) -> Offer {
    let pinned = Snapshot::read(&bundles.config.bundle).unwrap();
    let files = pinned.files().filter(|(path, _)| *path != "bundle.sig");
    let mut files: Files = files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    change(&mut files);
    let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    files.insert("bundle.toml".into(), manifest.replace("\nversion = 1\n", "\nversion = 9\n").into_bytes());
    let place = bundles.config.data.parent().unwrap().join("next");
    for (path, bytes) in &files {
        std::fs::create_dir_all(place.join(path).parent().unwrap()).unwrap();
        std::fs::write(place.join(path), bytes).unwrap();
    }
    let key = bundles.config.data.parent().unwrap().join("keys/bundle.key");
    crate::making::sign_bundle(&place, &key).unwrap();
    Offer::new(&bundles.config, &Snapshot::read(&place).unwrap()).unwrap()
}

/// The deployment's own bundle, offered.
fn offered(bundles: &Bundles) -> Offer {
    Offer::new(&bundles.config, &Snapshot::read(&bundles.config.bundle).unwrap()).unwrap()
}

/// What the ledger's writer looks at.
fn surroundings(bundles: Bundles) -> crate::surroundings::Surroundings {
    crate::surroundings::Surroundings {
        data: bundles.config.data.clone(),
        facts: Arc::new(crate::facts::Facts::new(&bundles.config)),
        bundles: Arc::new(bundles),
        found: Mutex::default(),
        witnesses: None,
    }
}

const NOW: Option<Millis> = Some(Millis(1_800_000_000_000));

#[test]
fn an_activation_that_was_ordered_before_the_log_was_read_was_held_against_version_0() {
    let (_folder, bundles) = bundles();
    let offer = offered(&bundles);
    assert!(!bundles.knows_the_log());
    let recovering = OrderRefused::Unavailable(ReasonCode::EvidenceRecovering);
    assert_eq!(bundles.make_ready(offer.bundle(), NOW), Err(recovering));
    assert!(!activated_file(&bundles.config.data, &offer.bundle().digest).exists());
    let newer = offer.bundle().version + 1;
    bundles.stands(&Succession { version: newer, ..Succession::default() });
    assert_eq!(bundles.make_ready(offer.bundle(), NOW), Err(OrderRefused::NotNewer));
    // In an empty log every bundle is newer.
    bundles.stands(&Succession::default());
    assert_eq!(bundles.make_ready(offer.bundle(), NOW).map(drop), Ok(()));
}

/// Which name and which demand it has was not asked any more, and a bundle for elsewhere came to decide.
#[test]
fn while_the_pinned_bundle_could_not_be_read_any_other_was_activated() {
    let (_folder, bundles) = bundles();
    bundles.stands(&Succession::default());
    let offer = offered(&bundles);
    let place = bundles.config.bundle.clone();
    let aside = place.with_extension("aside");
    std::fs::rename(&place, &aside).unwrap();
    let activate = || bundles.make_ready(offer.bundle(), NOW).map(drop);
    assert_eq!(activate(), Err(OrderRefused::Bundle(ReasonCode::PolicyMissing)));
    std::fs::rename(&aside, &place).unwrap();
    let manifest = if place.is_dir() { place.join("bundle.toml") } else { place };
    let bytes = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, [&bytes[..], b"\n# other\n"].concat()).unwrap();
    let Err(OrderRefused::Bundle(code)) = activate() else { panic!("activated") };
    assert_eq!(Err(code), bundles.current().map(drop).map_err(|error| error.code()));
    assert!(!activated_file(&bundles.config.data, &offer.bundle().digest).exists());
    std::fs::write(&manifest, bytes).unwrap();
    assert_eq!(activate(), Ok(()));
}

/// A pinned bundle that demands a proof never comes into force by its pin, and so the log does not know of its demand.
#[test]
fn what_a_pinned_bundle_demanded_of_the_one_after_it_bound_nobody() {
    let (unproved, dropped) = (ReasonCode::PolicyUnproved, ReasonCode::PolicyProofsDropped);
    for (pinned, offered, expected) in [
        ("", "", Ok(ProofDemand::Unsaid)),
        (WAIVED, "", Ok(ProofDemand::Waived)),
        (REQUIRED, "", Err(dropped)),
        (REQUIRED, WAIVED, Err(unproved)),
        (REQUIRED, REQUIRED, Err(unproved)),
        ("", REQUIRED, Err(unproved)),
    ] {
        let (_folder, bundles) = bundles_of(pinned);
        bundles.stands(&Succession::default());
        let offer = next(&bundles, offered);
        let ready = bundles.make_ready(offer.bundle(), NOW).map(|ready| ready.vetted.pinned);
        assert_eq!(ready, expected.map_err(OrderRefused::Bundle), "{pinned} then {offered}");
        // Once another is activated its own demand counts.
        let activated = Some(BundleRef { version: 2, ..offer.bundle().clone() });
        bundles.stands(&Succession { version: 2, activated, ..Succession::default() });
        let offer = next(&bundles, offered);
        let ready = bundles.make_ready(offer.bundle(), NOW).map(|ready| ready.vetted.pinned);
        let own =
            if offered == REQUIRED { Err(OrderRefused::Bundle(unproved)) } else { Ok(ProofDemand::Unsaid) };
        assert_eq!(ready, own, "{pinned} then {offered}");
    }
}

/// Takes its cases out of a bundle, and says this of it.
fn without_cases(bundle: &mut Files, said: &str) {
    bundle.retain(|path, _| !path.starts_with("tests/"));
    let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
    let manifest = manifest.replacen("\nversion = ", &format!("\n{said}version = "), 1);
    bundle.insert("bundle.toml".into(), manifest.into_bytes());
}

#[test]
fn a_bundle_whose_case_fails_or_whose_time_is_over_came_into_force() {
    let edited = |path: &str, from: &str, to: &str| {
        let (_folder, bundles) = bundles();
        bundles.stands(&Succession::default());
        let offer = next_of(&bundles, |files| {
            let text = String::from_utf8(files[path].clone()).unwrap();
            assert!(text.contains(from), "{text}");
            files.insert(path.into(), text.replace(from, to).into_bytes());
        });
        bundles.make_ready(offer.bundle(), NOW).map(drop)
    };
    let failing = edited("tests/demo.toml", "amount = \"100.00\"", "amount = \"100.01\"");
    assert_eq!(failing, Err(OrderRefused::CaseFailed));
    let over = edited("bundle.toml", "valid_until = \"2099-", "valid_until = \"2026-");
    assert_eq!(over, Err(OrderRefused::Bundle(ReasonCode::PolicyExpired)));
    assert_eq!(edited("README.md", "\n", "\n "), Ok(()));
}

/// Time passes while a bundle is held.
#[test]
fn a_bundle_whose_time_is_over_went_on_deciding() {
    let (_folder, bundles) = bundles();
    let digest = bundles.current().unwrap().reference().digest;
    let surroundings = surroundings(bundles);
    let ends = 4_070_908_800_000;
    for (now, validity) in
        [(ends - 1, Validity::Valid), (ends, Validity::Expired), (ends + 1, Validity::Expired)]
    {
        let policy = PolicyNow { digest: Some(digest), root: None, policy: Policy::InForce(validity) };
        assert_eq!(surroundings.policy(Millis(now)), Fact::Known(policy), "{now}");
    }
}

/// Nothing was tried of it, and nobody had said that this was meant.
#[test]
fn a_bundle_with_cases_was_followed_by_one_that_has_none() {
    for (said, expected) in
        [("", Err(OrderRefused::Bundle(ReasonCode::PolicyUntested))), ("untested = true\n", Ok(()))]
    {
        let (_folder, bundles) = bundles();
        bundles.stands(&Succession::default());
        let offer = next_of(&bundles, |files| without_cases(files, said));
        assert_eq!(bundles.make_ready(offer.bundle(), NOW).map(drop), expected, "{said}");
        assert_eq!(bundles.current().map(drop), Ok(()), "the one in force stays");
        // However it came to be laid there and on record, it does not decide.
        let activated = Some(offer.bundle().clone());
        let succession = Succession { version: 9, activated, ..Succession::default() };
        bundles.stands(&succession);
        let decides = deciding_source(&bundles.config, &succession).current();
        let decides = decides.map(drop).map_err(|error| OrderRefused::Bundle(error.code()));
        assert_eq!(decides, expected, "{said}");
        assert_eq!(bundles.current().is_ok(), expected.is_ok(), "{said}");
    }
}

#[test]
fn a_pinned_bundle_without_cases_decided_from_the_start() {
    for (said, expected) in [("", Err(ReasonCode::PolicyUntested)), ("untested = true\n", Ok(()))] {
        let (_folder, bundles) = bundles_from(|files| without_cases(files, said));
        assert_eq!(bundles.current().map(drop).map_err(|error| error.code()), expected, "{said}");
        // Another one, which has cases, can be activated in its place.
        bundles.stands(&Succession::default());
        let offer = next_of(&bundles, |files| *files = portcullis_policy::bundles::demo());
        assert_eq!(bundles.make_ready(offer.bundle(), NOW).map(drop), Ok(()), "{said}");
    }
}

/// What was in force before, and is lost, may have demanded a proof of whatever comes after it: a pin is none.
#[test]
fn a_pinned_bundle_decided_after_lost_records_that_may_have_demanded_a_proof() {
    let (_folder, bundles) = bundles();
    let current = || bundles.current().map(drop).map_err(|error| error.code());
    let demand = ProofDemand::Required;
    let stands = |succession: Succession| {
        bundles.stands(&succession);
        let decides = deciding_source(&bundles.config, &succession).current();
        assert_eq!(decides.map(drop).map_err(|error| error.code()), current());
    };
    stands(Succession::default());
    assert_eq!(current(), Ok(()));
    stands(Succession { version: 1, demand, ..Succession::default() });
    assert_eq!(current(), Err(ReasonCode::PolicyUnproved));
    stands(Succession { version: 1, ..Succession::default() });
    assert_eq!(current(), Ok(()));
    // It names the bundle that is to be activated in its place all the same, and so does one that is too old by now.
    for version in [1, 8] {
        stands(Succession { version, demand, ..Succession::default() });
        let offer = next(&bundles, WAIVED);
        let unproved = Err(OrderRefused::Bundle(ReasonCode::PolicyUnproved));
        assert_eq!(bundles.make_ready(offer.bundle(), NOW), unproved, "after version {version}");
    }
}

#[test]
fn after_a_log_was_given_up_no_bundle_was_new_enough_to_take_the_place_of_a_pinned_one_that_is_too_old() {
    let (_folder, bundles) = bundles();
    bundles.stands(&Succession { version: 8, ..Succession::default() });
    assert_eq!(bundles.current().map(drop).map_err(|error| error.code()), Err(ReasonCode::PolicyRolledBack));
    let offer = next(&bundles, "");
    assert_eq!(bundles.make_ready(offer.bundle(), NOW).map(drop), Ok(()));
}

/// After a start the ledger's writer compiled the bundle itself, and all that waited to be recorded waited with it.
#[test]
fn the_ledgers_writer_waited_for_a_bundle_that_had_to_be_compiled() {
    let (_folder, bundles) = bundles();
    let surroundings = surroundings(bundles);
    let now = NOW.unwrap();
    // What was asked of another one is asked again.
    let digest = Some(surroundings.bundles.config.pin);
    let compiled =
        Fact::Known(PolicyNow { digest, root: None, policy: Policy::Refused(ReasonCode::PolicyMissing) });
    assert_eq!(surroundings.policy(now), compiled);
    // It is compiled by somebody else, and then it is in force.
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while surroundings.policy(now) == compiled {
        assert!(std::time::Instant::now() < end, "nobody compiles it");
        std::thread::yield_now();
    }
    let in_force = surroundings.in_force().unwrap().bundle.digest;
    let valid = PolicyNow { digest: Some(in_force), root: None, policy: Policy::InForce(Validity::Valid) };
    assert_eq!(surroundings.policy(now), Fact::Known(valid));
}

/// Each who waited took one of the threads that the runtime has for what blocks, until none was left for anything else.
#[test]
fn those_who_waited_for_a_bundle_took_a_thread_each() {
    let (_folder, bundles) = bundles();
    let bundles = Arc::new(bundles);
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let compiled = bundles.compiled_after();
        let wait = || {
            let bundles = Arc::clone(&bundles);
            tokio::spawn(async move { bundles.ready().await })
        };
        let waiting: Vec<_> = (0..8).map(|_| wait()).collect();
        // On one thread they have all begun before this has: what they took is taken.
        tokio::spawn(async {}).await.unwrap();
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        tokio::spawn(async {}).await.unwrap();
        assert!(!waiting.iter().any(tokio::task::JoinHandle::is_finished), "compiled by one who waits");
        drop(compiled);
        for waiting in waiting {
            assert!(waiting.await.unwrap().is_ok());
        }
    });
}

/// One bundle at a time was compiled: behind one whose compilation did not end no other ever came to decide.
#[tokio::test]
async fn a_bundle_whose_compilation_never_ended_held_up_every_other() {
    let (_folder, bundles) = bundles();
    let hangs = bundles.compiled_after();
    let pinned = Arc::clone(&bundles.deciding().source);
    let succession = Succession::default();
    let other =
        Arc::new(Deciding::new(&bundles.config, Arc::new(bundle_source(&bundles.config)), &succession));
    *bundles.deciding.write().unwrap() = Arc::clone(&other);
    let pin = bundles.config.pin;
    assert_eq!(bundles.look().unwrap_err(), pin);
    let ready = tokio::time::timeout(Duration::from_secs(30), bundles.ready()).await;
    assert_eq!(ready.expect("it waits for the one that hangs").unwrap().reference().digest, pin);
    assert!(pinned.look().is_none(), "the one that hangs is not compiled");
    drop(hangs);
}

#[test]
fn an_offer_goes_away_and_what_was_laid_stays() {
    let (_folder, bundles) = bundles();
    bundles.stands(&Succession::default());
    let offer = offered(&bundles);
    let (file, wanted) = (offer.file.clone(), offer.bundle().clone());
    assert_eq!(bundles.make_ready(&wanted, NOW).map(drop), Ok(()));
    assert!(file.exists());
    drop(offer);
    assert!(!file.exists());
    let missing = OrderRefused::Bundle(ReasonCode::PolicyMissing);
    assert_eq!(bundles.make_ready(&wanted, NOW), Err(missing), "of another time");
    assert!(activated_file(&bundles.config.data, &wanted.digest).exists());
}

#[test]
fn a_pinned_bundle_that_demands_a_proof_itself_decides_nothing() {
    for (said, expected) in [("", Ok(())), (WAIVED, Ok(())), (REQUIRED, Err(ReasonCode::PolicyUnproved))] {
        let (_folder, bundles) = bundles_of(said);
        let config = bundles.config.clone();
        let current = |config: &ArbiterConfig| {
            let deciding = deciding_source(config, &Succession::default());
            deciding.current().map(drop).map_err(|error| error.code())
        };
        assert_eq!(current(&config), expected, "{said}");
        assert_eq!(bundles.current().map(drop).map_err(|error| error.code()), expected, "{said}");
        let mut demanding = config;
        demanding.proofs.required = true;
        assert_eq!(current(&demanding), Err(ReasonCode::PolicyUnproved), "{said}");
    }
}

/// It was read and validated once to see whether a proof is demanded of it, and once more for the order.
#[test]
fn a_bundle_that_was_found_sound_is_not_read_again_for_the_order_unless_anything_of_it_changed() {
    let (_folder, bundles) = bundles();
    bundles.stands(&Succession::default());
    let offer = offered(&bundles);
    let wanted = offer.bundle();
    let ready =
        |wanted: &BundleRef| bundles.make_ready(wanted, NOW).map(|ready| Arc::clone(ready.bundle.archive()));
    let first = ready(wanted).unwrap();
    assert!(Arc::ptr_eq(&first, &ready(wanted).unwrap()), "read again");
    // Everything that an activation asks is asked again.
    let other = BundleRef { version: wanted.version + 1, ..wanted.clone() };
    assert_eq!(ready(&other), Err(OrderRefused::Bundle(ReasonCode::PolicyPinMismatch)));
    assert_eq!(bundles.make_ready(wanted, None), Err(OrderRefused::Bundle(ReasonCode::ClockUnreadable)));
    let expired = bundles.make_ready(wanted, Some(Millis(9_000_000_000_000)));
    assert_eq!(expired, Err(OrderRefused::Bundle(ReasonCode::PolicyExpired)));
    // What was laid is another file, and is laid anew.
    let file = activated_file(&bundles.config.data, &wanted.digest);
    std::fs::write(&file, b"spoiled").unwrap();
    let again = ready(wanted).unwrap();
    assert_eq!((&again, Arc::ptr_eq(&first, &again)), (&first, false));
    assert!(Snapshot::read(&file).is_ok());
    // It is no newer than what came into force meanwhile.
    bundles.stands(&Succession { version: wanted.version + 1, ..Succession::default() });
    assert_eq!(ready(wanted), Err(OrderRefused::NotNewer));
}

#[tokio::test]
async fn a_bundle_that_nobody_activates_is_let_go_of_and_no_other_with_it() {
    let (_folder, bundles) = bundles();
    let bundles = Arc::new(bundles);
    bundles.stands(&Succession::default());
    let offer = offered(&bundles);
    let call = || ProofCall { bundle: offer.bundle().clone(), step: ProofStep::Begin };
    let held = || bundles.state().prepared.get(&offer.bundle().digest);
    assert_eq!(bundles.prove(call(), NOW).await, Ok(ProofReply::NotDemanded));
    let first = held().unwrap();
    assert!(bundles.state().prepared.forget(&first).is_some());
    assert_eq!(bundles.prove(call(), NOW).await, Ok(ProofReply::NotDemanded));
    let second = held().unwrap();
    let (owner, time) = (Arc::downgrade(&bundles), Duration::from_millis(1));
    forget_later(Weak::clone(&owner), Arc::downgrade(&first), time).await;
    assert!(held().is_some_and(|source| Arc::ptr_eq(&source, &second)));
    forget_later(owner, Arc::downgrade(&second), time).await;
    assert!(held().is_none());
}

/// An order that waited in the ledger's queue for longer than a bundle is held had the writer load it again, with every
/// decision behind it.
#[tokio::test]
async fn a_bundle_whose_activation_was_under_way_was_let_go_of_before_it_came_into_force() {
    let (_folder, bundles) = bundles();
    let bundles = Arc::new(bundles);
    bundles.stands(&Succession::default());
    let offer = offered(&bundles);
    let held = || bundles.state().prepared.get(&offer.bundle().digest);
    let forgotten = async |source: &Arc<BundleSource>| {
        forget_later(Arc::downgrade(&bundles), Arc::downgrade(source), Duration::from_millis(1)).await;
        held().is_none()
    };
    bundles.make_ready(offer.bundle(), NOW).unwrap();
    let source = held().unwrap();
    assert!(!forgotten(&source).await, "let go of under way");
    let (activated, version) = (Some(offer.bundle().clone()), offer.bundle().version);
    bundles.stands(&Succession { version, activated, ..Succession::default() });
    assert!(Arc::ptr_eq(&bundles.deciding().source, &source), "loaded again");
    assert!(held().is_none());
    // What the log refused is held no more.
    let (_folder, bundles) = self::bundles();
    bundles.stands(&Succession::default());
    let offer = offered(&bundles);
    let held = || bundles.state().prepared.get(&offer.bundle().digest);
    bundles.make_ready(offer.bundle(), NOW).unwrap();
    assert!(held().is_some());
    bundles.not_activated(&offer.bundle().digest);
    assert!(held().is_none());
}

/// Looking into another bundle let go of the one whose activation waited for the writer, who loaded it again with every decision
/// behind it.
#[tokio::test]
async fn a_proof_of_another_bundle_threw_out_the_one_whose_activation_was_under_way() {
    let (_folder, bundles) = bundles();
    let bundles = Arc::new(bundles);
    bundles.stands(&Succession::default());
    let (ordered, other) = (offered(&bundles), next(&bundles, ""));
    bundles.make_ready(ordered.bundle(), NOW).unwrap();
    let source = bundles.state().prepared.get(&ordered.bundle().digest).unwrap();
    let call = ProofCall { bundle: other.bundle().clone(), step: ProofStep::Begin };
    assert_eq!(bundles.prove(call, NOW).await, Ok(ProofReply::NotDemanded));
    let proved = bundles.state().prepared.get(&other.bundle().digest).unwrap();
    // Nor does the time of the other one end what was ordered, or a refusal of the other one.
    forget_later(Arc::downgrade(&bundles), Arc::downgrade(&proved), Duration::from_millis(1)).await;
    bundles.not_activated(&other.bundle().digest);
    let (activated, version) = (Some(ordered.bundle().clone()), ordered.bundle().version);
    bundles.stands(&Succession { version, activated, ..Succession::default() });
    assert!(Arc::ptr_eq(&bundles.deciding().source, &source), "loaded again");
}

/// What came into force takes with it what is no newer, and leaves what may still come.
#[test]
fn of_several_activations_under_way_each_is_held_until_it_cannot_come_any_more() {
    let (_folder, bundles) = bundles();
    let of = |version: u64| {
        let mut bundle = offered(&bundles).bundle().clone();
        bundle.version = version;
        bundle.digest.0 = portcullis_protocol::Digest::sha256(&version.to_be_bytes());
        let source = Arc::new(bundle_source(&bundles.config));
        (bundle, source)
    };
    let mut prepared = Prepared::default();
    let all: Vec<_> = (1..=6).map(of).collect();
    let left: usize = all[..5]
        .iter()
        .map(|(bundle, source)| prepared.order(bundle.clone(), Arc::clone(source)).len())
        .sum();
    assert_eq!(left, 1, "the oldest of five");
    assert!(prepared.get(&all[0].0.digest).is_none());
    let (taken, left) = prepared.activate(&all[2].0);
    assert!(taken.is_some_and(|taken| Arc::ptr_eq(&taken, &all[2].1)));
    assert_eq!(left.len(), 2, "itself and the one before it");
    assert!(prepared.get(&all[3].0.digest).is_some() && prepared.get(&all[4].0.digest).is_some());
    assert_eq!(prepared.refuse(&all[3].0.digest).len(), 1);
    assert!(prepared.get(&all[3].0.digest).is_none() && prepared.get(&all[4].0.digest).is_some());
    let (taken, _) = prepared.activate(&all[5].0);
    assert!(taken.is_none() && prepared.get(&all[4].0.digest).is_none());
}
