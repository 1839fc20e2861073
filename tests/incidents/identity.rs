//! Who was nobody, and was let in: 22, 25.

use serde_json::json;

use crate::scene::{ALL, Deed, Scene, starts};
use crate::support::http::{get, request};
use crate::support::{Place, text};

#[test]
fn i22_no_credential_is_no_skipped_check() {
    let mut scene = Scene::new();
    let server = scene.daemon.server();
    let body = json!({
        "request": Deed::read().ask(), "attempt": "1".repeat(64), "salt": "2".repeat(64), "gate": "g",
        "deadline_ms": 5000,
    });
    for headers in [
        vec![],
        vec![("authorization", "")],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Bearer null")],
        vec![("authorization", "Bearer undefined")],
        vec![("authorization", "Basic ZGVtby1hZ2VudDo=")],
        vec![("x-api-key", "demo-agent")],
        vec![("x-agent", "demo-agent")],
    ] {
        let answer =
            request(&server, "POST", "/v1/decisions", &headers, body.to_string().as_bytes()).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{headers:?}");
    }
    assert_eq!(get(&server, "/v1/surfaces").unwrap().status, 401);
    // A program that lost its token, or has a made-up one.
    for token in ["", "null", "pcl_0000"] {
        let endpoint = scene.between.url.parse().unwrap();
        let refused = scene.sdk_at(endpoint, token, &Deed::read()).unwrap_err();
        assert_eq!(refused.code().as_str(), "identity.unverified", "{token:?}");
    }
    assert_eq!(scene.ran(), 0);
    assert!(scene.gate.settled(&scene.recording).is_empty());
}

#[test]
fn i22_a_gate_without_its_token_does_not_start() {
    let place = Place::demo();
    let config = text(&place.config_path);
    let token = place.path("keys/demo-agent.token");
    let genuine = std::fs::read_to_string(&token).unwrap();
    let request = text(&place.file("request.json", &Deed::read().ask().to_string()));
    for content in [None, Some(""), Some("\n"), Some("pcl_of_nobody\n")] {
        match content {
            None => std::fs::remove_file(&token).unwrap(),
            Some(content) => {
                use std::os::unix::fs::PermissionsExt;
                std::fs::write(&token, content).unwrap();
                std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        for arguments in [&["mcp", "--config", &config][..], &["decide", "--config", &config, &request]] {
            let (code, said, started) = starts(&place, arguments, &[]);
            assert_eq!((code, started), (Some(1), false), "{content:?} {arguments:?}: {said}");
        }
    }
    std::fs::write(&token, genuine).unwrap();
    let (code, said, _) = starts(&place, &["decide", "--config", &config, &request], &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn i22_without_a_single_agent_everybody_is_nobody() {
    let mut scene = Scene::new();
    let token = scene.place.token("demo-agent");
    let without =
        scene.place.configure("alone.toml", |text| text.split("[agents.").next().unwrap().to_owned());
    crate::support::process::kill(&mut scene.daemon.child);
    let daemon = crate::support::Daemon::with(&without);
    for token in ["", token.as_str()] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answer = request(&daemon.server(), "GET", "/v1/surfaces", &headers, b"").unwrap();
        assert_eq!(answer.status, 401, "{token:?}");
    }
}

#[test]
fn i25_a_mark_that_cannot_be_read_is_not_absent() {
    let mut scene = Scene::new();
    let mark = scene.place.config.data.join("SHUT");
    scene.runs(&ALL, &Deed::read());
    std::fs::create_dir(&mark).unwrap();
    scene.blocked(&ALL, &Deed::read(), "gate.unknown");
    std::fs::remove_dir(&mark).unwrap();
    // A mark that is there shuts, whatever is or is not written in it.
    for content in [&b"an incident"[..], b"", b"\xff\xfe"] {
        std::fs::write(&mark, content).unwrap();
        let code = if content == b"\xff\xfe" { "gate.unknown" } else { "gate.shut" };
        scene.blocked(&ALL, &Deed::read(), code);
    }
    std::fs::remove_file(&mark).unwrap();
    std::os::unix::fs::symlink("/nonexistent", &mark).unwrap();
    scene.blocked(&ALL, &Deed::read(), "gate.unknown");
    std::fs::remove_file(&mark).unwrap();
    scene.runs(&ALL, &Deed::read());
}

#[test]
fn i25_an_agent_that_policy_cannot_look_up_is_not_one_that_nothing_forbids() {
    let mut scene = Scene::new();
    let refused = scene.asks(&Deed::read().ask(), "ghost-agent");
    assert_eq!((refused.status, refused.json()["reason"]["code"].as_str()), (403, Some("identity.unknown")));
    let refused = scene.sdk(&Deed::read(), "ghost-agent").unwrap_err();
    // Its receipt names the agent of the token, which is not the one that the program believes to be.
    assert_eq!(refused.code().as_str(), "receipt.unverifiable");
    // A resource that is not in the entities: a membership test on it would be false without an error.
    let mut ask = Deed::read().ask();
    ask["resource"]["id"] = "demo.elsewhere".into();
    let refused = scene.asks(&ask, "demo-agent");
    assert_eq!(refused.json()["reason"]["code"], "policy.entity_unknown");
    assert_eq!(scene.ran(), 0);
}
