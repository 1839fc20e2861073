//! What is read to help whoever writes a bundle: sources of drafts, and files that do not load.

use std::sync::LazyLock;

use annotate_snippets::Renderer;
use portcullis_policy::{Diagnosis, Draft, DraftError, Heading, Label, Snapshot, bundles};
use portcullis_protocol::request::Ask;
use portcullis_protocol::{Decision, Limits, Loose, Request};

use crate::finding::{rendered, text};

static HEADING: LazyLock<Heading> = LazyLock::new(|| Heading {
    name: "draft".to_owned(),
    valid_from: "2026-01-01T00:00:00Z".to_owned(),
    valid_until: "2027-01-01T00:00:00Z".to_owned(),
    agent: "assistant".parse().expect("a name"),
});

/// A draft from a server's tools (`t`), an API's description (`o`) or requests that were seen (`r`): it loads, grants nothing,
/// and grants what it says once that is uncommented. What somebody else says ends no comment.
pub(crate) fn draft(data: &[u8]) {
    let Some((kind, source)) = data.split_first() else { return };
    let drafted = match kind {
        b't' => {
            let Ok(Loose::Array(tools)) = Loose::parse(source, Limits::MESSAGE) else { return };
            Draft::from_tools(&HEADING, "files", &tools, &[])
        }
        b'o' => Draft::from_openapi(&HEADING, "api", source, &[]),
        b'r' => Draft::from_requests(&HEADING, &requests(source)),
        _ => return,
    };
    match drafted {
        Ok(draft) => sound(&draft),
        Err(DraftError::Unsound(why)) => panic!("{why}"),
        Err(_) => {}
    }
}

fn requests(source: &[u8]) -> Vec<Request> {
    let asks = source.split(|byte| *byte == b'\n').filter_map(|line| Ask::parse(line).ok());
    asks.map(|ask| ask.by("assistant".parse().expect("a name"))).collect()
}

fn sound(draft: &Draft) {
    let snapshot = Snapshot::from_files(draft.files.clone()).expect("a draft's files");
    let report = snapshot.check().expect("a draft loads");
    assert_eq!((report.warnings.len(), report.policies.len()), (0, 1));
    let declared: Vec<_> = report.surfaces.keys().cloned().collect();
    assert_eq!(declared, draft.surfaces);
    let tried = snapshot.test().expect("a draft has cases");
    assert!(tried.passed() && tried.cases.iter().all(|case| case.found.decision != Decision::Permit));
    for text in draft.files.values() {
        let text = str::from_utf8(text).expect("a draft is text");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "what steers a terminal");
    }
    let mut files = draft.files.clone();
    let grants = files.get_mut("policies/grants.cedar").expect("grants");
    let uncommented = String::from_utf8(grants.clone()).expect("text").replace("\n//@", "\n@");
    *grants = uncommented.replace("\n//permit", "\npermit").replace("\n//when", "\nwhen").into_bytes();
    let granted = Snapshot::from_files(files).expect("files");
    assert_eq!(granted.check().expect("it loads").policies.len(), 1 + draft.grants);
    let tried = granted.test().expect("it has cases");
    let permitted = tried.cases.iter().filter(|case| case.found.decision == Decision::Permit).count();
    assert_eq!(permitted, draft.grants, "what is uncommented grants what was asked");
}

/// What is wrong with any bytes as any file of a bundle (its path in the first line) is told where loading says that something
/// is, at places that are there, and in a form that steers no terminal.
pub(crate) fn diagnosis(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(path) = str::from_utf8(&data[..end]) else { return };
    let mut files = bundles::demo();
    files.insert(path.to_owned(), data[end + 1..].to_vec());
    let Ok(snapshot) = Snapshot::from_files(files) else { return };
    let found = match (snapshot.check(), snapshot.diagnose()) {
        (Ok(report), Ok(same)) => return assert_eq!(report, same),
        (Err(_), Err(found)) => found,
        (checked, diagnosed) => panic!("{checked:?}, where {diagnosed:?} was told"),
    };
    assert!(!found.is_empty() && found.len() <= 100);
    for found in &found {
        placed(&snapshot, found);
    }
}

fn placed(snapshot: &Snapshot, found: &Diagnosis) {
    assert!(!found.message.is_empty() && !found.remedy.is_empty());
    let source = text(snapshot, &found.file);
    for label in &found.labels {
        let source = source.expect("a place in what is no text");
        position(source, label);
    }
    let shown = rendered(&Renderer::plain(), source, found);
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    if let (Some(first), Some(source)) = (found.labels.first(), source) {
        let line = first.position(source).line;
        assert!(shown.contains(&format!(":{line}:")), "not at line {line}: {shown}");
    }
}

/// Line and column are counted one character after the other.
fn position(source: &str, label: &Label) {
    let there = source.get(label.span.clone()).expect("a span at boundaries of characters");
    let (mut line, mut column) = (1, 1);
    for (_, c) in source.char_indices().take_while(|(at, _)| *at < label.span.start) {
        (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    let at = label.position(source);
    assert_eq!((at.line, at.column, at.length), (line, column, there.chars().count()));
}
