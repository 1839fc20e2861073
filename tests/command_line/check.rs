//! `portcullis log check`.

use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, text};
use crate::with;

#[test]
fn a_log_is_checked_and_a_flipped_record_is_named() {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    for _ in 0..3 {
        gate.call("read_balance", json!({ "account": "acme" })).ran();
    }
    assert!(gate.end().success());
    let said = with(&place.config_path, &["log", "check"]);
    assert!(said.ok().contains("is what was signed"), "{said:?}");
    let exported = place.path("exported");
    with(&place.config_path, &["log", "export", &text(&exported)]).ok();
    let since = text(&exported.join("checkpoint"));
    let said = with(&place.config_path, &["log", "check", "--json", "--since", &since]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    assert!(said["done"] == true && said["size"] == said["hashing"]["records"], "{said}");
    assert_eq!(said["size"], said["state"]["records"]);
    let shown = with(&place.config_path, &["log", "check", "--progress"]);
    assert!(shown.code == 0 && shown.err.contains("hashing records: "), "{shown:?}");

    let none = place.file("none", "no checkpoint");
    with(&place.config_path, &["log", "check", "--since", &text(&none)]).failed("older checkpoint");
    let database = place.config.data.join("ledger/000001/ledger.db");
    let mut bytes = std::fs::read(&database).unwrap();
    let permit = br#""decision":"PERMIT""#;
    let at = bytes.windows(permit.len()).position(|found| found == permit).unwrap();
    bytes[at + permit.len() - 2] ^= 1;
    std::fs::write(&database, bytes).unwrap();
    let said = with(&place.config_path, &["log", "check"]);
    assert!(said.code == 1 && said.out.is_empty(), "{said:?}");
}
