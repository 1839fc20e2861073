use crate::Snapshot;
use crate::files::Files;
use crate::testing::{GIVEN, defect, edit, files, sourced};

const PATH: &str = "tests/directory.json";

fn case(rest: &str) -> Vec<u8> {
    format!(
        "[[case]]\nname = \"charges\"\nagent = \"bot\"\nsurface = \"pay.charge\"\naction = \"charge\"\n\
         context = {{ amount = \"1.00\", count = 1 }}\nexpect = \"permit\"\n{rest}\n"
    )
    .into_bytes()
}

/// The bundle with a source, and a case that has its facts from this file.
pub(crate) fn tried(facts: &str) -> Files {
    let mut files = sourced("");
    files.insert("tests/pay.toml".into(), case(""));
    files.insert(PATH.into(), facts.as_bytes().to_vec());
    files
}

#[test]
fn facts_of_cases_that_are_none_are_refused_by_their_file() {
    assert!(Snapshot::from_files(tried(GIVEN)).unwrap().test().unwrap().passed());
    let first = |from: &str, to: &str| GIVEN.replacen(from, to, 1);
    for (facts, told) in [
        (String::new(), "not a document of facts: "),
        ("{}".to_owned(), "not a document of facts: `entities` is no array"),
        // What the source itself gives is around the array.
        (
            format!("{{\"v\":1,\"as_of\":\"2026-01-10T12:00:00Z\",\"entities\":{GIVEN}}}"),
            "not a document of facts: `entities` is no array",
        ),
        (first("\"attrs\": {}", "\"attrs\": {}, \"attrs\": {}"), "not a document of facts: "),
        (first("\"attrs\": {}", "\"attrs\": {\"a\": 1.5}"), "not a document of facts: "),
        (first("\"id\": \"rogue\"", "\"id\": \"bot\""), "Agent::\"bot\""),
        (
            first("\"Agent\", \"id\": \"bot\"", "\"Account\", \"id\": \"bot\""),
            "it gives entities of type `Account`, which is not among its types in the bundle",
        ),
        (first("\"attrs\": {}", "\"attrs\": {\"colour\": 1}"), "colour"),
        ("[]".to_owned(), "names `Group::\"suspended\"`, which nobody gives"),
        (first("\"bot\"", "\"ada\""), "is called like person `ada`"),
    ] {
        let found = defect(tried(&facts));
        assert!(found.contains(told), "{found}, and not {told}");
        // What is wrong with all of them together is told of the file of the case.
        assert!(found.starts_with(PATH) || found.starts_with("tests/pay.toml"), "{found}");
    }
    let mut binary = tried(GIVEN);
    binary.insert(PATH.into(), b"[\xff]".to_vec());
    assert!(defect(binary).starts_with(PATH));
}

#[test]
fn a_case_has_the_facts_of_each_source_and_of_none_that_the_bundle_has_not() {
    let with = |rest: &str| {
        let mut files = tried(GIVEN);
        files.insert("tests/pay.toml".into(), case(rest));
        files
    };
    let mut none = tried(GIVEN);
    none.remove(PATH);
    assert!(defect(none).starts_with("tests/directory.json: "), "there is no such file");
    for (rest, told) in [
        ("facts = { payroll = \"directory\" }", "`facts` names `payroll`, which is no source of the bundle"),
        ("facts = { directory = \"nobody\" }", "tests/nobody.json: "),
        ("facts = { directory = \"../entities\" }", "tests/../entities.json: "),
        ("facts = { Directory = \"directory\" }", "source's name"),
        ("facts = \"directory\"", "expected a map"),
    ] {
        let found = defect(with(rest));
        assert!(found.contains(told), "{found}, and not {told}");
    }
    // One that no case has tries nothing.
    let mut spare = tried(GIVEN);
    spare.insert("tests/spare.json".into(), GIVEN.as_bytes().to_vec());
    assert_eq!(defect(spare.clone()), "tests/spare.json: no case has these facts");
    let more = String::from_utf8(case("facts = { directory = \"spare\" }")).unwrap();
    spare.insert("tests/more.toml".into(), more.replace("charges", "charges too").into_bytes());
    assert!(Snapshot::from_files(spare).unwrap().test().unwrap().passed());
    let mut unsourced = files();
    unsourced.insert(PATH.into(), GIVEN.as_bytes().to_vec());
    assert_eq!(defect(unsourced), "tests/directory.json: no case has these facts");
}

/// A case that the facts of another one change is tried by its own.
#[test]
fn each_case_is_asked_by_its_own_facts() {
    let mut files = tried(&GIVEN.replacen("\"parents\": []", SUSPENDED, 1));
    files.insert("tests/free.json".into(), GIVEN.as_bytes().to_vec());
    let free = String::from_utf8(case("facts = { directory = \"free\" }")).unwrap();
    let suspended = String::from_utf8(case("")).unwrap().replace("charges", "suspended");
    let suspended =
        suspended.replace("expect = \"permit\"", "expect = \"deny\"\nreason = \"policy.forbidden\"");
    files.insert("tests/pay.toml".into(), format!("{free}{suspended}").into_bytes());
    let report = Snapshot::from_files(files.clone()).unwrap().test().unwrap();
    assert!(report.passed(), "{report:?}");
    let swapped = edit(files, "tests/pay.toml", "facts = { directory = \"free\" }\n", "");
    let swapped =
        edit(swapped, "tests/pay.toml", "suspended\"\n", "suspended\"\nfacts = { directory = \"free\" }\n");
    let report = Snapshot::from_files(swapped).unwrap().test().unwrap();
    assert_eq!(report.cases.iter().filter(|case| case.passed).count(), 0, "{report:?}");
}

const SUSPENDED: &str = "\"parents\": [{ \"type\": \"Group\", \"id\": \"suspended\" }]";
