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
