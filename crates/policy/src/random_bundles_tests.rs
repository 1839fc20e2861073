//! Random bundles and requests for tests of properties: schemas, entities and policies that validate, and requests of
//! which some fit. Text only, so that other crates' tests can take this file too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A stream of numbers from a seed (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// From `PORTCULLIS_SEED`, or a new one; printed, so that a failure can be repeated.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("PORTCULLIS_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("PORTCULLIS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// How many bundles a property is tried with: `PORTCULLIS_BUNDLES`, or a few.
pub(crate) fn bundles(few: usize) -> usize {
    std::env::var("PORTCULLIS_BUNDLES").map_or(few, |number| number.parse().unwrap())
}

/// A declared key: its name, its Cedar type, and whether it may be left out.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    kind: &'static str,
    pub(crate) optional: bool,
}

/// A surface with one action of the same name.
#[derive(Clone)]
pub(crate) struct Surface {
    pub(crate) name: String,
    /// Whether its resources are accounts; else it is itself the resource.
    accounts: bool,
    pub(crate) context: Vec<Key>,
    /// For whom agents act there, if policy sees it.
    pub(crate) principal: Option<Key>,
    /// The agent's labels, if policy sees them.
    labels: Option<Key>,
}

/// A bundle before it is text.
#[derive(Clone)]
pub(crate) struct Shape {
    attributes: BTreeMap<&'static str, Vec<Key>>,
    /// Of which type the tags of a type's entities are, where they may have any.
    tags: BTreeMap<&'static str, &'static str>,
    pub(crate) surfaces: Vec<Surface>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) policies: Vec<String>,
}

/// An entity: type, id, attributes and tags in JSON, groups that it is in.
#[derive(Clone)]
pub(crate) struct Entity {
    pub(crate) kind: &'static str,
    id: String,
    pub(crate) attributes: BTreeMap<&'static str, String>,
    pub(crate) tags: BTreeMap<&'static str, String>,
    pub(crate) parents: Vec<String>,
}

const CONTEXT: [(&str, &str); 5] =
    [("amount", "decimal"), ("flag", "Bool"), ("n", "Long"), ("note", "String"), ("tags", "Set<String>")];
const ATTRIBUTES: [(&str, &str); 10] = [
    ("level", "Long"),
    ("open", "Bool"),
    ("owner", "Agent"),
    ("title", "String"),
    ("worth", "decimal"),
    ("seat", PLACE),
    ("address", "ipaddr"),
    ("since", "datetime"),
    ("lasts", "duration"),
    ("langs", "Set<String>"),
];
/// A record with a record in it.
const PLACE: &str = "{ town: String, room?: { floor: Long } }";
/// Of which type an entity's tags may be.
const TAGS: [Option<&str>; 4] = [None, Some("Long"), Some("String"), Some("ipaddr")];
const TAG_NAMES: [&str; 2] = ["t0", "t1"];
/// Of which type those are for whom agents act, and whether they may act for nobody.
const PRINCIPALS: [Option<(&str, bool)>; 5] =
    [None, None, Some(("User", true)), Some(("User", false)), Some(("Agent", true))];
const ASKS: [&str; 10] = [
    "",
    "",
    "",
    "",
    "@witnessed",
    "@adds_label(\"a\")",
    "@adds_label(\"a, b\") @witnessed",
    "@identity_within(\"5m\")",
    "@approval_roles(\"finance\") @approval_quorum(\"2\") @approval_lifetime(\"15m\")",
    "@approval_roles(\"finance\") @approval_quorum(\"1\") @approval_lifetime(\"5m\") @witnessed",
];
const ROSTER: &str = "
[roster.people.ada]
name = \"Ada\"
roles = [\"finance\"]
keys = [{ type = \"ed25519\", key = \"MSRhegRhQBLrL0CPpRSoy2JRh+8RFm+Z1CYAtg2OlHU=\" }]
[roster.people.ben]
name = \"Ben\"
roles = [\"finance\"]
keys = [{ type = \"ed25519\", key = \"MUkIUn05XTMNq/XinTGRgFA2mvDE8J5CL+l+ovWeOOE=\" }]
";

/// Each of these by chance; of so many, one is left out.
fn keys(random: &mut Random, all: &[(&'static str, &'static str)], left_out: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    for (name, kind) in all {
        match random.below(4) {
            _ if random.one_in(left_out) => {}
            1 => keys.push(Key { name, kind, optional: true }),
            _ => keys.push(Key { name, kind, optional: false }),
        }
    }
    keys
}

impl Shape {
    pub(crate) fn random(random: &mut Random) -> Self {
        let attributes = ["Agent", "Account"].map(|kind| (kind, keys(random, &ATTRIBUTES, 2)));
        let tags = ["Agent", "Account"].into_iter().filter_map(|kind| Some((kind, random.pick(&TAGS)?)));
        let tags = tags.collect();
        let surface = |random: &mut Random, number: usize| Surface {
            name: format!("s.a{number}"),
            accounts: !random.one_in(3),
            context: keys(random, &CONTEXT, 4),
            principal: random.pick(&PRINCIPALS).map(|(kind, optional)| Key {
                name: "acts_for",
                kind,
                optional,
            }),
            labels: random.one_in(2).then_some(Key { name: "labels", kind: "Set<String>", optional: false }),
        };
        let surfaces = (0..=random.below(3)).map(|number| surface(random, number)).collect();
        let mut shape = Self {
            attributes: attributes.into(),
            tags,
            surfaces,
            entities: Vec::new(),
            policies: Vec::new(),
        };
        for (kind, letter, number) in
            [("Group", 'g', 3), ("Agent", 'a', 3), ("Account", 'x', 2), ("User", 'u', 2)]
        {
            for index in 0..number {
                let entity = shape.entity(random, kind, letter, index);
                shape.entities.push(entity);
            }
        }
        for _ in 0..=random.below(6) {
            let effect = if random.one_in(3) { "forbid" } else { "permit" };
            shape.add_policy(random, effect);
        }
        shape
    }

    fn entity(&self, random: &mut Random, kind: &'static str, letter: char, index: usize) -> Entity {
        // Only groups of a higher number, so that there is no cycle.
        let first = if kind == "Group" { index + 1 } else { 0 };
        let parents = (first..3).filter(|_| random.one_in(2)).map(|group| format!("g{group}")).collect();
        let mut attributes = BTreeMap::new();
        for key in self.attributes.get(kind).into_iter().flatten() {
            if !key.optional || random.one_in(2) {
                attributes.insert(key.name, attribute(random, key.kind));
            }
        }
        let mut tags = BTreeMap::new();
        if let Some(of) = self.tags.get(kind) {
            for name in TAG_NAMES {
                if random.one_in(2) {
                    tags.insert(name, attribute(random, of));
                }
            }
        }
        Entity { kind, id: format!("{letter}{index}"), attributes, tags, parents }
    }

    /// Adds a policy that validates: what may be missing is asked for first.
    pub(crate) fn add_policy(&mut self, random: &mut Random, effect: &str) {
        let number = self.policies.len();
        let surface = (!random.one_in(3)).then(|| random.below(self.surfaces.len()));
        let action = match surface {
            None if random.one_in(3) => self.actions(random),
            None => random.pick(&["action", "action in Action::\"any\""]).to_owned(),
            Some(at) => format!("action == Action::\"{}\"", self.surfaces[at].name),
        };
        let principal = match random.below(6) {
            0 => format!("principal == Agent::\"a{}\"", random.below(3)),
            1 => format!("principal in Group::\"g{}\"", random.below(3)),
            2 => "principal is Agent".to_owned(),
            3 => format!("principal is Agent in Group::\"g{}\"", random.below(3)),
            _ => "principal".to_owned(),
        };
        let resource = match (surface.map(|at| &self.surfaces[at]), random.below(7)) {
            (Some(Surface { accounts: true, .. }), 0) => {
                format!("resource == Account::\"x{}\"", random.below(2))
            }
            (Some(Surface { accounts: true, .. }), 1) => {
                format!("resource in Group::\"g{}\"", random.below(3))
            }
            (Some(Surface { accounts: true, .. }), 2) => "resource is Account".to_owned(),
            (Some(Surface { accounts: true, .. }), 3) => {
                format!("resource is Account in Group::\"g{}\"", random.below(3))
            }
            (Some(Surface { accounts: false, name, .. }), 0) => format!("resource == Surface::\"{name}\""),
            (Some(Surface { accounts: false, .. }), 1) => "resource is Surface".to_owned(),
            (None, 0) => {
                let accounts = self.surfaces.iter().any(|surface| surface.accounts);
                format!("resource is {}", if accounts { "Account" } else { "Surface" })
            }
            (_, _) => "resource".to_owned(),
        };
        let asks = if effect == "permit" { random.pick(&ASKS) } else { "" };
        let condition = match random.below(4) {
            0 => String::new(),
            1 => format!(" unless {{ {} }}", self.condition(random, surface)),
            _ => format!(" when {{ {} }}", self.condition(random, surface)),
        };
        self.policies.push(format!(
            "@id(\"p{number}\") {asks}\n{effect} ({principal}, {action}, {resource}){condition};\n"
        ));
    }

    /// One or two of the actions, in a list.
    fn actions(&self, random: &mut Random) -> String {
        let mut one = || format!("Action::\"{}\"", self.surfaces[random.below(self.surfaces.len())].name);
        format!("action in [{}, {}]", one(), one())
    }

    fn condition(&self, random: &mut Random, surface: Option<usize>) -> String {
        let one = self.atom(random, surface);
        match random.below(6) {
            0 => format!("({one}) && ({})", self.atom(random, surface)),
            1 => format!("({one}) || ({})", self.atom(random, surface)),
            2 => format!("!({one})"),
            _ => one,
        }
    }

    fn atom(&self, random: &mut Random, surface: Option<usize>) -> String {
        let surface = surface.map(|at| &self.surfaces[at]);
        let mut known: Vec<(&str, &Key)> = Vec::new();
        known.extend(self.attributes["Agent"].iter().map(|key| ("principal", key)));
        let told = |surface: &'_ Surface| [surface.principal.clone(), surface.labels.clone()];
        let told: Vec<Key> = surface.into_iter().flat_map(told).flatten().collect();
        let given = surface.into_iter().flat_map(|surface| &surface.context).chain(&told);
        known.extend(given.map(|key| ("context", key)));
        if surface.is_some_and(|surface| surface.accounts) {
            known.extend(self.attributes["Account"].iter().map(|key| ("resource", key)));
        }
        if let (Some(of), true) = (self.tags.get("Agent"), random.one_in(8)) {
            return tagged(random, "principal", of);
        }
        if let (Some(key), true) = (surface.and_then(|surface| surface.labels.as_ref()), random.one_in(3)) {
            return test(random, key.kind, &format!("context.{}", key.name));
        }
        let accounts = surface.is_some_and(|surface| surface.accounts);
        if let (Some(of), true, true) = (self.tags.get("Account"), accounts, random.one_in(8)) {
            return tagged(random, "resource", of);
        }
        if known.is_empty() || random.one_in(5) {
            let group = format!("Group::\"g{}\"", random.below(3));
            return match random.below(if accounts { 5 } else { 4 }) {
                0 => format!("principal is Agent in {group}"),
                1 => format!("principal in [{group}, Group::\"g0\"]"),
                2 => format!("{} && principal in {group}", self.actions(random)),
                4 => format!("resource is Account in {group}"),
                _ => format!("principal in {group}"),
            };
        }
        let (of, key) = random.pick(&known);
        let test = test(random, key.kind, &format!("{of}.{}", key.name));
        if key.optional { format!("({of} has {} && {test})", key.name) } else { test }
    }

    /// Which entities have attributes that their type requires: the entity's place, and the attribute.
    pub(crate) fn required_attributes(&self) -> Vec<(usize, &'static str)> {
        let mut required = Vec::new();
        for (at, entity) in self.entities.iter().enumerate() {
            let keys = self.attributes.get(entity.kind).into_iter().flatten();
            required.extend(keys.filter(|key| !key.optional).map(|key| (at, key.name)));
        }
        required
    }

    /// The bundle's files.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.files_without(&[])
    }

    /// The files of a bundle whose entities of these types come from the source `directory`.
    pub(crate) fn files_without(&self, types: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let mut manifest = self.manifest();
        if !types.is_empty() {
            writeln!(manifest, "[facts.directory]\ntypes = {types:?}\nmax_age = \"10m\"").unwrap();
        }
        let own = |entity: &&Entity| !types.contains(&entity.kind);
        let files = [
            ("bundle.toml", manifest),
            ("schema.cedarschema", self.schema()),
            ("entities.json", entities_json(self.entities.iter().filter(own))),
            ("policies/main.cedar", self.policies.concat()),
        ];
        files.into_iter().map(|(path, text)| (path.to_owned(), text.into_bytes())).collect()
    }

    /// What `directory` gives: the entities of these types.
    pub(crate) fn given(&self, types: &[&str]) -> String {
        entities_json(self.entities.iter().filter(|entity| types.contains(&entity.kind)))
    }

    fn manifest(&self) -> String {
        let mut text = "name = \"random\"\nversion = 1\nvalid_from = \"2020-01-01T00:00:00Z\"\n\
                        valid_until = \"2099-01-01T00:00:00Z\"\n"
            .to_owned();
        for Surface { name, accounts, context, .. } in &self.surfaces {
            write!(
                text,
                "[surfaces.\"{name}\"]\ntier = \"read\"\non_silence = \"terminate\"\npermit_ttl = \"5s\"\n"
            )
            .unwrap();
            if *accounts {
                text.push_str("resource = { type = \"Account\", id = \"x0\" }\n");
            }
            for Key { name, kind, optional } in context {
                let kind = match *kind {
                    "decimal" => "\"decimal\", scale = 2",
                    "Bool" => "\"boolean\"",
                    "Long" => "\"integer\"",
                    "String" => "\"string\"",
                    _ => "\"strings\"",
                };
                writeln!(text, "context.{name} = {{ type = {kind}, optional = {optional} }}").unwrap();
            }
        }
        text + "[labels.a]\nlifetime = \"8h\"\n[labels.b]\nlifetime = \"1h\"\n[principals]\ntype = \"User\"\n"
            + ROSTER
    }

    fn schema(&self) -> String {
        let record = |keys: &[Key]| {
            let key =
                |key: &Key| format!("{}{}: {}", key.name, if key.optional { "?" } else { "" }, key.kind);
            keys.iter().map(key).collect::<Vec<_>>().join(", ")
        };
        let mut text =
            "entity Group in [Group];\nentity User in [Group];\nentity Surface;\naction \"any\";\n"
                .to_owned();
        for (kind, keys) in &self.attributes {
            let tags = self.tags.get(kind).map_or(String::new(), |of| format!(" tags {of}"));
            writeln!(text, "entity {kind} in [Group] = {{ {} }}{tags};", record(keys)).unwrap();
        }
        for Surface { name, accounts, context, principal, labels } in &self.surfaces {
            let resource = if *accounts { "Account" } else { "Surface" };
            let context: Vec<_> = context.iter().chain(principal).chain(labels).cloned().collect();
            let applies =
                format!("principal: Agent, resource: {resource}, context: {{ {} }}", record(&context));
            writeln!(text, "action \"{name}\" in [\"any\"] appliesTo {{ {applies} }};").unwrap();
        }
        text
    }

    /// A request: who asks, and what, in JSON. Most of them fit.
    pub(crate) fn request(&self, random: &mut Random) -> (String, String) {
        let surface = &self.surfaces[random.below(self.surfaces.len())];
        let mut context: Vec<_> = Vec::new();
        for key in &surface.context {
            let kind = if random.one_in(30) { "Bool" } else { key.kind };
            if !random.one_in(if key.optional { 2 } else { 40 }) {
                context.push(format!("\"{}\":{}", key.name, value(random, kind)));
            }
        }
        if random.one_in(40) {
            context.push("\"more\":1".to_owned());
        }
        self.asked(random, surface, &context)
    }

    /// The labels of who asks: some of those that are declared, and now and then one that is not any more.
    pub(crate) fn labels(random: &mut Random) -> BTreeSet<&'static str> {
        [("a", 2), ("b", 2), ("z", 8)]
            .into_iter()
            .filter(|(_, odds)| random.one_in(*odds))
            .map(|(label, _)| label)
            .collect()
    }

    /// The same request of each kind that leaves out one key that must be there.
    pub(crate) fn requests_without_a_key(&self, random: &mut Random) -> Vec<(String, String)> {
        let mut requests = Vec::new();
        for surface in &self.surfaces {
            for left_out in surface.context.iter().filter(|key| !key.optional) {
                let others = surface.context.iter().filter(|key| key.name != left_out.name);
                let context: Vec<_> =
                    others.map(|key| format!("\"{}\":{}", key.name, value(random, key.kind))).collect();
                requests.push(self.asked(random, surface, &context));
            }
        }
        requests
    }

    /// For whom it is asked, as a member of a request: mostly for somebody of the kind that the surface expects.
    fn named(&self, random: &mut Random, surface: &Surface) -> String {
        let name = match (surface.principal.as_ref().map(|key| key.kind), random.below(12)) {
            (_, 0) => "u9".to_owned(),
            (_, 1) | (Some("Agent"), 2..=8) => format!("a{}", random.below(3)),
            (_, 2 | 3) | (Some(_), 4..=8) => format!("u{}", random.below(2)),
            (_, _) => return String::new(),
        };
        format!("\"acts_for\":\"{name}\",")
    }

    fn asked(&self, random: &mut Random, surface: &Surface, context: &[String]) -> (String, String) {
        let agent = if random.one_in(20) { "a9".to_owned() } else { format!("a{}", random.below(3)) };
        let (kind, id) = match (surface.accounts, random.below(20)) {
            (_, 0) => ("Account", "x9".to_owned()),
            (true, _) => ("Account", format!("x{}", random.below(2))),
            (false, _) => ("Surface", surface.name.clone()),
        };
        let name = &surface.name;
        let context = context.join(",");
        let named = self.named(random, surface);
        let ask = format!(
            "{{{named}\"surface\":\"{name}\",\"action\":\"{name}\",\"resource\":{{\"type\":\"{kind}\",\"id\":\"{id}\"}},\
             \"context\":{{{context}}}}}"
        );
        (agent, ask)
    }
}

fn entities_json<'e>(entities: impl Iterator<Item = &'e Entity>) -> String {
    let members = |all: &BTreeMap<&str, String>| {
        all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",")
    };
    let entity = |Entity { kind, id, attributes, tags, parents }: &Entity| {
        let parents: Vec<_> =
            parents.iter().map(|group| format!("{{\"type\":\"Group\",\"id\":\"{group}\"}}")).collect();
        let tags = if tags.is_empty() { String::new() } else { format!("\"tags\":{{{}}},", members(tags)) };
        format!(
            "{{\"uid\":{{\"type\":\"{kind}\",\"id\":\"{id}\"}},\"attrs\":{{{}}},{tags}\"parents\":[{}]}}",
            members(attributes),
            parents.join(",")
        )
    };
    format!("[{}]", entities.map(entity).collect::<Vec<_>>().join(",\n"))
}

/// A value of an entity's attribute or tag.
fn attribute(random: &mut Random, kind: &str) -> String {
    let called =
        |function: &str, of: &str| format!("{{\"__extn\":{{\"fn\":\"{function}\",\"arg\":\"{of}\"}}}}");
    match kind {
        "Agent" => format!("{{\"__entity\":{{\"type\":\"Agent\",\"id\":\"a{}\"}}}}", random.below(3)),
        PLACE => {
            let floor = value(random, "Long");
            let room =
                if random.one_in(2) { format!(",\"room\":{{\"floor\":{floor}}}") } else { String::new() };
            format!("{{\"town\":{}{room}}}", value(random, "String"))
        }
        "ipaddr" => called("ip", random.pick(&["10.0.0.1", "127.0.0.1", "192.168.0.0/16", "::1"])),
        // The last one is as late as there is: to add to it is an error.
        "datetime" => {
            let instants = ["2026-01-01", "1970-01-01", "2026-06-30T12:00:00Z", "9999-12-31T23:59:59.999Z"];
            called("datetime", random.pick(&instants))
        }
        "duration" => called("duration", random.pick(&["0ms", "1h", "-2d", "9223372036854775807ms"])),
        kind => value(random, kind),
    }
}

/// A comparison of a tag, which is asked for first, as validation has it.
fn tagged(random: &mut Random, of: &str, kind: &str) -> String {
    let name = random.pick(&TAG_NAMES);
    let test = test(random, kind, &format!("{of}.getTag(\"{name}\")"));
    match random.below(3) {
        0 => format!("{of}.hasTag(\"{name}\")"),
        _ => format!("({of}.hasTag(\"{name}\") && {test})"),
    }
}

fn value(random: &mut Random, kind: &str) -> String {
    match kind {
        "decimal" => random.pick(&["\"0.00\"", "\"4.99\"", "\"5.00\"", "\"-1.00\""]).to_owned(),
        "Bool" => random.pick(&["true", "false"]).to_owned(),
        "Long" => random.pick(&["-1", "0", "1", "2", "9"]).to_owned(),
        "String" => random.pick(&["\"a\"", "\"ab\"", "\"b\"", "\"\""]).to_owned(),
        _ => random.pick(&["[]", "[\"a\"]", "[\"a\",\"b\"]"]).to_owned(),
    }
}

/// A comparison that validates; some of them raise an error for some values.
fn test(random: &mut Random, kind: &str, of: &str) -> String {
    match kind {
        "Long" => {
            let forms =
                ["OF > 0", "OF == 1", "OF * 9223372036854775807 > 0", "OF + 9223372036854775807 > OF"];
            random.pick(&forms).replace("OF", of)
        }
        "Bool" => of.to_owned(),
        "decimal" => format!("{of}.lessThan(decimal(\"5.00\"))"),
        "String" => random.pick(&["OF like \"a*\"", "OF == \"b\""]).replace("OF", of),
        "Agent" => random.pick(&["OF == principal", "OF in Group::\"g0\""]).replace("OF", of),
        "User" => random.pick(&["OF == User::\"u0\"", "OF in Group::\"g0\""]).replace("OF", of),
        PLACE => {
            let forms = [
                "OF.town like \"a*\"",
                "OF has room && OF.room.floor > 0",
                "OF has room.floor && OF.room.floor + 9223372036854775807 > OF.room.floor",
            ];
            format!("({})", random.pick(&forms).replace("OF", of))
        }
        "ipaddr" => {
            let forms = ["OF.isLoopback()", "OF.isIpv4()", "OF.isInRange(ip(\"10.0.0.0/8\"))"];
            random.pick(&forms).replace("OF", of)
        }
        "datetime" => {
            let forms = [
                "OF < datetime(\"2026-02-01\")",
                "OF.toDate() == datetime(\"2026-01-01\")",
                "OF.offset(duration(\"9223372036854775807ms\")) > OF",
                "OF.durationSince(datetime(\"1970-01-01\")) > duration(\"1d\")",
            ];
            random.pick(&forms).replace("OF", of)
        }
        "duration" => random.pick(&["OF > duration(\"1m\")", "OF.toHours() == 1"]).replace("OF", of),
        _ => {
            random.pick(&["OF.contains(\"a\")", "OF.isEmpty()", "OF.containsAll([\"a\"])"]).replace("OF", of)
        }
    }
}
