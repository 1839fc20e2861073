//! The targets by name.

pub(crate) mod bundles;
mod drafts;
mod evidence;
mod late;
mod logs;
mod meaning;
mod messages;
mod schemas;
mod signed;
mod texts;
pub(crate) mod tokens;
mod tools;
mod traces;
pub(crate) mod witnesses;

use crate::endpoint::headers;

/// Takes any bytes, and panics if a promise is broken on them.
pub(crate) type Target = fn(&[u8]);

/// Every target. `planted` is broken on purpose: a campaign that does not find it explores nothing.
pub(crate) const ALL: [(&str, Target); 42] = [
    ("planted", planted),
    ("json", texts::json),
    ("request", texts::request),
    ("record", texts::record),
    ("arguments", texts::arguments),
    ("address", texts::address),
    ("message", messages::message),
    ("late", late::call),
    ("spool", late::spool),
    ("key", evidence::key),
    ("note", evidence::note),
    ("checkpoint", evidence::checkpoint),
    ("proof", evidence::proof),
    ("receipt", evidence::receipt),
    ("pack", evidence::pack),
    ("pack_members", evidence::pack_members),
    ("cosigned", witnesses::cosigned),
    ("submission", witnesses::submission),
    ("seen", witnesses::seen),
    ("anchor", late::anchor),
    ("tile", logs::tile),
    ("log", logs::log),
    ("range", logs::range),
    ("archive", bundles::archive),
    ("artifact", bundles::artifact),
    ("bundle", bundles::manifest),
    ("bundle_signature", bundles::signature),
    ("bundle_root", bundles::root),
    ("facts", bundles::facts),
    ("draft", drafts::draft),
    ("diagnosis", drafts::diagnosis),
    ("token", tokens::token),
    ("jwks", tokens::jwks),
    ("headers", headers::headers),
    ("tool", tools::tool),
    ("page", tools::page),
    ("fit", schemas::fit),
    ("output", schemas::output),
    ("difference", meaning::difference),
    ("invariant", meaning::invariant),
    ("prove", meaning::prove),
    ("trace", traces::trace),
];

/// Eight bytes in a row: never by chance, and within seconds by whoever sees which branches are taken.
fn planted(data: &[u8]) {
    let mut rest = data.iter();
    let mut next = |wanted: u8| std::hint::black_box(rest.next()).is_some_and(|byte| *byte == wanted);
    if next(b'p') && next(b'l') && next(b'a') && next(b'n') {
        let word = data.get(4..8).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
        assert_ne!(std::hint::black_box(word), Some(0x6465_7421), "the planted fault");
    }
}
