use super::*;

#[test]
fn rests_double_with_each_failure_up_to_the_interval_and_differ() {
    let interval = Duration::from_secs(300);
    let within = |failures, seconds: u64| {
        for _ in 0..50 {
            let (rest, middle) = (rest(failures, interval), Duration::from_secs(seconds));
            assert!(rest >= middle * 3 / 4 && rest < middle * 5 / 4, "{failures}: {rest:?}");
        }
    };
    for (failures, seconds) in [(0, 300), (1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (u32::MAX, 300)] {
        within(failures, seconds);
    }
    // No interval is waited for shorter than it is, by a rest that grew beyond it.
    assert!(rest(5, Duration::from_secs(2)) < Duration::from_secs(3));
    let rests: std::collections::BTreeSet<_> = (0..50).map(|_| rest(1, interval)).collect();
    assert!(rests.len() > 5, "those who failed together would come back together");
}

/// Compiling it took a thread of the runtime's, and all that it would have done, for as long as that took.
#[test]
fn looking_whether_the_pinned_bundle_was_there_compiled_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::setup::demo(folder.path(), false).unwrap().config;
    let config = crate::config::Config::read(&config).unwrap().arbiter().unwrap();
    let bundles = Bundles::new(&config);
    let compiled = bundles.compiled_after();
    assert!(!is_lacking(&bundles), "one that is still compiled is there");
    assert!(bundles.look().is_err(), "compiled by who only looks");
    let away = config.bundle.with_extension("away");
    std::fs::rename(&config.bundle, &away).unwrap();
    assert!(is_lacking(&bundles));
    drop(compiled);
}

/// Whoever was told of a newer bundle tried to activate it, and was refused.
#[test]
fn a_bundle_at_a_source_that_has_expired_was_told_as_newer() {
    let digest = |byte| BundleDigest(portcullis_protocol::Digest::from_bytes([byte; 32]));
    let bundle = |version, byte| BundleRef { name: "demo".into(), version, digest: digest(byte) };
    let (in_force, newer, until) = (bundle(1, 1), bundle(2, 2), Millis(1_000));
    let told = |found: &BundleRef, now: Option<u64>| {
        let told = beside((found, until), Some(&in_force), (digest(1), now.map(Millis)));
        told.map_err(|(code, _)| code)
    };
    assert_eq!(told(&newer, Some(999)), Ok("newer"));
    assert_eq!(told(&newer, Some(1_000)), Err("policy.expired"));
    // Without a clock it is not known, and nothing is activated then.
    assert_eq!(told(&newer, None), Ok("newer"));
    // What is refused for another reason is refused for that, and that the one in force has expired is told elsewhere.
    assert_eq!(told(&bundle(0, 3), Some(1_000)), Err("policy.rolled_back"));
    assert_eq!(told(&in_force, Some(1_000)), Ok("same"));
}
