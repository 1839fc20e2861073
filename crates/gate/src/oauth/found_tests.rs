use serde_json::{Value, json};

use super::*;

const URL: &str = "https://tools.example/a/mcp";
const ISSUER: &str = "https://auth.example/t";

fn url(text: &str) -> ServerUrl {
    text.parse().unwrap()
}

fn places(places: Result<Vec<ServerUrl>, LoginError>) -> Vec<String> {
    places.unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn metadata_is_looked_for_where_the_specifications_put_it_in_their_order() {
    assert_eq!(
        places(resource_places(&url("https://tools.example/a/mcp?x=1"))),
        [
            "https://tools.example/.well-known/oauth-protected-resource/a/mcp",
            "https://tools.example/.well-known/oauth-protected-resource",
        ]
    );
    let root = ["https://tools.example:8443/.well-known/oauth-protected-resource"];
    assert_eq!(places(resource_places(&url("https://tools.example:8443/"))), root);
    assert_eq!(
        places(server_places(&url(ISSUER))),
        [
            "https://auth.example/.well-known/oauth-authorization-server/t",
            "https://auth.example/.well-known/openid-configuration/t",
            "https://auth.example/t/.well-known/openid-configuration",
        ]
    );
    assert_eq!(
        places(server_places(&url("https://auth.example"))),
        [
            "https://auth.example/.well-known/oauth-authorization-server",
            "https://auth.example/.well-known/openid-configuration",
        ]
    );
}

#[test]
fn metadata_that_a_server_names_is_at_its_own_origin() {
    let of = |place: &str| of_origin(&url(URL), place).is_ok();
    assert!(of("https://tools.example/.well-known/x") && of("https://TOOLS.example/y"));
    for other in [
        "https://evil.example/",
        "https://tools.example:444/",
        "http://127.0.0.1/",
        "/x",
        "https://tools.example@evil.example/",
    ] {
        assert!(!of(other), "{other}");
    }
}

#[test]
fn tokens_for_a_resource_are_for_the_server_only_if_it_is_that_or_below_it() {
    for resource in [
        URL,
        "https://tools.example/a",
        "https://tools.example/a/",
        "https://tools.example",
        "https://tools.example/",
    ] {
        assert!(covers(resource, &url(URL)), "{resource}");
    }
    for other in [
        "https://tools.example/a/m",
        "https://tools.example/a/mcp/x",
        "https://tools.example/b/mcp",
        "https://other.example/a/mcp",
        "http://tools.example/a/mcp",
        "https://tools.example:444/a/mcp",
        "https://tools.example/a/mcp?x=1",
        "tools",
        "",
    ] {
        assert!(!covers(other, &url(URL)), "{other}");
    }
    assert!(covers("https://tools.example/a/mcp?x=1", &url("https://tools.example/a/mcp?x=1")));
}

fn resource_said(change: impl FnOnce(&mut Value)) -> Result<Resource, LoginError> {
    let mut said = json!({ "resource": URL, "authorization_servers": [ISSUER, "https://other.example"],
        "scopes_supported": ["read"], "bearer_methods_supported": ["header"], "other": 1 });
    change(&mut said);
    read_resource(&url(URL), said.to_string().as_bytes(), &Challenge::default())
}

#[test]
fn a_tool_server_that_is_another_or_names_nobody_is_not_logged_in_to() {
    let expected = Resource { id: URL.into(), issuer: ISSUER.into(), scopes: vec!["read".into()] };
    assert_eq!(resource_said(|_| {}), Ok(expected));
    let other = resource_said(|said| said["resource"] = json!("https://evil.example/a/mcp"));
    assert!(matches!(other, Err(LoginError::OtherResource(_, _))), "{other:?}");
    type Change = fn(&mut Value);
    let cases: [Change; 5] = [
        |said| said["authorization_servers"] = json!([]),
        |said| drop(said.as_object_mut().unwrap().remove("authorization_servers")),
        |said| said["bearer_methods_supported"] = json!(["body"]),
        |said| said["resource"] = json!(1),
        |said| *said = json!([]),
    ];
    for change in cases {
        assert!(matches!(resource_said(change), Err(LoginError::Strange(_))));
    }
    // What the challenge asks for counts before all that there is.
    let challenge = Challenge { metadata: None, scope: Some("write  read".into()) };
    let said = json!({ "resource": URL, "authorization_servers": [ISSUER], "scopes_supported": ["all"] });
    let scopes = read_resource(&url(URL), said.to_string().as_bytes(), &challenge).unwrap().scopes;
    assert_eq!(scopes, ["write", "read"]);
}

fn server_said(of: &str, change: impl FnOnce(&mut Value)) -> Result<Server, LoginError> {
    let mut said = json!({ "issuer": ISSUER, "authorization_endpoint": "https://auth.example/t/auth?a=1",
        "token_endpoint": "https://auth.example/t/token", "registration_endpoint": "https://auth.example/t/reg",
        "code_challenge_methods_supported": ["plain", "S256"], "response_types_supported": ["code"], "other": {} });
    change(&mut said);
    read_server(&url(of), ISSUER, said.to_string().as_bytes())
}

#[test]
fn an_authorization_server_that_is_another_or_leaves_codes_open_or_is_in_the_clear_is_not_asked() {
    let server = server_said(URL, |_| {}).unwrap();
    assert_eq!(server.token.to_string(), "https://auth.example/t/token");
    assert!(server.registration.is_some() && !server.names_itself && !server.gives_offline_access);
    for issuer in ["https://auth.example/t/", "https://auth.example", "https://evil.example/t"] {
        let other = server_said(URL, |said| said["issuer"] = json!(issuer));
        assert!(matches!(other, Err(LoginError::OtherIssuer(_, _))), "{issuer}: {other:?}");
    }
    type Change = fn(&mut Value);
    let cases: [Change; 3] = [
        |said| said["code_challenge_methods_supported"] = json!(["plain"]),
        |said| said["code_challenge_methods_supported"] = json!([]),
        |said| drop(said.as_object_mut().unwrap().remove("code_challenge_methods_supported")),
    ];
    for change in cases {
        assert!(matches!(server_said(URL, change), Err(LoginError::NoPkce(_))));
    }
    for endpoint in ["authorization_endpoint", "token_endpoint", "registration_endpoint"] {
        for text in [
            "http://auth.example/t",
            "http://127.0.0.1:1/t",
            "javascript:alert(1)",
            "https://a@auth.example/",
            "https://auth.example/#x",
            "",
        ] {
            let said = server_said(URL, |said| said[endpoint] = json!(text));
            assert!(matches!(said, Err(LoginError::BadUrl(_, _))), "{endpoint} {text}: {said:?}");
        }
        // On this machine, for a server on this machine.
        assert!(
            server_said("http://127.0.0.1:2/mcp", |said| said[endpoint] = json!("http://127.0.0.1:1/t"))
                .is_ok()
        );
    }
    assert!(server_said(URL, |said| said["response_types_supported"] = json!(["token"])).is_err());
}

#[test]
fn an_issuer_was_another_because_a_library_wrote_its_empty_path_as_a_slash() {
    assert!(is_same("https://auth.example", "https://auth.example/"));
    for (one, other) in [
        ("https://auth.example/t", "https://auth.example/t/"),
        ("https://auth.example", "https://auth.example/t"),
        ("https://auth.example", "https://AUTH.example"),
        ("https://auth.example", "https://auth.example:443"),
        ("https://auth.example", "https://auth.example/?a"),
    ] {
        assert!(!is_same(one, other) && !is_same(other, one), "{one} {other}");
    }
}
