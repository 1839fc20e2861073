//! The log over HTTP: to whom, what of it, and never more than its signed head proves.

use std::collections::BTreeSet;

use portcullis_server::{Config, add_auditor};
use portcullis_verify::layout::{full_tiles, partial_tiles};
use portcullis_verify::{LogPath, StaticLog, StaticLogError, UnverifiedCheckpoint, VerifiedCheckpoint};

use crate::support::{Answer, DEADLINE, Served};

/// A served log of more than a tile's records.
async fn long() -> Served {
    let served = Served::start().await;
    grow(&served, 130).await;
    served
}

/// A PERMIT and its outcome, so many times.
async fn grow(served: &Served, times: usize) {
    for _ in 0..times {
        let report = served.spent(served.read(), portcullis_protocol::Outcome::Ok).await;
        assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    }
}

async fn resource(served: &Served, path: LogPath) -> Answer {
    served.get(&format!("/log/{path}"), "auditor").await
}

async fn head(served: &Served) -> VerifiedCheckpoint {
    let answer = resource(served, LogPath::Checkpoint).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    verified(served, &answer.body)
}

fn verified(served: &Served, note: &[u8]) -> VerifiedCheckpoint {
    let key = std::slice::from_ref(&served.config.log_key);
    UnverifiedCheckpoint::parse(note).unwrap().verify(key).unwrap()
}

/// Everything that a log of this size consists of.
fn all(size: u64) -> Vec<LogPath> {
    let mut paths = partial_tiles(size);
    for (level, count) in full_tiles(size) {
        paths.extend((0..count).map(|index| LogPath::Tile { level, index, width: 256 }));
    }
    let bundles = paths.iter().filter_map(|path| match path {
        LogPath::Tile { level: 0, index, width } => Some(LogPath::Entries { index: *index, width: *width }),
        LogPath::Tile { .. } | LogPath::Checkpoint | LogPath::Entries { .. } => None,
    });
    let bundles: Vec<_> = bundles.collect();
    paths.extend(bundles);
    paths
}

#[tokio::test]
async fn a_served_log_verifies_whole_with_nothing_but_the_key() {
    let served = long().await;
    let head = head(&served).await;
    assert!(head.size() > 256, "{}", head.size());
    let mut files = std::collections::BTreeMap::from([(LogPath::Checkpoint, head.note_bytes().to_vec())]);
    for path in all(head.size()) {
        let answer = resource(&served, path).await;
        assert_eq!(answer.status, 200, "{path}");
        files.insert(path, answer.body);
    }
    let log = StaticLog { keys: &served.config.log_keys, pruned_below: 0, since: &[] };
    let read = |path: &LogPath| Ok::<_, StaticLogError<()>>(files.get(path).cloned());
    assert_eq!(log.verify(read, |_, _| true).unwrap().records(), head.size());
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[tokio::test]
async fn types_and_caching_are_those_of_the_spec_and_private_unless_the_log_is_public() {
    let served = long().await;
    let (text, binary) = ("text/plain; charset=utf-8", "application/octet-stream");
    for (folder, public) in [("private", false), ("public", true)] {
        let served = if public {
            let (folder, mut config) = long().await.stop().await;
            config.log.public = true;
            &Served::over(folder, config).await
        } else {
            &served
        };
        for (path, kind, caching) in [
            ("checkpoint", text, "no-cache".to_owned()),
            ("tile/0/000", binary, format!("{folder}, max-age=31536000, immutable")),
            ("tile/entries/000", binary, format!("{folder}, max-age=31536000, immutable")),
            ("tile/1/000.p/1", binary, format!("{folder}, max-age=3600")),
            ("tile/entries/001.p/1", binary, format!("{folder}, max-age=3600")),
        ] {
            let token = if public { "" } else { "auditor" };
            let answer = served.get(&format!("/log/{path}"), token).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(header(&answer, "content-type"), Some(kind), "{path}");
            assert_eq!(header(&answer, "cache-control"), Some(caching.as_str()), "{path}");
            assert_eq!(header(&answer, "vary"), Some("authorization"), "{path}");
        }
    }
}

#[tokio::test]
async fn the_log_is_shown_to_auditors_and_not_to_agents() {
    let served = Served::start().await;
    for path in ["/log/checkpoint", "/log/tile/0/000.p/1", "/log/tile/entries/000.p/1"] {
        for (token, status) in [
            ("auditor", 200),
            ("former", 401),
            ("nobody's", 401),
            ("", 401),
            ("demo-agent", 403),
            ("stranger-agent", 403),
            ("ghost", 403),
        ] {
            let answer = served.get(path, token).await;
            assert_eq!(answer.status, status, "{path} as `{token}`");
            assert!(status == 200 || answer.body.is_empty(), "{path} as `{token}`");
        }
        let two = ["authorization: Bearer auditor", "authorization: Bearer demo-agent"];
        assert_eq!(served.ask("GET", path, &two, b"").await.status, 401);
    }
    // And an auditor is no agent.
    let call = served.read().call(DEADLINE);
    assert_eq!(served.decide(&call, "auditor").await.status, 401);
    assert_eq!(served.get("/v1/surfaces", "auditor").await.status, 401);
}

#[tokio::test]
async fn nothing_beyond_the_head_and_no_other_spelling_is_served() {
    let served = long().await;
    let size = head(&served).await.size();
    let width = u16::try_from(size % 256).unwrap();
    for path in [
        format!("tile/0/001.p/{}", width + 1),
        "tile/0/001".to_owned(),
        "tile/0/002.p/1".to_owned(),
        "tile/1/000.p/2".to_owned(),
        "tile/1/000".to_owned(),
        "tile/2/000.p/1".to_owned(),
        "tile/63/000.p/1".to_owned(),
        format!("tile/entries/001.p/{}", width + 1),
        "tile/entries/001".to_owned(),
        "tile/0/0".to_owned(),
        "tile/0/x000/000".to_owned(),
        "tile/0/000.p/256".to_owned(),
        "tile/0/%30%30%30".to_owned(),
        "tile/0/000?x".to_owned(),
        "tile/0/000/".to_owned(),
        "tile/0".to_owned(),
        "tile/../checkpoint".to_owned(),
        "tile/entries/../../../etc/passwd".to_owned(),
    ] {
        let answer = served.get(&format!("/log/{path}"), "auditor").await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
    // A part of what is there is what was there once.
    let whole = served.get("/log/tile/0/000", "auditor").await.body;
    for width in [1, 7, 255] {
        let part = served.get(&format!("/log/tile/0/000.p/{width}"), "auditor").await.body;
        assert_eq!(part, whole[..width * 32]);
    }
}

#[tokio::test]
async fn the_log_grows_under_its_readers_and_earlier_tiles_stay() {
    let served = Served::start().await;
    let mut heads = Vec::new();
    let mut parts = BTreeSet::new();
    for _ in 0..4 {
        let now = head(&served).await;
        for path in all(now.size()) {
            parts.insert((path, resource(&served, path).await.body));
        }
        heads.push(now);
        grow(&served, 45).await;
    }
    let (first, last) = (heads.first().unwrap().size(), heads.last().unwrap().size());
    assert!(first < 256 && last > 256, "{first} to {last}");
    for (path, bytes) in parts {
        assert_eq!(resource(&served, path).await.body, bytes, "{path}");
    }
}

#[tokio::test]
async fn pruned_tiles_are_not_served_and_what_is_left_is() {
    let (mut folder, mut config) = long().await.stop().await;
    for (minimum, whole) in [(255, 200), (256, 404), (u64::MAX, 404)] {
        config.log.minimum_index = minimum;
        let served = Served::over(folder, config.clone()).await;
        for path in ["tile/0/000", "tile/entries/000"] {
            let answer = served.get(&format!("/log/{path}"), "auditor").await;
            assert_eq!(answer.status, whole, "{path} below {minimum}");
        }
        for path in ["checkpoint", "tile/1/000.p/1", "tile/0/001.p/1", "tile/entries/001.p/1"] {
            let answer = served.get(&format!("/log/{path}"), "auditor").await;
            assert_eq!(answer.status, 200, "{path} below {minimum}");
        }
        folder = served.stop().await.0;
    }
}

#[tokio::test]
async fn a_head_that_was_taken_away_or_put_back_is_an_error_with_its_code() {
    let served = Served::start().await;
    let anchor = &served.config.anchor;
    let older = std::fs::read(anchor).unwrap();
    grow(&served, 3).await;
    let newer = std::fs::read(anchor).unwrap();
    head(&served).await;
    for (content, code) in [
        (Some(older), "evidence.behind_anchor"),
        (Some(Vec::new()), "evidence.behind_anchor"),
        (None, "evidence.anchor_unwritable"),
    ] {
        match content {
            Some(content) => std::fs::write(anchor, content).unwrap(),
            None => std::fs::remove_file(anchor).unwrap(),
        }
        for path in ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"] {
            let answer = served.get(&format!("/log/{path}"), "auditor").await;
            assert_eq!((answer.status, answer.code().as_str()), (500, code), "{path}");
            assert_eq!(header(&answer, "cache-control"), Some("no-store"));
        }
    }
    std::fs::write(anchor, newer).unwrap();
    head(&served).await;
}

#[tokio::test]
async fn a_new_auditors_token_opens_the_log() {
    let (folder, _) = Served::start().await.stop().await;
    let path = folder.path().join("portcullis.toml");
    let token = add_auditor(&Config::read(&path).unwrap(), &"demo-agent".parse().unwrap()).unwrap();
    let config = Config::read(&path).unwrap().arbiter().unwrap();
    let served = Served::over(folder, config).await;
    let token = std::fs::read_to_string(token).unwrap();
    assert_eq!(served.get("/log/checkpoint", token.trim()).await.status, 200);
    assert_eq!(served.get("/log/checkpoint", "demo-agent").await.status, 403, "the agent of that name");
}
