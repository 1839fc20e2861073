//! The engines. Each is given a workload once, and then asked.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet,
    Request as CedarRequest, Schema,
};
use ed25519_dalek::SigningKey;
use portcullis_policy::{Bundle, Snapshot, Trust};
use portcullis_protocol::request::{Ask, Request};
use portcullis_protocol::{AgentId, Verdict};
use portcullis_verify::VerifierKey;
use serde_json::json;

use crate::workload::{Asked, Workload, is_suspended};

/// One request, made ready; asking is what is timed.
pub(crate) trait Engine {
    /// Whether it is allowed.
    fn ask(&mut self, asked: &Asked) -> bool;

    /// A process of its own, if it is not in this one.
    fn process(&self) -> Option<u32> {
        None
    }
}

/// A bundle, signed, verified and compiled: what an arbiter decides by.
pub(crate) struct Ours {
    bundle: Arc<Bundle>,
}

/// Signs and verifies a bundle of this workload. The snapshot and the trust, to be timed.
pub(crate) fn signed(workload: &Workload, version: u64) -> (Snapshot, Trust) {
    let key = SigningKey::from_bytes(&[5; 32]);
    let name = "bench.example/policy";
    let mut files = workload.bundle(version);
    let unsigned = Snapshot::from_files(files.clone()).expect("a bundle");
    files.insert("bundle.sig".to_owned(), unsigned.sign(&key, name).expect("signed"));
    let keys = vec![VerifierKey::ed25519(name, key.verifying_key().to_bytes()).expect("a key")];
    (Snapshot::from_files(files).expect("a bundle"), Trust::of_keys(keys, unsigned.digest()))
}

impl Ours {
    pub(crate) fn new(workload: &Workload) -> Self {
        let (snapshot, trust) = signed(workload, 1);
        Self { bundle: Arc::new(snapshot.verify(&trust).expect("it is signed and pinned")) }
    }

    /// The request as it reaches policy, which is read and checked before.
    pub(crate) fn request(asked: &Asked) -> Request {
        let surface = format!("bench.s{}", asked.surface);
        let ask = json!({ "surface": surface, "action": surface, "resource": { "type": "Surface", "id": surface },
            "context": { "amount": asked.amount } });
        let agent: AgentId = format!("a{}", asked.agent).parse().expect("a name");
        Ask::parse(ask.to_string().as_bytes()).expect("a request").by(agent)
    }
}

/// The bundle, and requests that were read before.
pub(crate) struct Prepared {
    ours: Ours,
    requests: std::vec::IntoIter<Request>,
}

impl Prepared {
    pub(crate) fn new(workload: &Workload, requests: Vec<Request>) -> Self {
        Self { ours: Ours::new(workload), requests: requests.into_iter() }
    }
}

impl Engine for Prepared {
    fn ask(&mut self, _: &Asked) -> bool {
        let request = self.requests.next().expect("as many as are asked");
        matches!(self.ours.bundle.evaluate(&request).verdict, Verdict::Permit(_))
    }
}

/// Cedar's authorizer over all policies. A request is built with the schema, as Cedar's documentation has it, and the
/// answer is believed.
pub(crate) struct Cedar {
    authorizer: Authorizer,
    types: [EntityTypeName; 3],
    schema: Schema,
    policies: PolicySet,
    entities: Entities,
}

impl Cedar {
    pub(crate) fn new(workload: &Workload) -> Self {
        let files = workload.bundle(1);
        let text = |name: &str| String::from_utf8(files.get(name).expect("a file").clone()).expect("UTF-8");
        let (schema, _) = Schema::from_cedarschema_str(&text("schema.cedarschema")).expect("a schema");
        let entities = Entities::from_json_str(&text("entities.json"), Some(&schema)).expect("entities");
        let policies = workload.cedar().concat().parse().expect("policies");
        let types = ["Agent", "Action", "Surface"].map(|name| name.parse().expect("a type"));
        Self { authorizer: Authorizer::new(), types, schema, policies, entities }
    }
}

impl Engine for Cedar {
    fn ask(&mut self, asked: &Asked) -> bool {
        let [agent, action, surface] = &self.types;
        let uid = |kind: &EntityTypeName, id: String| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
        };
        let name = || format!("bench.s{}", asked.surface);
        let amount = i64::try_from(asked.amount).expect("small");
        let amount = ("amount".to_owned(), cedar_policy::RestrictedExpression::new_long(amount));
        let context = Context::from_pairs([amount]).expect("a context");
        let principal = uid(agent, format!("a{}", asked.agent));
        let (action, resource) = (uid(action, name()), uid(surface, name()));
        let request =
            CedarRequest::new(principal, action, resource, context, Some(&self.schema)).expect("a request");
        self.authorizer.is_authorized(&request, &self.policies, &self.entities).decision() == Decision::Allow
    }
}

/// Rego by regorus, a rule for each policy, compiled once.
pub(crate) struct Rego {
    compiled: regorus::CompiledPolicy,
}

impl Rego {
    pub(crate) fn new(workload: &Workload) -> Self {
        let mut engine = regorus::Engine::new();
        engine.clear_policy_length_config();
        engine.add_policy("bench.rego".to_owned(), workload.rego()).expect("Rego");
        Self { compiled: engine.compile_with_entrypoint(&"data.bench.allow".into()).expect("compiled") }
    }
}

impl Engine for Rego {
    fn ask(&mut self, asked: &Asked) -> bool {
        let input = regorus::Value::from(json!({
            "agent": format!("a{}", asked.agent), "surface": format!("bench.s{}", asked.surface),
            "amount": asked.amount, "suspended": is_suspended(asked.agent),
        }));
        self.compiled.eval_with_input(input).expect("evaluated") == regorus::Value::from(true)
    }
}

/// A Cerbos server on the loopback interface, asked over one connection that is kept open.
pub(crate) struct Cerbos {
    server: Child,
    agent: ureq::Agent,
    address: String,
}

impl Cerbos {
    /// Starts the program on the workload's policies, in an empty folder.
    pub(crate) fn new(program: &Path, folder: &Path, workload: &Workload) -> Self {
        let policies = folder.join("policies");
        std::fs::create_dir_all(&policies).expect("a folder");
        for (name, text) in workload.cerbos() {
            std::fs::write(policies.join(name), text).expect("a file");
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a port")
            .port();
        let socket = folder.join("grpc.sock");
        let config = format!(
            "server:\n  httpListenAddr: \"127.0.0.1:{port}\"\n  grpcListenAddr: \"unix:{}\"\nstorage:\n  driver: disk\n  disk:\n    \
             directory: {}\ntelemetry: {{ disabled: true }}\n",
            socket.display(),
            policies.display()
        );
        std::fs::write(folder.join("cerbos.yaml"), config).expect("a file");
        let mut command = Command::new(program);
        command
            .arg("server")
            .arg(format!("--config={}", folder.join("cerbos.yaml").display()))
            .arg("--log-level=error");
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("Cerbos starts");
        let agent =
            ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let cerbos = Self { server, agent, address: format!("http://127.0.0.1:{port}") };
        let end = Instant::now() + Duration::from_secs(300);
        let healthy = || {
            cerbos
                .agent
                .get(format!("{}/_cerbos/health", cerbos.address))
                .call()
                .is_ok_and(|said| said.status() == 200)
        };
        while !healthy() {
            assert!(Instant::now() < end, "Cerbos is not ready");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        cerbos
    }
}

impl Engine for Cerbos {
    fn ask(&mut self, asked: &Asked) -> bool {
        let agent = format!("a{}", asked.agent);
        let body = json!({
            "principal": { "id": agent, "roles": ["agent"], "attr": { "suspended": is_suspended(asked.agent) } },
            "resources": [{ "resource": { "kind": format!("s{}", asked.surface), "id": "1", "attr": { "amount": asked.amount } },
                "actions": ["act"] }],
        });
        let mut said = self
            .agent
            .post(format!("{}/api/check/resources", self.address))
            .send_json(&body)
            .expect("an answer");
        let answer: serde_json::Value = said.body_mut().read_json().expect("JSON");
        match answer.pointer("/results/0/actions/act").and_then(serde_json::Value::as_str) {
            Some("EFFECT_ALLOW") => true,
            Some("EFFECT_DENY") => false,
            other => panic!("{other:?}: {answer}"),
        }
    }

    fn process(&self) -> Option<u32> {
        Some(self.server.id())
    }
}

impl Drop for Cerbos {
    fn drop(&mut self) {
        self.server.kill().expect("it can be killed");
        self.server.wait().expect("it ends");
    }
}
