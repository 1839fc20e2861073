use super::*;

#[test]
fn a_proof_is_demanded_by_the_configuration_the_bundle_or_the_one_before_it() {
    use ProofDemand::{Required, Unsaid, Waived};
    let config =
        |required| ProofConfig { required, solver: "/nowhere/cvc5".into(), within: Duration::from_secs(1) };
    for before in [Unsaid, Waived, Required] {
        for next in [Unsaid, Waived, Required] {
            let expected = before == Required || next == Required;
            assert_eq!(demanded(&config(false), before, next).is_some(), expected, "{before:?} {next:?}");
            assert!(demanded(&config(true), before, next).is_some());
        }
    }
}

#[test]
fn a_report_that_is_gone_or_was_changed_proves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let report = Digest::sha256(b"a report");
    assert!(!is_kept(data.path(), &report));
    std::fs::create_dir(data.path().join(PROOFS)).unwrap();
    std::fs::write(proof_file(data.path(), &report), b"a report").unwrap();
    assert!(is_kept(data.path(), &report));
    let job = Job::new(BundleDigest(Digest::sha256(b"a bundle")));
    let proof =
        ProofRef { report, engine: "e".into(), compiler: "c".into(), solver: "s".into(), statements: 1 };
    job.result.set(Ok(proof.clone())).unwrap();
    let config =
        ProofConfig { required: true, solver: "/nowhere/cvc5".into(), within: Duration::from_secs(1) };
    let proving = Proving::new(&config, data.path());
    let digest = job.bundle;
    *proving.job() = Some(Arc::new(job));
    assert_eq!(proving.proof(&digest), Some(proof));
    assert_eq!(proving.proof(&BundleDigest(report)), None, "of another bundle");
    std::fs::write(proof_file(data.path(), &report), b"another report").unwrap();
    assert_eq!(proving.proof(&digest), None);
}

#[test]
fn what_takes_too_long_or_is_waited_for_by_nobody_is_stopped_and_says_so() {
    let within = Duration::from_secs(60);
    let job = Job::new(BundleDigest(Digest::sha256(b"a bundle")));
    job.look_after(within);
    assert!(!job.stop.load(Ordering::Relaxed));
    *job.looked.lock().unwrap() = Instant::now().checked_sub(FORSAKEN).unwrap();
    // Whoever looks is somebody who waits.
    assert_eq!(job.look(), ProofReply::Running { done: 0, total: 0 });
    job.look_after(within);
    assert!(!job.stop.load(Ordering::Relaxed));
    *job.looked.lock().unwrap() = Instant::now().checked_sub(FORSAKEN).unwrap();
    job.look_after(within);
    assert!(job.stop.load(Ordering::Relaxed));
    assert_eq!(job.stopped.get().unwrap(), "nobody waited for it any more");
    let job = Job::new(job.bundle);
    job.look_after(Duration::ZERO);
    assert!(job.stopped.get().unwrap().starts_with("it took longer than"));
}
