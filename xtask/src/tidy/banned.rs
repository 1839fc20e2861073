//! Calls that are banned, and what to write instead. Textual: what is banned is an easy way to lose an error,
//! a reproducible decision, or a test's meaning, so a false alarm costs one comment with a reason.

use super::{Allowance, Finding, TextFile, Tree, allowance, paths};
use crate::rust_source::{RustSource, is_ident};

/// Crates that take part in a decision: no clock, no swallowed error, no order that differs from run to run.
const DECISION_CRATES: [&str; 5] =
    ["crates/protocol/", "crates/verify/", "crates/policy/", "crates/arbiter/", "crates/ledger/"];

#[derive(Clone, Copy)]
enum Place {
    /// Every `.rs` file, tests too.
    Everywhere,
    /// Every `.rs` file, tests too, but not the build machinery.
    OutsideXtask,
    /// Tests of any crate.
    Tests,
    /// Production code of the decision crates.
    Decisions,
    /// The same, but files called `clock.rs`.
    DecisionsButClock,
}

struct Ban {
    patterns: &'static [&'static str],
    place: Place,
    instead: &'static str,
}

const BANS: [Ban; 12] = [
    Ban {
        patterns: &["SystemTime::now", "Instant::now"],
        place: Place::DecisionsButClock,
        instead: "take the time as an argument; only clock.rs asks the machine",
    },
    Ban {
        patterns: &[".ok()"],
        place: Place::Decisions,
        instead: "return the error with `?`, or match on it",
    },
    Ban {
        patterns: &[".unwrap_or(", ".unwrap_or_default(", ".unwrap_or_else("],
        place: Place::Decisions,
        instead: "an unknown has no default: return the error, or match and say what each case means",
    },
    Ban {
        patterns: &["HashMap", "HashSet"],
        place: Place::Decisions,
        instead: "use BTreeMap or BTreeSet, whose order is the same in every run",
    },
    Ban {
        patterns: &["anyhow", "Box<dyn Error", "Box<dyn std::error::Error", "Box<dyn core::error::Error"],
        place: Place::Decisions,
        instead: "write an enum of errors, so that each maps to one reason code",
    },
    Ban {
        patterns: &["thread::sleep"],
        place: Place::OutsideXtask,
        instead: "wait for the condition itself: a channel, a child's exit, a line of output",
    },
    Ban {
        // Also where it was imported, and as a wait for what never comes.
        patterns: &["time::sleep(", " sleep(", "(sleep(", "pending::<()>()"],
        place: Place::Tests,
        instead: "wait for the condition itself, under tokio::time::timeout",
    },
    Ban {
        patterns: &["todo!", "unimplemented!"],
        place: Place::Everywhere,
        instead: "write it, or return an error that says it is not supported",
    },
    Ban { patterns: &["dbg!"], place: Place::Everywhere, instead: "remove it" },
    Ban {
        patterns: &["#[ignore"],
        place: Place::Everywhere,
        instead: "run it or delete it; heavy campaigns ask for PORTCULLIS_LONG",
    },
    Ban {
        patterns: &["let _ =", "let _:"],
        place: Place::Everywhere,
        instead: "handle the value, or name why it can go: `drop(value)`",
    },
    Ban {
        patterns: &["#[allow("],
        place: Place::Everywhere,
        instead: "write #[expect(…, reason = \"…\")], which complains once it is no longer needed",
    },
];

impl Place {
    fn covers(self, path: &str, in_test: bool) -> bool {
        let decides = !in_test && DECISION_CRATES.iter().any(|prefix| path.starts_with(prefix));
        match self {
            Self::Everywhere => true,
            Self::OutsideXtask => !path.starts_with("xtask/"),
            Self::Tests => in_test,
            Self::Decisions => decides,
            Self::DecisionsButClock => decides && !path.ends_with("/clock.rs"),
        }
    }
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let rust = tree.texts.iter().filter_map(|file| Some((file, file.rust.as_ref()?)));
    rust.flat_map(|(file, source)| check_file(file, source)).collect()
}

fn check_file(file: &TextFile, source: &RustSource) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Comments on lines of their own speak for the next line of code.
    let mut above: Option<Allowance> = None;
    let lines = file.text.lines().zip(source.code.lines()).zip(source.comments.lines());
    for (index, ((text, code), comment)) in lines.enumerate() {
        let line = index.saturating_add(1);
        if code.trim().is_empty() && !comment.trim().is_empty() {
            above = above.or(given_by(comment));
            continue;
        }
        let given = above.take().or(given_by(comment));
        let bans = bans_on(&file.path, code, source.is_test(line));
        if bans.is_empty() && given.is_some() && paths::offence(text).is_none() {
            findings.push(Finding::new(&file.path, line, "`tidy: allow` allows nothing here; remove it"));
        }
        if given == Some(Allowance::Granted) {
            continue;
        }
        for (pattern, instead) in bans {
            let reason = if given.is_some() { " (`tidy: allow` must say why)" } else { "" };
            let pattern = pattern.trim_matches([' ', '(']);
            findings.push(Finding::new(
                &file.path,
                line,
                format!("`{pattern}` is banned here{reason}; {instead}"),
            ));
        }
    }
    findings
}

/// What a comment allows; documentation that talks about `tidy: allow` allows nothing.
fn given_by(comment: &str) -> Option<Allowance> {
    comment.trim().starts_with("// tidy:").then(|| allowance(comment)).flatten()
}

fn bans_on(path: &str, code: &str, in_test: bool) -> Vec<(&'static str, &'static str)> {
    let active = BANS.iter().filter(|ban| ban.place.covers(path, in_test));
    let patterns = active.flat_map(|ban| ban.patterns.iter().map(|pattern| (*pattern, ban.instead)));
    patterns.filter(|(pattern, _)| contains(code, pattern)).collect()
}

/// Whether `code` has `pattern` with no identifier running on at either end.
fn contains(code: &str, pattern: &str) -> bool {
    let runs_on =
        |edge: Option<char>, next: Option<char>| edge.is_some_and(is_ident) && next.is_some_and(is_ident);
    code.match_indices(pattern).any(|(at, _)| {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        let after = code.get(at.saturating_add(pattern.len())..).and_then(|after| after.chars().next());
        !runs_on(pattern.chars().next(), before) && !runs_on(pattern.chars().next_back(), after)
    })
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    /// Checks one line in a file at `path`; `Some(words)` is the finding expected.
    #[track_caller]
    fn line(path: &str, code: &str, words: Option<&str>) {
        let findings = check(&Tree::of(&[(path, code)]));
        let expected: Vec<_> = words.into_iter().map(|words| (path, 1, words)).collect();
        expect(&findings, &expected);
    }

    #[test]
    fn every_ban_is_found_where_it_holds() {
        for ban in BANS {
            for pattern in ban.patterns {
                let path = match ban.place {
                    Place::Tests => "crates/gate/tests/a.rs",
                    Place::OutsideXtask | Place::Everywhere => "crates/cli/src/a.rs",
                    Place::Decisions | Place::DecisionsButClock => "crates/ledger/src/a.rs",
                };
                line(path, &format!("{pattern} x;"), Some(pattern.trim_matches([' ', '('])));
            }
        }
    }

    #[test]
    fn decision_crates_are_stricter_than_others() {
        line("crates/arbiter/src/a.rs", "let a = b.ok();", Some("`.ok()`"));
        line("crates/server/src/a.rs", "let a = b.ok();", None);
        line("crates/arbiter/tests/a.rs", "let a = b.ok();", None);
        line("crates/ledger/src/clock.rs", "SystemTime::now()", None);
        line("crates/ledger/src/unclock.rs", "SystemTime::now()", Some("take the time"));
        line("crates/policy/src/a.rs", "#[cfg(test)] mod tests { fn f() { a.unwrap_or(1); } }", None);
        line("crates/policy/src/a.rs", "a.ok_or(B)?; a.unwrap_or_else_not(); MyHashMapLike;", None);
    }

    #[test]
    fn tests_do_not_sleep_or_get_ignored() {
        line("crates/sdk/tests/a.rs", "std::thread::sleep(ms);", Some("`thread::sleep`"));
        line("crates/sdk/tests/a.rs", "tokio::time::sleep(ms).await;", Some("`time::sleep`"));
        line("crates/sdk/tests/a.rs", "drop(timeout(ms, sleep(ms)).await);", Some("`sleep`"));
        line("crates/sdk/tests/a.rs", "timeout(ms, pending::<()>()).await;", Some("`pending::<()>()`"));
        line("crates/sdk/src/a.rs", "tokio::time::sleep(ms).await;", None);
        line("xtask/src/a.rs", "thread::sleep(ms);", None);
        line("crates/sdk/tests/a.rs", "#[ignore = \"slow\"]", Some("`#[ignore`"));
    }

    #[test]
    fn comments_and_strings_do_not_count() {
        line("crates/ledger/src/a.rs", "// never todo!() here", None);
        line("crates/ledger/src/a.rs", "f(\"let _ = HashMap\");", None);
        line("crates/ledger/src/a.rs", "let _guard = lock(); let __ = 1;", None);
    }

    #[test]
    fn an_allowance_says_why_and_is_needed() {
        let path = "crates/ledger/src/a.rs";
        line(path, "a.ok(); // tidy: allow the fallback is recorded", None);
        line(path, "a.ok(); // tidy: allow", Some("must say why"));
        line(path, "a.okay(); // tidy: allow it was once", Some("allows nothing"));
        let above = "// tidy: allow the fallback is\n// recorded\na.ok();\na.ok();\n";
        expect(&check(&Tree::of(&[(path, above)])), &[(path, 4, "`.ok()`")]);
    }
}
