use std::path::Path;
use std::sync::{Arc, Mutex};

use portcullis_policy::bundles;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::sources::Location;

/// What a server does once it has written something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Close,
    /// Writes this for ever, so slowly or as fast as it goes.
    Repeat(&'static [u8], Duration),
}

/// A server that gives each request the next of these answers, the last for ever; and the heads of the requests.
async fn server(answers: Vec<(Vec<u8>, Then)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (answer, then) = answers[answers.len().min(number + 1) - 1].clone();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            tokio::spawn(async move {
                let mut sent = stream.write_all(&answer).await;
                while let Then::Repeat(bytes, pause) = then
                    && sent.is_ok()
                {
                    // tidy: allow a slow server is what is tried
                    tokio::time::sleep(pause).await;
                    sent = stream.write_all(bytes).await;
                }
            });
        }
    });
    (format!("{address}"), heads)
}

/// How long a server may take that is not slow on purpose.
const PATIENCE: Duration = Duration::from_secs(60);

fn source(text: &str, token: Option<&str>) -> Source {
    let Ok(Location::Elsewhere(remote)) = Location::parse(Path::new(text)) else { panic!("{text}") };
    let access = Access { authorities: None, token: token.map(Token::new) };
    let source = Source::new(remote, &access).unwrap();
    Source { patience: PATIENCE, ..source }
}

async fn web(answers: Vec<(Vec<u8>, Then)>, known: Option<&str>) -> (Result<Fetched, SourceError>, String) {
    web_within(PATIENCE, answers, known).await
}

async fn web_within(
    patience: Duration,
    answers: Vec<(Vec<u8>, Then)>,
    known: Option<&str>,
) -> (Result<Fetched, SourceError>, String) {
    let (address, heads) = server(answers).await;
    let source = Source { patience, ..source(&format!("http://{address}/demo.bundle"), None) };
    let fetched = source.fetch(known).await;
    let head = heads.lock().unwrap().concat();
    (fetched, head)
}

fn bundle() -> Vec<u8> {
    Snapshot::from_files(bundles::demo()).unwrap().to_bytes().unwrap()
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_bundle_comes_with_its_mark_and_is_asked_for_by_it() {
    let (fetched, head) =
        web(vec![(answer("200 OK", "etag: \"v1\"\r\n", &bundle()), Then::Close)], None).await;
    let Ok(Fetched::Bundle { snapshot, mark }) = fetched else { panic!("{fetched:?}") };
    assert_eq!(snapshot.to_bytes().unwrap(), bundle());
    assert_eq!(mark.as_deref(), Some("\"v1\""));
    assert!(head.starts_with("GET /demo.bundle HTTP/1.1\r\n") && !head.contains("if-none-match"), "{head}");
    let unchanged = (answer("304 Not Modified", "", b""), Then::Close);
    let (fetched, head) = web(vec![unchanged.clone()], mark.as_deref()).await;
    assert!(matches!(fetched, Ok(Fetched::Unchanged)), "{fetched:?}");
    assert!(head.contains("if-none-match: \"v1\"\r\n"), "{head}");
    // Nothing was known, so nothing can be unchanged.
    let (fetched, _) = web(vec![unchanged], None).await;
    assert_eq!(fetched.unwrap_err().code(), "source.status");
}

#[tokio::test]
async fn each_way_of_not_giving_a_bundle_has_its_own_code() {
    let ends = |bytes: Vec<u8>| (bytes, Then::Close);
    let half = answer("200 OK", "", &bundle())[..bundle().len() / 2].to_vec();
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk: &'static [u8] =
        Box::leak([b"10000\r\n", vec![b' '; 0x10000].as_slice(), b"\r\n"].concat().into());
    let slow = answer("200 OK", "", &bundle())[..100].to_vec();
    let header: &'static [u8] = b"x-padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let far = "location: http://192.0.2.1/demo.bundle\r\n";
    for (sent, code) in [
        (ends(answer("301 Moved Permanently", far, b"")), "source.redirect"),
        (ends(answer("302 Found", "location: /other.bundle\r\n", &bundle())), "source.redirect"),
        (
            ends(answer("401 Unauthorized", "www-authenticate: Bearer realm=\"x\"\r\n", b"")),
            "source.unauthorized",
        ),
        (ends(answer("403 Forbidden", "", b"")), "source.unauthorized"),
        (ends(answer("404 Not Found", "", &bundle())), "source.not_found"),
        (ends(answer("500 Internal Server Error", "", &bundle())), "source.status"),
        (ends(answer("206 Partial Content", "", &bundle())), "source.status"),
        (ends(half), "source.truncated"),
        (ends(Vec::new()), "source.unreachable"),
        (ends(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "source.malformed"),
        ((endless, Then::Repeat(chunk, Duration::ZERO)), "source.too_large"),
        (ends(answer("200 OK", "", &vec![b' '; MAX_ARCHIVE_BYTES + 1])), "source.too_large"),
        ((slow, Then::Repeat(b"a", Duration::from_millis(50))), "source.timeout"),
        (
            (b"HTTP/1.1 200 OK\r\n".to_vec(), Then::Repeat(header, Duration::from_millis(50))),
            "source.timeout",
        ),
        (ends(answer("200 OK", "", b"")), "policy.corrupt"),
        (ends(answer("200 OK", "", b"PK\x03\x04")), "policy.corrupt"),
        (ends(answer("200 OK", "", &[bundle(), vec![b'\n']].concat())), "policy.corrupt"),
    ] {
        let short = code == "source.timeout";
        let patience = if short { Duration::from_millis(500) } else { PATIENCE };
        let (fetched, _) = web_within(patience, vec![sent], None).await;
        assert_eq!(fetched.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_a_credential_is_shown_as_what_it_is() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = source(&format!("http://{gone}/demo.bundle"), None).fetch(None).await;
    assert_eq!(refused.unwrap_err().code(), "source.unreachable");
    for (token, header) in [
        ("s3cret\n", "authorization: Bearer s3cret\r\n"),
        ("aladdin:open sesame", "authorization: Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"),
    ] {
        let (address, heads) = server(vec![(answer("200 OK", "", &bundle()), Then::Close)]).await;
        let source = source(&format!("http://{address}/demo.bundle"), Some(token));
        assert!(source.fetch(None).await.is_ok());
        assert!(heads.lock().unwrap()[0].contains(header), "{:?}", heads.lock().unwrap());
        assert!(!format!("{source:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn what_a_registry_gives_must_be_what_it_was_asked_for() {
    let artifact = Artifact::of(&bundle());
    let manifest = artifact.to_manifest().unwrap();
    let found = Digest::sha256(&manifest);
    let ok = |body: &[u8]| (answer("200 OK", "", body), Then::Close);
    let by = async |reference: String, answers: Vec<_>, known: Option<String>| {
        let (address, heads) = server(answers).await;
        let fetched =
            source(&format!("oci://{address}/team/demo{reference}"), None).fetch(known.as_deref()).await;
        let heads = heads.lock().unwrap();
        let asked: Vec<_> = heads.iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
        (fetched, asked)
    };
    let (fetched, asked) = by(":v1".into(), vec![ok(&manifest), ok(&bundle())], None).await;
    let Ok(Fetched::Bundle { snapshot, mark }) = fetched else { panic!("{fetched:?}") };
    assert_eq!(snapshot.to_bytes().unwrap(), bundle());
    assert_eq!(mark, Some(found.to_string()));
    assert_eq!(
        asked,
        [
            "GET /v2/team/demo/manifests/v1 HTTP/1.1".to_owned(),
            format!("GET /v2/team/demo/blobs/{} HTTP/1.1", artifact.digest)
        ]
    );
    let (fetched, asked) = by(":v1".into(), vec![ok(&manifest)], mark).await;
    assert!(matches!(fetched, Ok(Fetched::Unchanged)) && asked.len() == 1, "{fetched:?}");
    let (fetched, _) = by(format!("@{found}"), vec![ok(&manifest), ok(&bundle())], None).await;
    assert!(fetched.is_ok(), "{fetched:?}");
    let mut other = bundle();
    other[0] ^= 1;
    let (longer, shorter) = ([bundle(), b" ".to_vec()].concat(), bundle()[1..].to_vec());
    for (reference, answers, code) in [
        (format!("@{}", Digest::sha256(b"")), vec![ok(&manifest), ok(&bundle())], "source.digest"),
        (":v1".into(), vec![ok(&manifest), ok(&other)], "source.digest"),
        (":v1".into(), vec![ok(&manifest), ok(&shorter)], "source.digest"),
        (":v1".into(), vec![ok(&manifest), ok(&longer)], "source.too_large"),
        (":v1".into(), vec![ok(b"{}")], "source.manifest"),
        (":v1".into(), vec![ok(&vec![b' '; MAX_MANIFEST_BYTES + 1])], "source.too_large"),
        (":v1".into(), vec![(answer("307 Temporary Redirect", "", b""), Then::Close)], "source.redirect"),
        (
            ":v1".into(),
            vec![ok(&manifest), (answer("307 Temporary Redirect", "", &bundle()), Then::Close)],
            "source.redirect",
        ),
        (
            ":v1".into(),
            vec![ok(&manifest), (answer("404 Not Found", "", b""), Then::Close)],
            "source.not_found",
        ),
        (":v1".into(), vec![(answer("304 Not Modified", "", b""), Then::Close)], "source.status"),
    ] {
        let (fetched, _) = by(reference.clone(), answers, None).await;
        assert_eq!(fetched.unwrap_err().code(), code, "{reference}");
    }
}

/// Registries send one to a storage service for their blobs, and whoever answers for a source to anywhere: to what listens on
/// this machine, with the credential in hand.
#[tokio::test]
async fn whoever_answers_for_a_source_had_its_credential_sent_elsewhere() {
    let (elsewhere, seen) = server(vec![(answer("200 OK", "", &bundle()), Then::Close)]).await;
    let manifest = Artifact::of(&bundle()).to_manifest().unwrap();
    let to = |path: &str| format!("location: http://{elsewhere}{path}\r\n");
    let statuses = [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ];
    for status in statuses {
        let away = (answer(status, &to("/demo.bundle"), &bundle()), Then::Close);
        let (address, _) = server(vec![away.clone()]).await;
        let fetched = source(&format!("http://{address}/demo.bundle"), Some("s3cret")).fetch(None).await;
        assert_eq!(fetched.unwrap_err().code(), "source.redirect", "{status}");
        let blob = vec![(answer("200 OK", "", &manifest), Then::Close), away];
        let (address, _) = server(blob).await;
        let fetched = source(&format!("oci://{address}/team/demo:v1"), Some("s3cret")).fetch(None).await;
        assert_eq!(fetched.unwrap_err().code(), "source.redirect", "{status}");
    }
    assert!(seen.lock().unwrap().is_empty(), "{:?}", seen.lock().unwrap());
}

/// Who is to give a token is said by whoever answers. Nobody is asked for one: it would be for anybody.
#[tokio::test]
async fn whoever_answers_for_a_source_said_who_is_shown_its_credential() {
    let (realm, seen) = server(vec![(answer("200 OK", "", b"{\"token\":\"x\"}"), Then::Close)]).await;
    let challenge = format!(
        "www-authenticate: Bearer realm=\"http://{realm}/token\",service=\"x\",scope=\"repository:team/demo:pull\"\r\n"
    );
    for token in [None, Some("aladdin:open sesame"), Some("s3cret")] {
        let (address, _) = server(vec![(answer("401 Unauthorized", &challenge, b""), Then::Close)]).await;
        let fetched = source(&format!("oci://{address}/team/demo:v1"), token).fetch(None).await;
        assert_eq!(fetched.unwrap_err().code(), "source.unauthorized");
    }
    assert!(seen.lock().unwrap().is_empty(), "{:?}", seen.lock().unwrap());
}
