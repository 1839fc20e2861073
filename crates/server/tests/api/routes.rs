//! Nobody gets anything, and everything that there is, is known.

use std::collections::BTreeSet;

use portcullis_server::{Caller, ROUTES};
use serde_json::Value;

use crate::support::Served;

/// The endpoints that answer without a token. This list may only become shorter: none of them decides, reveals a
/// record or changes anything.
const WITHOUT_TOKEN: [&str; 4] = ["GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json"];

/// A path with its parameters filled in.
fn filled(path: &str) -> String {
    path.replace("{attempt}", &"0".repeat(64)).replace("{*resource}", "0/000.p/1")
}

#[tokio::test]
async fn no_endpoint_but_the_listed_ones_answers_without_a_token_of_its_kind() {
    let served = Served::start().await;
    let valid = format!("authorization: Bearer {}", served.token("demo-agent"));
    let other = format!("authorization: Bearer {}", served.token("stranger-agent"));
    let operator = format!("authorization: Bearer {}", served.token("operator"));
    let auditor = format!("authorization: Bearer {}", served.token("auditor"));
    let short = valid[..valid.len() - 1].to_owned();
    let digest =
        format!("authorization: Bearer {}", portcullis_server::Agents::digest(&served.token("demo-agent")));
    let basic = valid.replace("Bearer", "Basic");
    let proxied = valid.replacen("authorization", "proxy-authorization", 1);
    let callers: [(&str, Vec<&str>); 16] = [
        ("none", vec![]),
        ("an empty header", vec!["authorization:"]),
        ("no token", vec!["authorization: Bearer"]),
        ("an empty token", vec!["authorization: Bearer "]),
        ("a wrong token", vec!["authorization: Bearer pcl_wrong"]),
        ("a token cut short", vec![&short]),
        ("a token's digest", vec![&digest]),
        ("another scheme", vec![&basic]),
        ("another header", vec![&proxied]),
        ("a cookie", vec!["cookie: authorization=Bearer"]),
        ("the same token twice", vec![&valid, &valid]),
        ("two agents", vec![&valid, &other]),
        ("a wrong token and a right one", vec!["authorization: Bearer x", &valid]),
        ("an operator twice", vec![&operator, &operator]),
        ("an agent and an operator", vec![&valid, &operator]),
        ("an operator whose token has expired", vec!["authorization: Bearer retired"]),
    ];
    let mut unauthenticated = 0;
    for route in ROUTES {
        let name = format!("{} {}", route.method, route.path);
        assert_eq!(route.needs == Caller::Anybody, WITHOUT_TOKEN.contains(&name.as_str()), "{name}");
        assert_eq!(route.needs == Caller::Operator, route.path.starts_with("/v1/operator/"), "{name}");
        for (caller, headers) in &callers {
            let answer = served.ask(route.method, &filled(route.path), headers, b"").await;
            if route.needs == Caller::Anybody {
                assert_eq!(answer.status, 200, "{name} with {caller}");
            } else {
                assert_eq!((answer.status, answer.body.len()), (401, 0), "{name} with {caller}");
                unauthenticated += 1;
            }
        }
        let (theirs, others): (_, &[(&String, u16)]) = match route.needs {
            Caller::Anybody => continue,
            Caller::Agent => (&valid, &[(&operator, 401), (&auditor, 401)]),
            Caller::Auditor => (&auditor, &[(&operator, 401), (&valid, 403), (&other, 403)]),
            Caller::Operator => (&operator, &[(&auditor, 401), (&valid, 403), (&other, 403)]),
        };
        let known = served.ask(route.method, &filled(route.path), &[theirs], b"").await;
        assert!(![401, 403].contains(&known.status), "{name} with a token: {known:?}");
        for (other, refused) in others {
            let answer = served.ask(route.method, &filled(route.path), &[other], b"").await;
            assert_eq!(
                (answer.status, answer.body.len()),
                (*refused, 0),
                "{name} with a token of another kind"
            );
            unauthenticated += 1;
        }
    }
    let counted = served.metric("portcullis_unrecorded_total{reason=\"unauthenticated\"}").await;
    assert_eq!(counted, unauthenticated);
    assert!(
        WITHOUT_TOKEN
            .iter()
            .all(|name| { ROUTES.iter().any(|route| *name == format!("{} {}", route.method, route.path)) })
    );
}

#[tokio::test]
async fn there_is_nothing_but_the_routes() {
    let served = Served::start().await;
    let valid = format!("authorization: Bearer {}", served.token("demo-agent"));
    for route in ROUTES {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            if method != route.method {
                let answer = served.ask(method, &filled(route.path), &[&valid], b"{}").await;
                assert_eq!(answer.status, 405, "{method} {}", route.path);
            }
        }
    }
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/decisions/",
        "/v1//decisions",
        "/V1/decisions",
        "/v2/decisions",
        "/v1/decisions/x",
        "/v1/receipts",
        "/v1/receipts/",
        "/v1/shut",
        "/v1/open",
        "/v1/approvals",
        "/v1/bundle",
        "/v1/keys",
        "/v1/operator",
        "/v1/operator/",
        "/v1/operator/outcomes",
        "/v1/operator/orders/",
        "/admin",
        "/debug",
        "/metrics/",
        "/v1/../healthz",
        "/%2e%2e/etc/passwd",
    ] {
        for method in ["GET", "POST"] {
            let answer = served.ask(method, path, &[&valid], b"{}").await;
            assert_eq!((answer.status, answer.body.len()), (404, 0), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_description_lists_exactly_the_routes_and_which_need_a_token() {
    let served = Served::start().await;
    let described = served.get("/openapi.json", "").await.json();
    assert_eq!(described["security"], serde_json::json!([{ "agent": [] }]), "a token, unless said otherwise");
    let mut listed = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let open =
                operation.get("security").is_some_and(|needed| needed.as_array().is_some_and(Vec::is_empty));
            let needs = match operation.get("security") {
                None => "Agent",
                Some(_) if open => "Anybody",
                Some(needed) if *needed == serde_json::json!([{ "operator": [] }]) => "Operator",
                Some(needed) => {
                    assert_eq!(*needed, serde_json::json!([{ "auditor": [] }]), "{method} {path}");
                    "Auditor"
                }
            };
            let unauthorized = operation["responses"].get("401").is_some();
            assert_eq!(unauthorized, !open, "{method} {path}");
            listed.insert((method.to_uppercase(), path.clone(), needs.to_owned()));
        }
    }
    let routes = ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned(), format!("{:?}", route.needs)));
    assert_eq!(listed, routes.collect());
    assert_references(&described, &described);
}

/// Every reference in the description leads somewhere.
fn assert_references(whole: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref") {
                let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                assert!(whole.pointer(pointer).is_some(), "{reference}");
            }
            members.values().for_each(|member| assert_references(whole, member));
        }
        Value::Array(items) => items.iter().for_each(|item| assert_references(whole, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
