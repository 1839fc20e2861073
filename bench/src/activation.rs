//! What a new bundle costs those who ask while it is loaded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_policy::Bundle;
use portcullis_protocol::Verdict;
use serde_json::{Value, json};

use crate::engines::{Ours, signed};
use crate::workload::Workload;

/// Decisions go on in one thread, while another verifies, compiles and puts in force another version.
pub(crate) fn measure(workload: &Workload, before: Duration) -> Value {
    let requests: Vec<_> =
        workload.requests(20_000).iter().map(|asked| (Ours::request(asked), asked.allowed)).collect();
    let load = |version| {
        let (snapshot, trust) = signed(workload, version);
        move || Arc::new(snapshot.verify(&trust).expect("it is signed and pinned"))
    };
    let in_force: Mutex<Arc<Bundle>> = Mutex::new(load(1)());
    let next = load(2);
    let (loading, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut longest = [Duration::ZERO; 2];
            let mut asked = [0_u64; 2];
            for (request, allowed) in requests.iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                let bundle = Arc::clone(&in_force.lock().expect("nobody panicked"));
                let verdict = bundle.evaluate(request).verdict;
                let elapsed = began.elapsed();
                assert_eq!(matches!(verdict, Verdict::Permit(_)), *allowed);
                let phase = usize::from(loading.load(Ordering::Relaxed));
                longest[phase] = longest[phase].max(elapsed);
                asked[phase] += 1;
            }
            (longest, asked)
        });
        std::thread::park_timeout(before);
        loading.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let bundle = next();
        let old = std::mem::replace(&mut *in_force.lock().expect("nobody panicked"), bundle);
        let activated = began.elapsed();
        drop(old);
        ended.store(true, Ordering::Relaxed);
        let (longest, asked) = asking.join().expect("it ended");
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).expect("short");
        json!({
            "engine": "activation", "policies": workload.policies,
            "activated_ms": u64::try_from(activated.as_millis()).expect("short"),
            "asked": asked[1], "longest_us": micros(longest[1]), "longest_before_us": micros(longest[0]),
        })
    })
}
