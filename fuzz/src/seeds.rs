//! Where each corpus begins: small good inputs, from the vectors and the bundles that come with the product.

use std::path::Path;
use std::sync::LazyLock;

use portcullis_policy::{Artifact, Snapshot, Trust, bundles};
use portcullis_protocol::wire::LateCall;
use portcullis_protocol::{AttemptId, Attempted, Digest, Millis, ReasonCode, Resource, SpoolId, Spooled};
use portcullis_verify::VerifierKey;
use portcullis_verify::witness::AddCheckpoint;
use serde_json::json;

use crate::frame::encode;
use crate::known::cases::{self, packs};
use crate::known::{FILES, KNOWN};
use crate::slot;
use crate::targets::bundles::{CHAIN, SIGNATURE, SIGNER, signer};
use crate::targets::tokens;
use crate::targets::witnesses::{KEYS, NOTE, SHORT};

/// Larger seeds make every run slow.
const LARGEST: usize = 20_000;

/// Writes `folder/TARGET/NN` for every seed.
pub(crate) fn write(folder: &Path) {
    let all = [texts(), messages(), callers(), late(), evidence(), witnesses(), policies()].concat();
    for (target, seeds) in all {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).expect("a folder for seeds");
        for (number, seed) in seeds.iter().filter(|seed| seed.len() <= LARGEST).enumerate() {
            std::fs::write(folder.join(format!("seed-{number:02}")), seed).expect("a seed is written");
        }
    }
}

type Seeds = Vec<(&'static str, Vec<Vec<u8>>)>;

fn lines(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

fn texts() -> Seeds {
    let digest = format!("sha256:{}", "a".repeat(64));
    let ask = json!({
        "surface": "payments.charge", "action": "payments.charge",
        "resource": { "type": "Surface", "id": "payments.charge" },
        "context": { "amount": "12.50", "count": 3, "to": ["a", "b"], "dry": true },
        "acts_for": "maya", "idempotency_key": "order-1", "payload": digest, "envelope": digest, "mapped_with": digest,
        "tool": { "name": "stripe/charge", "definition": digest },
    });
    let hex = "0a".repeat(32);
    let call = json!({ "request": ask, "attempt": hex, "salt": hex, "gate": "gate", "deadline_ms": 2000 });
    let reply = json!({ "decision": "DENY", "captured": "logged", "receipt": "c2sp.org/tlog-proof@v1\n",
        "reason": { "code": "policy.no_grant", "message": "m", "remedy": "r", "detail": "d" },
        "stored": { "outcome": "ok", "result": "text" } });
    let order =
        json!({ "what": { "resolve_outcome": { "attempt": hex, "outcome": "not_run" } }, "reason": "seen" });
    let erase = json!({ "what": { "erase_payloads": { "subject": "assistant" } }, "reason": "asked to" });
    let outcome = json!({ "nonce": hex, "outcome": "failed", "result": "text" });
    let forget = json!({ "what": { "erase_facts": { "source": "directory" } }, "reason": "asked to" });
    let bodies = [ask, call, reply, order, erase, forget, outcome];
    let arguments = json!({ "string": "a", "integer": 1, "boolean": true, "path": "/a/b", "url": "https://a.example/b?c=d",
        "strings": ["a"], "deep": { "/amount": ["12.50"] } });
    let mut records: Vec<_> = KNOWN.records.values().cloned().collect();
    records.sort_by_key(Vec::len);
    records.dedup();
    vec![
        ("planted", lines(&["x"])),
        (
            "json",
            lines(&[
                r#" {"b" : [1, -5, "x"], "a": {"z": null, "y": true}} "#,
                r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/\ud83d\ude00""#,
                r#"[9007199254740991, -9007199254740992, 1.5, 1e3, -0, 0, 123456789012345678901]"#,
                r#"{"a":1,"\u0061":2}"#,
                "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
            ]),
        ),
        ("request", bodies.iter().map(|body| body.to_string().into_bytes()).collect()),
        ("record", records),
        ("arguments", vec![arguments.to_string().into_bytes(), table()]),
        (
            "address",
            lines(&[
                "/a/b.c",
                "/",
                "https://a.example/",
                "http://a.example:8080/b/%20c?d=e%2F",
                "https://127.0.0.1/x",
            ]),
        ),
    ]
}

fn signed_demo() -> Snapshot {
    let mut files = bundles::demo();
    files.insert("bundle.sig".to_owned(), SIGNATURE.clone());
    Snapshot::from_files(files).expect("a bundle")
}

fn loaded() -> portcullis_policy::Bundle {
    let key = VerifierKey::ed25519(SIGNER, signer().verifying_key().to_bytes()).expect("a key");
    let snapshot = signed_demo();
    let trust = Trust::of_keys(vec![key], snapshot.digest());
    snapshot.verify(&trust).expect("it is signed")
}

/// The surfaces of the demo's bundle.
fn table() -> Vec<u8> {
    serde_json::to_vec(loaded().surfaces()).expect("it is served")
}

/// Entries of a spool, which the seeds hold.
pub(crate) fn spooled() -> &'static [Spooled] {
    static ENTRIES: LazyLock<Vec<Spooled>> = LazyLock::new(|| {
        let timeout = ReasonCode::ArbiterTimeout;
        let reasons = [ReasonCode::ArbiterUnreachable, timeout, ReasonCode::EvidenceUnwritable, timeout];
        let entry = |(number, reason): (u64, ReasonCode)| Spooled {
            spool: SpoolId::from_bytes([1; 32]),
            number,
            attempted: Attempted {
                at: Millis(1_700_000_000_000),
                reason,
                agent: "bot".parse().expect("a name"),
                acts_for: (number == 3).then(|| "maya".parse().expect("a name")),
                gate: "gate".parse().expect("a name"),
                attempt: AttemptId::from_bytes([3; 32]),
                surface: "demo.charge".parse().expect("a name"),
                action: "demo.charge".parse().expect("a name"),
                resource: Resource { kind: "Surface".to_owned(), id: "a\nb".to_owned() },
                request: Digest::sha256(b"x"),
            },
        };
        (0..).zip(reasons).map(entry).collect()
    });
    &ENTRIES
}

fn late() -> Seeds {
    let entries = spooled();
    let call = serde_json::to_vec(&LateCall { entries: entries.to_vec() }).expect("JSON");
    let file: Vec<u8> = entries.iter().filter_map(encode).flatten().collect();
    let bare: Vec<_> = entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON")).collect();
    let torn = file.split_at(file.len() - 9).0.to_vec();
    let slot = |turn: u64, note: &str| slot::encode(turn, note.as_bytes()).expect("there is room");
    vec![
        ("late", vec![call]),
        ("spool", vec![file, torn, bare.join("\n").into_bytes()]),
        ("anchor", vec![slot(7, &cases::Log::new(3, &[]).note()), slot(0, "")]),
    ]
}

/// A schema, and arguments that fit it.
const FITTING: [&str; 4] = [
    concat!(
        r##"{"type":"object","required":["path"],"properties":{"path":{"type":"string","pattern":"^/[a-z]+$","maxLength":9},"n":{"type":["integer","null"],"minimum":0.5,"multipleOf":0.25},"f":{"type":"object"}}}"##,
        "\n",
        r##"{"path":"/a","n":3,"f":{"x":1}}"##
    ),
    concat!(
        r##"{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"next":{"$ref":"#"},"v":{"anyOf":[{"const":1},{"$ref":"#/definitions/s"}]},"l":{"items":[{"enum":["a",true]}],"additionalItems":{"properties":{"k":{}}},"uniqueItems":true,"contains":{"type":"string"}}},"definitions":{"s":{"type":"string"}}}"##,
        "\n",
        r##"{"next":{"v":"x"},"v":1.0,"l":["a",{"k":2}]}"##
    ),
    concat!(
        r##"{"allOf":[{"properties":{"a":{"not":{"type":"null"}}}},{"if":{"required":["a"]},"then":{"properties":{"b":{"type":"boolean"}}},"else":{"maxProperties":0}}],"dependentSchemas":{"b":{"properties":{"c":{"oneOf":[{"minimum":5},{"maximum":3}]}}}},"dependentRequired":{"c":["b"]},"propertyNames":{"maxLength":2}}"##,
        "\n",
        r##"{"a":0,"b":false,"c":7}"##
    ),
    concat!(
        r##"{"additionalProperties":{"type":"integer"},"patternProperties":{"^x":{"type":"string"}},"minProperties":1}"##,
        "\n",
        r##"{"xa":"1","y":2}"##
    ),
];

fn messages() -> Seeds {
    let seeds = lines(&[
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"charge\",\"arguments\":{\"a\":1.5},\"_meta\":{\"portcullis/idempotency-key\":\"k\"}}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"a\"}}\r\n",
        "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"ok\"}]}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32000,\"message\":\"no\"}}",
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]\n{\"Method\":\"a\",\"method\":\"b\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"_meta\":{\"progressToken\":\"t\",\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":42,\"progress\":0.5}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":42}}}\n",
    ]);
    let tool = json!({ "name": "read_file", "description": "Reads a file.", "annotations": { "readOnlyHint": true },
        "inputSchema": { "type": "object", "required": ["path"],
            "properties": { "path": { "type": "string" }, "head": { "type": "number", "maximum": 1.5 } } } });
    let twin = json!({ "name": "Read_file", "title": "\u{2764}\u{fe0f}" });
    let page = json!({ "tools": [tool, twin, { "name": "ping" }], "nextCursor": "a" });
    let definitions = [&tool, &twin].map(|tool| tool.to_string().into_bytes());
    let drafts = vec![
        format!("t{}", page["tools"]).into_bytes(),
        format!("o{}", described()).into_bytes(),
        format!("r{}\n{}", asked("12.50"), asked("1.00")).into_bytes(),
    ];
    vec![
        ("message", seeds),
        ("tool", definitions.to_vec()),
        ("page", vec![page.to_string().into_bytes()]),
        ("fit", lines(&FITTING)),
        ("output", FITTING.iter().filter_map(|seed| seed.lines().next()).map(|line| line.into()).collect()),
        ("draft", drafts),
    ]
}

/// Who asks over HTTP, and how.
fn callers() -> Seeds {
    let header = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"own"}"#;
    let claims = r#"{"iss":"i","sub":"s","azp":"c","client_id":"c","aud":["a"],"exp":9,"iat":1,"nbf":1,"auth_time":1,"typ":"Bearer","token_use":"access","jti":"x"}"#;
    let own = tokens::made(header.as_bytes(), claims.as_bytes());
    let secret = tokens::keys().replace(r#""use":"sig""#, r#""use":"enc","d":"AQ""#);
    let twice = r#"{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519"},{"kid":"a"},{"kty":"oct","k":"AQ"}]}"#;
    let call = r#""method":"tools/call","params":{"name":"read","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
    let host = "host: localhost:8080\nauthorization: Bearer a.b-c\ncontent-type: application/json\naccept: text/*;q=0.5, application/json";
    let new = "mcp-protocol-version: 2026-07-28\nmcp-method: tools/call\nmcp-name";
    let requests = [
        format!("{host}\n{new}: read\n\n{{\"jsonrpc\":\"2.0\",\"id\":1,{call}}}"),
        format!("{new}: =?base64?cmVhZA==?=\n\n{{\"jsonrpc\":\"2.0\",\"id\":\"a\",{call}}}"),
        format!("origin: https://app.example\n{host}\n\n{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{{}}}}"),
        "mcp-session-id: s\nmcp-protocol-version: 2025-11-25\n\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}".to_owned(),
        "mcp-session-id: s\n\n{\"jsonrpc\":\"2.0\",\r\n\"id\":1,\"result\":{}}".to_owned(),
        "mcp-protocol-version: 2026-07-28\n\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\"}".to_owned(),
    ];
    vec![
        (
            "token",
            [lines(&tokens::SIGNED), vec![own.into_bytes(), format!("{header}\n{claims}").into_bytes()]]
                .concat(),
        ),
        ("jwks", vec![tokens::keys().into_bytes(), secret.into_bytes(), twice.as_bytes().to_vec()]),
        ("headers", requests.map(String::into_bytes).to_vec()),
    ]
}

/// An API's description.
fn described() -> serde_json::Value {
    json!({ "openapi": "3.1.0", "info": { "title": "t", "version": "1" },
        "paths": { "/users/{id}": {
            "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
            "put": { "operationId": "put_user", "summary": "Changes a user.",
                "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/user" } } } } },
            "delete": {} } },
        "components": { "schemas": { "user": { "type": "object", "required": ["age"],
            "properties": { "age": { "type": "integer" }, "name": { "type": "string" } } } } } })
}

/// A request that was seen.
fn asked(amount: &str) -> serde_json::Value {
    json!({ "surface": "payments.charge", "action": "payments.charge",
        "resource": { "type": "Account", "id": "a-1" }, "context": { "amount": amount, "dry": true } })
}

fn witnesses() -> Seeds {
    let lines: Vec<_> = NOTE.lines().filter(|line| line.starts_with('\u{2014}')).collect();
    let both = lines.iter().skip(1).map(|line| format!("{line}\n")).collect::<String>();
    let head = &*SHORT;
    let texts = [both].into_iter().chain(KEYS.lines().skip(1).map(ToOwned::to_owned));
    vec![
        ("cosigned", texts.map(String::into_bytes).collect()),
        (
            "submission",
            vec![
                AddCheckpoint::body(0, &[], head),
                AddCheckpoint::body(3, &[head.root(), head.root()], head),
            ],
        ),
        ("seen", vec![b"0\n".to_vec(), b"20852163\n".to_vec()]),
    ]
}

fn evidence() -> Seeds {
    let key = cases::log_key().public.to_string();
    let note = cases::Log::new(3, &[]).note();
    let line = note.lines().last().expect("a signature").to_owned();
    let keys = [
        &key,
        &format!("{key} until 300"),
        &format!("{key} revoked"),
        &line,
        "tile/entries/x001/x234/067.p/8",
        "tile/3/000",
        "checkpoint",
        "vectors.example/log",
    ];
    let files = FILES.iter().map(|(path, bytes)| [format!("{path}\n").as_bytes(), bytes].concat());
    let tiles = vec![
        b"tile/0/000.p/2\n".iter().chain(&[7; 64]).copied().collect(),
        b"tile/entries/000.p/2\n\0\x03abc\0\0".to_vec(),
    ];
    let text = "vectors.example/log\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    vec![
        ("key", lines(&keys)),
        ("note", lines(&["some text\n", "two\n\nparts\n"])),
        ("checkpoint", lines(&[text])),
        (
            "pack_members",
            vec![
                vec![0, 0, 9],
                vec![1, 0, 0, 1, 1, 0, 0, 4, 12],
                vec![1, 3, 9, 10, 0, 0, 0, 5, 11, 0, 1, 65, 0],
            ],
        ),
        ("tile", tiles),
        ("log", files.collect()),
        (
            "range",
            vec![[&[2, 3, 7, 1][..], &[1; 32 * 6]].concat(), [&[0, 4, 4, 0][..], &[2; 32 * 4]].concat()],
        ),
    ]
}

fn policies() -> Seeds {
    let small =
        KNOWN.packs.iter().flat_map(|pack| packs::split(pack)).find(|(name, _)| name.contains("bundles/"));
    let archives = vec![small.expect("a bundle in a pack").1, loaded().archive().to_vec()];
    let manifests = [bundles::demo(), bundles::starter()].map(|files| files["bundle.toml"].clone());
    vec![
        ("archive", archives),
        ("artifact", vec![Artifact::of(b"a bundle").to_manifest().expect("JSON")]),
        ("bundle", manifests.to_vec()),
        ("bundle_signature", vec![SIGNATURE.clone()]),
        ("bundle_root", vec![CHAIN.to_text().into_bytes()]),
        ("facts", vec![facts()]),
        ("diagnosis", broken()),
        ("difference", different()),
        ("invariant", lines(&INVARIANTS)),
        ("prove", lines(&CONDITIONS)),
        ("trace", vec![trace()]),
    ]
}

/// Files of the demo with their paths, each with a change that means something.
fn different() -> Vec<Vec<u8>> {
    let demo = bundles::demo();
    let edited = |path: &str, from: &str, to: &str| {
        let text = String::from_utf8(demo[path].clone()).expect("text");
        assert!(text.contains(from), "{text}");
        [format!("{path}\n").as_bytes(), text.replacen(from, to, 1).as_bytes()].concat()
    };
    let manifest = "bundle.toml";
    let mut files = vec![
        edited(manifest, "tier = \"high\"", "tier = \"standard\""),
        edited(manifest, "permit_ttl = \"5s\"", "permit_ttl = \"6s\"\nwitnessed = true"),
        edited(
            manifest,
            "\n[surfaces",
            "\n[labels.seen]\nlifetime = \"8h\"\n[proofs]\nrequired = true\n[surfaces",
        ),
        edited("policies/demo.cedar", "decimal(\"100.00\")", "decimal(\"200.00\")"),
        edited("policies/demo.cedar", "principal == Agent::\"demo-agent\"", "principal"),
        edited("schema.cedarschema", "entity Agent;", "entity Group;\nentity Agent in [Group];"),
        edited("entities.json", "stranger-agent", "other-agent"),
        edited("tests/demo.toml", "amount = \"100.00\"", "amount = \"99.00\""),
    ];
    let limit = "\n[limits.few]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = 5\nwindow = { sliding = \"1d\" }\n\n[surfaces";
    files.push(edited(manifest, "\n[surfaces", limit));
    files
}

const INVARIANTS: [&str; 3] = [
    "@id(\"cap\")\n@sentence(\"Nobody charges more.\")\nforbid (principal, action == Action::\"demo.charge\", resource)\nwhen { context.amount.greaterThan(decimal(\"100.00\")) };",
    "@id(\"may\")\n@sentence(\"The agent reads.\")\npermit (principal == Agent::\"demo-agent\", action == Action::\"demo.read_balance\", resource);",
    "@id(\"asked\") @sentence(\"People are asked.\") @unless(\"approval_roles\")\nforbid (principal, action, resource);",
];

/// Of a grant, and of an invariant.
const CONDITIONS: [&str; 5] = [
    "context.n < 5\ncontext.n > 7",
    "context.n + 1 > 0\nprincipal in Group::\"g\" && context.n == 0",
    "principal.level < 3 && context has s && context.s like \"a*\"\n!(context has s)",
    "principal has of && principal.of == Agent::\"x\"\nprincipal == Agent::\"x\" && context.n * 2 == 4",
    "if context.n == 0 then principal.level == 1 else [1, 2].contains(context.n)\nprincipal is Agent in Group::\"g\"",
];

/// Lines of a trace.
fn trace() -> Vec<u8> {
    let (one, other) = (asked("12.50"), asked("1.00"));
    let lines = [
        json!({ "agent": "assistant", "request": one }),
        json!({ "agent": "assistant", "request": other, "labels": "a, b", "at": 1_700_000_000_000_u64,
            "outcome": "ok", "facts": { "directory": "renamed" } }),
    ];
    lines.map(|line| line.to_string()).join("\n\n").into_bytes()
}

/// Files of the demo with their paths, each with a mistake.
fn broken() -> Vec<Vec<u8>> {
    let of = |path: &str, bytes: &[u8]| [format!("{path}\n").as_bytes(), bytes].concat();
    let mut files: Vec<_> = bundles::demo().iter().map(|(path, bytes)| of(path, bytes)).collect();
    files.push(of(
        "policies/more.cedar",
        "@id(\"é\")\npermit (principal, action, resource)\nwhen { context.no };".as_bytes(),
    ));
    files.push(of(
        "entities.json",
        b"[{\"uid\":{\"type\":\"Agent\",\"id\":\"a\"},\"attrs\":{\"b\":1},\"parents\":[]},]",
    ));
    files.push(of("tests/more.toml", b"[[case]]\nname = \"a\"\nexpect = 1\n"));
    files.push(of("invariants/more.cedar", b"@id(\"a\")\nforbid (principal, action, resource);"));
    files.push(of("tools/files.json", b"{\"v\":1,\"server\":\"files\",\"tools\":[{\"name\":1}]}"));
    files
}

/// What a directory gives: the agents of the demo.
fn facts() -> Vec<u8> {
    let agents = bundles::demo()["entities.json"].clone();
    [br#"{"v":1,"as_of":"2026-01-01T00:00:00Z","entities":"#.as_slice(), &agents, b"}"].concat()
}
