//! One set of policies in the languages of all engines, and the requests that they are asked about.
//!
//! `policies - 1` grants and one forbid. A grant is for one agent on one of ten surfaces, up to an amount of its own; an
//! agent has ten grants, as far as they go. The forbid is for every agent: a suspended one may do nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Surfaces, each with one action of its name.
pub(crate) const SURFACES: usize = 10;
/// Amounts are below this.
const AMOUNTS: u64 = 1000;
/// One agent in so many is suspended.
const SUSPENDED: usize = 16;

/// A request, and what every engine must say of it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) agent: usize,
    pub(crate) surface: usize,
    pub(crate) amount: u64,
    pub(crate) allowed: bool,
}

/// Policies and requests of one size. The same size is the same workload in every process.
pub(crate) struct Workload {
    pub(crate) policies: usize,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }
}

pub(crate) fn is_suspended(agent: usize) -> bool {
    agent % SUSPENDED == SUSPENDED - 1
}

impl Workload {
    fn grants(&self) -> usize {
        self.policies - 1
    }

    pub(crate) fn agents(&self) -> usize {
        self.grants().div_ceil(SURFACES)
    }

    /// The highest amount that is granted to an agent on a surface.
    fn limit(&self, agent: usize, surface: usize) -> Option<u64> {
        let grant = agent * SURFACES + surface;
        let number = u64::try_from(grant).expect("small");
        (grant < self.grants()).then(|| 100 + number * 37 % 800)
    }

    /// The grants: agent, surface, limit.
    fn all(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        let of = move |agent| {
            (0..SURFACES).filter_map(move |surface| Some((agent, surface, self.limit(agent, surface)?)))
        };
        (0..self.agents()).flat_map(of)
    }

    /// So many requests, of which few are equal.
    pub(crate) fn requests(&self, count: usize) -> Vec<Asked> {
        let mut random = Random(7);
        let mut request = || {
            let agent =
                usize::try_from(random.below(u64::try_from(self.agents()).expect("small"))).expect("small");
            let surface = usize::try_from(random.below(10)).expect("small");
            let amount = random.below(AMOUNTS);
            let granted = self.limit(agent, surface).is_some_and(|limit| amount <= limit);
            Asked { agent, surface, amount, allowed: granted && !is_suspended(agent) }
        };
        (0..count).map(|_| request()).collect()
    }

    /// The files of a bundle, unsigned.
    pub(crate) fn bundle(&self, version: u64) -> BTreeMap<String, Vec<u8>> {
        let mut manifest = format!(
            "name = \"bench\"\nversion = {version}\nvalid_from = \"2025-01-01T00:00:00Z\"\nvalid_until = \"2099-01-01T00:00:00Z\"\n"
        );
        let mut schema = String::from("entity Agent { suspended: Bool };\nentity Surface;\n");
        let mut entities = Vec::new();
        for surface in 0..SURFACES {
            let name = format!("bench.s{surface}");
            write!(
                manifest,
                "\n[surfaces.\"{name}\"]\ntier = \"read\"\non_silence = \"terminate\"\nidempotency = \"none\"\npermit_ttl = \"5s\"\n\
                 context.amount = {{ type = \"integer\", from = \"/amount\" }}\n"
            )
            .expect("memory");
            writeln!(
                schema,
                "action \"{name}\" appliesTo {{ principal: Agent, resource: Surface, context: {{ amount: Long }} }};"
            )
            .expect("memory");
            entities.push(
                serde_json::json!({ "uid": { "type": "Surface", "id": name }, "attrs": {}, "parents": [] }),
            );
        }
        for agent in 0..self.agents() {
            let (uid, suspended) = (format!("a{agent}"), is_suspended(agent));
            entities.push(
                serde_json::json!({ "uid": { "type": "Agent", "id": uid }, "attrs": { "suspended": suspended }, "parents": [] }),
            );
        }
        let mut files = BTreeMap::from([
            ("bundle.toml".to_owned(), manifest.into_bytes()),
            ("schema.cedarschema".to_owned(), schema.into_bytes()),
            ("entities.json".to_owned(), serde_json::to_vec(&entities).expect("JSON")),
        ]);
        for (number, part) in self.cedar().chunks(1000).enumerate() {
            files.insert(format!("policies/p{number:03}.cedar"), part.concat().into_bytes());
        }
        files
    }

    /// The policies in Cedar.
    pub(crate) fn cedar(&self) -> Vec<String> {
        let forbid =
            "@id(\"suspended\")\nforbid (principal, action, resource) when { principal.suspended };\n"
                .to_owned();
        let grant = |(agent, surface, limit)| {
            format!(
                "@id(\"a{agent}-s{surface}\")\npermit (principal == Agent::\"a{agent}\", action == Action::\"bench.s{surface}\", resource)\n\
                 when {{ context.amount <= {limit} }};\n"
            )
        };
        std::iter::once(forbid).chain(self.all().map(grant)).collect()
    }

    /// The policies in Rego, a rule each.
    pub(crate) fn rego(&self) -> String {
        let mut text = String::from(
            "package bench\nimport rego.v1\n\ndefault allow := false\nallow if { granted; not input.suspended }\n",
        );
        for (agent, surface, limit) in self.all() {
            writeln!(
                text,
                "granted if {{ input.agent == \"a{agent}\"; input.surface == \"bench.s{surface}\"; input.amount <= {limit} }}"
            )
            .expect("memory");
        }
        text
    }

    /// The policies as Cerbos has them: files by name. What an agent may do is a policy of that principal, and what none may
    /// do that is suspended is one of each resource.
    pub(crate) fn cerbos(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for surface in 0..SURFACES {
            let text = format!(
                "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  version: default\n  resource: s{surface}\n  rules:\n    \
                 - actions: [\"*\"]\n      effect: EFFECT_DENY\n      roles: [\"*\"]\n      condition: {{ match: {{ expr: \"P.attr.suspended\" }} }}\n"
            );
            files.insert(format!("resource-{surface}.yaml"), text);
        }
        for agent in 0..self.agents() {
            let mut text = format!(
                "apiVersion: api.cerbos.dev/v1\nprincipalPolicy:\n  version: default\n  principal: a{agent}\n  rules:\n"
            );
            for surface in 0..SURFACES {
                let Some(limit) = self.limit(agent, surface) else { continue };
                write!(
                    text,
                    "    - resource: s{surface}\n      actions:\n        - action: act\n          effect: EFFECT_ALLOW\n          \
                     condition: {{ match: {{ expr: \"R.attr.amount <= {limit} && !P.attr.suspended\" }} }}\n"
                )
                .expect("memory");
            }
            files.insert(format!("principal-{agent}.yaml"), text);
        }
        files
    }
}
