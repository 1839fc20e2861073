use super::*;
use crate::Snapshot;
use crate::testing::{bundle, defect, files, load, verifier_key, with, with_policies};

/// A COSE key of P-256, its coordinates, and one of Ed25519 (RFC 8032's first test vector), as passkeys have them.
const COSE: &str =
    "pQECAyYgASFYIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBIlggAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
const X: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const Y: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
const ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED25519_STANDARD: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const COSE_ED25519: &str = "pAEBAycgBiFYINdamAGCsQq31Uv-08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

fn person(id: &str, name: &str, roles: &str, keys: &str) -> String {
    format!("[people.{id}]\nname = \"{name}\"\nroles = {roles}\nkeys = [{keys}]\n")
}

fn bare(seed: u8) -> String {
    format!("{{ type = \"ed25519\", key = \"{}\" }}", verifier_key(seed))
}

fn read(text: &str) -> Result<Roster, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

fn with_key(key: &str) -> Result<Point, String> {
    let roster = read(&person("ada", "Ada", "[\"a\"]", key))?;
    Ok(roster.people()[&"ada".parse().unwrap()].keys[0].bytes())
}

use super::key::Point;

#[test]
fn people_have_names_roles_and_keys() {
    let text =
        person("ada", "Ada Lovelace", "[\"security\", \"finance\"]", &format!("{}, {}", bare(1), bare(2)))
            + &person("ben", "Ben", "[\"finance\"]", &bare(3));
    let roster = read(&text).unwrap();
    let ada = &roster.people()[&"ada".parse().unwrap()];
    assert_eq!((ada.name.as_str(), ada.keys.len()), ("Ada Lovelace", 2));
    let roles: Vec<_> = ada.roles.iter().map(RoleName::as_str).collect();
    assert_eq!(roles, ["finance", "security"]);
    let other_order = person("ben", "Ben", "[\"finance\"]", &bare(3))
        + &person("ada", "Ada Lovelace", "[\"finance\", \"security\"]", &format!("{}, {}", bare(1), bare(2)));
    assert_eq!(read(&other_order).unwrap().digest(), roster.digest());
    for (from, to) in [("Ada L", "Eda L"), ("\"security\", ", ""), ("people.ben", "people.bob")] {
        assert_ne!(read(&text.replace(from, to)).unwrap().digest(), roster.digest(), "{to}");
    }
    let fewer = text.replace(&format!(", {}", bare(2)), "");
    assert_ne!(read(&fewer).unwrap().digest(), roster.digest());
}

#[test]
fn what_is_missing_doubled_or_looks_alike_is_refused() {
    let ada = person("ada", "Ada", "[\"a\"]", &bare(1));
    let refused = |more: &str| read(&format!("{ada}{more}")).unwrap_err();
    for (id, name, roles, seed, told) in [
        ("adа", "Bea", "[\"a\"]", 2, "invalid unquoted key"),
        ("bi11", "Bill", "[]", 2, "person `bi11`: `roles` is empty"),
        ("ben", "Ben", "[\"a\", \"a\"]", 2, "person `ben`: `roles` names one twice"),
        ("ben", "ADA", "[\"a\"]", 2, "people `ada` and `ben` have the same name"),
        ("ben", "Ben", "[\"a\"]", 1, "people `ada` and `ben` share a key"),
        ("ben", "B\\u200ben", "[\"a\"]", 2, "person `ben`: `name` is"),
        ("ben", "\\u202eneB", "[\"a\"]", 2, "person `ben`: `name` is"),
        ("ben", " Ben", "[\"a\"]", 2, "person `ben`: `name` is"),
        ("ben", "", "[\"a\"]", 2, "person `ben`: `name` is"),
        ("ben", "Ben", "[\"a-1\", \"a-l\"]", 2, "roles `a-1` and `a-l` look alike"),
    ] {
        let told_now = refused(&person(id, name, roles, &bare(seed)));
        assert!(told_now.contains(told), "{id} {name}: {told_now}");
    }
    for (one, other) in [("ann-l", "ann-1"), ("arno", "amo"), ("j.doe", "j_doe")] {
        let two = person(&format!("\"{one}\""), "One", "[\"a\"]", &bare(2))
            + &person(&format!("\"{other}\""), "Two", "[\"a\"]", &bare(3));
        assert!(refused(&two).contains("look alike"), "{one} {other}");
    }
    assert!(refused(&person("ben", "Ben", "[\"a\"]", "")).contains("`keys` has 1 to 16"));
    assert!(
        refused(&person("ben", "Ben", "[\"a\"]", &format!("{}, {}", bare(2), bare(2))))
            .contains("has a key twice")
    );
    assert!(refused(&person("\"Ben\"", "Ben", "[\"a\"]", &bare(2))).contains("is not a valid person's name"));
    assert!(
        refused("[people.ben]\nname = \"Ben\"\nroles = [\"a\"]\nkeys = []\nadmin = true\n")
            .contains("unknown field `admin`")
    );
    assert!(refused("[groups]\n").contains("unknown field `groups`"));
    assert_eq!(read("[people]\n").unwrap_err(), "a roster has 1 to 10000 people");
}

#[test]
fn a_key_has_its_type_and_form() {
    let cose = format!("{{ type = \"cose\", key = \"{COSE}\" }}");
    let jwk = |crv: &str, rest: &str| format!("{{ type = \"jwk\", crv = \"{crv}\", {rest} }}");
    let p256 = jwk("P-256", &format!("kty = \"EC\", alg = \"ES256\", x = \"{X}\", y = \"{Y}\""));
    assert_eq!(with_key(&cose), Ok(Point::P256([1; 32], [2; 32])));
    assert_eq!(with_key(&p256), Ok(Point::P256([1; 32], [2; 32])));
    let ed25519 = [
        format!("{{ type = \"ed25519\", key = \"{ED25519_STANDARD}\" }}"),
        format!("{{ type = \"cose\", key = \"{COSE_ED25519}\" }}"),
        jwk("Ed25519", &format!("kty = \"OKP\", alg = \"EdDSA\", x = \"{ED25519}\"")),
    ];
    let points: Vec<_> = ed25519.iter().map(|key| with_key(key).unwrap()).collect();
    assert!(
        matches!(points[..], [Point::Ed25519(one), two, three] if two == Point::Ed25519(one) && three == two)
    );
    // One key in two forms is one key.
    let two = person("ada", "Ada", "[\"a\"]", &ed25519[0]) + &person("ben", "Ben", "[\"a\"]", &ed25519[1]);
    assert_eq!(read(&two).unwrap_err(), "people `ada` and `ben` share a key");
    let zeroes = "A".repeat(43);
    for wrong in [
        "{ type = \"rsa\", key = \"AA==\" }".to_owned(),
        "{ key = \"AA==\" }".to_owned(),
        "{ type = \"ed25519\", key = \"\" }".to_owned(),
        format!("{{ type = \"ed25519\", key = \"{zeroes}=\" }}"),
        format!("{{ type = \"ed25519\", key = \"{ED25519}\" }}"),
        format!(
            "{{ type = \"ed25519\", key = \"{}\" }}",
            verifier_key(1).to_string().replacen("bundle", "bindle", 1)
        ),
        format!("{{ type = \"cose\", key = \"{COSE}AA\" }}"),
        format!("{{ type = \"cose\", key = \"{}\" }}", &COSE[..40]),
        format!("{{ type = \"cose\", key = \"{}\" }}", COSE.replacen("pQEC", "pQED", 1)),
        format!("{{ type = \"cose\", key = \"{COSE}=\" }}"),
        p256.replace("ES256", "none"),
        p256.replace("P-256", "P-384"),
        p256.replace(&format!(", y = \"{Y}\""), ""),
        p256.replace(X, &X[..42]),
        p256.replace(", y =", ", d = \"AA\", y ="),
        jwk("Ed25519", &format!("kty = \"OKP\", alg = \"EdDSA\", x = \"{zeroes}\"")),
        jwk("Ed25519", &format!("kty = \"OKP\", alg = \"EdDSA\", x = \"{ED25519}\", y = \"{Y}\"")),
    ] {
        assert!(with_key(&wrong).is_err(), "{wrong}");
    }
}

fn asking(roles: &str, quorum: u8) -> String {
    format!(
        "@id(\"g\") @approval_roles(\"{roles}\") @approval_quorum(\"{quorum}\") @approval_lifetime(\"1h\")
         permit (principal, action == Action::\"charge\", resource);"
    )
}

/// It would be refused for ever, and look like a guard that works.
#[test]
fn an_approval_that_nobody_could_give_does_not_load() {
    assert!(load(with_policies(&asking("finance", 3))).is_ok());
    assert!(load(with_policies(&asking("finance, security", 4))).is_ok());
    let told = |roles, quorum| defect(with_policies(&asking(roles, quorum)));
    let at = "policies/main.cedar: policy `g`: ";
    assert_eq!(told("finance", 4), format!("{at}it asks 4 people, and only 3 hold its roles"));
    assert_eq!(told("finance, security", 5), format!("{at}it asks 5 people, and only 4 hold its roles"));
    assert_eq!(
        told("finance, treasury", 1),
        format!("{at}it asks for role `treasury`, which nobody in the roster holds")
    );
    // Who holds both roles is one person.
    assert_eq!(told("controller, security", 2), format!("{at}it asks 2 people, and only 1 hold its roles"));
    let mut none = with_policies(&asking("finance", 1));
    let manifest = String::from_utf8(none["bundle.toml"].clone()).unwrap();
    let without = manifest.split("\n[roster").next().unwrap().to_owned();
    none.insert("bundle.toml".into(), without.into_bytes());
    assert!(defect(none).contains("the bundle has no `[roster]`"));
}

#[test]
fn a_person_who_is_called_like_an_agent_is_refused() {
    for name in ["bot", "b0t", "rogue"] {
        let told = defect(with("bundle.toml", "[roster.people.ada]", &format!("[roster.people.{name}]")));
        assert!(
            told.starts_with(&format!("bundle.toml: person `{name}` of the roster looks like agent `")),
            "{told}"
        );
    }
}

#[test]
fn a_roster_is_part_of_the_bundle_and_shown_with_its_line() {
    let report = Snapshot::from_files(files()).unwrap().check().unwrap();
    let roster = report.roster.unwrap();
    assert_eq!(bundle(files()).roster(), Some(&roster));
    assert_eq!(roster.people().len(), 4);
    let written = serde_json::to_string(&roster).unwrap();
    assert_eq!(serde_json::from_str::<Roster>(&written).unwrap(), roster);
    let digest = |files| Snapshot::from_files(files).unwrap().digest();
    assert_ne!(digest(with("bundle.toml", "name = \"ada\"", "name = \"Ada\"")), digest(files()));
    let told = defect(with("bundle.toml", "name = \"ada\"", "name = \"\""));
    assert!(told.starts_with("bundle.toml:") && told.contains("person `ada`: `name` is"), "{told}");
}
