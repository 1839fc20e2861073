use super::*;
use crate::testing::signing_key;

const UNTIL: &str = "2030-01-01T00:00:00Z";

fn key(seed: u8) -> VerifierKey {
    VerifierKey::ed25519(&name(seed), signing_key(seed).verifying_key().to_bytes()).unwrap()
}

fn name(seed: u8) -> String {
    format!("signer-{seed}.example")
}

fn root(version: u64, threshold: usize, seeds: &[u8]) -> Root {
    Root::new("team", version, UNTIL, threshold, seeds.iter().map(|seed| key(*seed)).collect()).unwrap()
}

fn signed(chain: &mut RootChain, seeds: &[u8]) {
    seeds.iter().for_each(|seed| chain.sign(&signing_key(*seed), &name(*seed)).unwrap());
}

/// Root 1 of keys 1 to 3, two of which must sign, signed by two of them.
fn first() -> RootChain {
    let mut chain = RootChain::new(root(1, 2, &[1, 2, 3]));
    signed(&mut chain, &[1, 3]);
    chain
}

/// The chain as it is read from its file.
fn read(chain: &RootChain) -> Result<Authority, RootError> {
    let pin = chain.first.root.digest();
    RootChain::parse(chain.to_text().as_bytes()).unwrap().verify(pin)
}

/// [`first`], and root 2 of keys 3 to 5, signed by these.
fn rotated(by: &[u8]) -> RootChain {
    let mut chain = first();
    chain.add(root(2, 2, &[3, 4, 5])).unwrap();
    signed(&mut chain, by);
    chain
}

#[test]
fn a_root_is_its_keys_its_threshold_and_its_end() {
    let authority = read(&first()).unwrap();
    assert_eq!((authority.keys().len(), authority.threshold()), (3, 2));
    assert_eq!(authority.valid_until(), Some(Millis(1_893_456_000_000)));
    assert_eq!(authority.root().unwrap().version, 1);
}

#[test]
fn the_next_root_takes_enough_keys_of_the_one_before_it_and_of_its_own() {
    let authority = read(&rotated(&[1, 3, 4])).unwrap();
    assert_eq!(authority.root().unwrap().version, 2);
    assert_eq!(authority.keys(), root(2, 2, &[3, 4, 5]).keys());
    // Key 3 is in both, and counts for both.
    assert!(read(&rotated(&[2, 3, 5])).is_ok());
    for (by, old) in [
        // Nobody of the old root, or too few.
        (&[4, 5][..], true),
        (&[3, 4, 5], true),
        // Too few of its own.
        (&[1, 2], false),
        (&[1, 2, 3], false),
        (&[1, 2, 4], false),
    ] {
        let error = read(&rotated(by)).unwrap_err();
        let of = if old { 1 } else { 2 };
        let few = matches!(error, RootError::Threshold { version: 2, by: it, needed: 2, .. } if it == of);
        let nobody = RootError::Note { version: 2, by: of, error: NoteError::NoKnownSignature };
        assert!(few || error == nobody, "{by:?}: {error}");
    }
    let unsigned = read(&rotated(&[])).unwrap_err();
    assert!(
        matches!(unsigned, RootError::Note { version: 2, by: 1, error: NoteError::NoSignatures }),
        "{unsigned}"
    );
}

/// A holder of the old keys cannot be forced to keep the new root, but nothing after it is believed either.
#[test]
fn a_chain_with_one_broken_link_has_no_authority_not_even_of_the_links_before() {
    let mut chain = rotated(&[1, 4]);
    chain.add(root(3, 1, &[6])).unwrap();
    signed(&mut chain, &[4, 5, 6]);
    assert!(matches!(read(&chain).unwrap_err(), RootError::Threshold { version: 2, by: 1, found: 1, .. }));
}

#[test]
fn the_first_root_is_the_pinned_one_and_signed_by_enough_of_its_own_keys() {
    let chain = first();
    let other = root(1, 1, &[1, 2, 3]).digest();
    assert!(matches!(chain.verify(other), Err(RootError::Pin { .. })));
    let mut chain = RootChain::new(root(1, 2, &[1, 2, 3]));
    signed(&mut chain, &[2]);
    assert!(matches!(read(&chain), Err(RootError::Threshold { version: 1, by: 1, needed: 2, found: 1 })));
    // A second signature of the same key, and one of a stranger, are no second key.
    signed(&mut chain, &[2, 9]);
    assert!(matches!(read(&chain), Err(RootError::Threshold { found: 1, .. })));
    signed(&mut chain, &[3]);
    assert!(read(&chain).is_ok());
}

/// An old root taken off the chain's beginning would leave one that nobody pinned.
#[test]
fn a_chain_without_its_beginning_is_not_believed() {
    let chain = rotated(&[1, 3, 4]);
    let pin = chain.first.root.digest();
    let text = chain.later[0].to_text();
    let later = RootChain::parse(text.as_bytes()).unwrap();
    assert!(matches!(later.verify(pin), Err(RootError::Pin { .. })));
}

#[test]
fn one_key_under_two_names_is_one_key() {
    let twice = || {
        let other = VerifierKey::ed25519("alias.example", signing_key(1).verifying_key().to_bytes()).unwrap();
        vec![key(1), other]
    };
    assert!(Root::new("team", 1, UNTIL, 2, twice()).is_err());
    // Should a root ever hold both, one holder still cannot reach two.
    let authority =
        Authority::of_root(twice(), 2, Lineage::of_first(1, first().first.root.digest()), Millis(0));
    let text = "x\n";
    let line = |key: &VerifierKey| signature_line(key, &signing_key(1).sign(text.as_bytes()).to_bytes());
    let note: String = format!("{text}\n{}{}", line(&twice()[0]), line(&twice()[1]));
    let agreed = authority.agree(UnverifiedNote::parse(note.as_bytes()).unwrap());
    assert!(matches!(agreed, Err(Disagreed::TooFew { needed: 2, signers }) if signers.len() == 1));
}

#[test]
fn a_root_of_another_chain_or_out_of_turn_does_not_follow() {
    for (wrong, what) in [
        (Root::new("other", 2, UNTIL, 1, vec![key(1)]).unwrap(), "name"),
        (root(3, 1, &[1]), "version"),
        (root(1, 1, &[1]), "version"),
    ] {
        assert!(first().add(wrong.clone()).is_err());
        let mut chain = first();
        chain.later.push(Link { root: wrong, signatures: String::new() });
        signed(&mut chain, &[1, 2, 3]);
        let error = read(&chain).unwrap_err();
        assert!(matches!(&error, RootError::Order { what: said, .. } if said.contains(what)), "{error}");
    }
}

#[test]
fn a_wrong_signature_of_a_known_key_is_never_passed_over() {
    let mut chain = first();
    let forged = signature_line(&key(2), &signing_key(9).sign(b"x").to_bytes());
    chain.first.signatures.push_str(&forged);
    assert!(matches!(read(&chain), Err(RootError::Note { error: NoteError::BadSignature { .. }, .. })));
    // What was signed of root 1 is none of root 2.
    let mut chain = rotated(&[1, 4]);
    let of_first = first().first.signatures;
    chain.later[0].signatures.push_str(&of_first);
    assert!(matches!(read(&chain), Err(RootError::Note { error: NoteError::BadSignature { .. }, .. })));
}

#[test]
fn what_is_no_root_cannot_be_made_or_read() {
    let keys = || vec![key(1), key(2)];
    for made in [
        Root::new("Team", 1, UNTIL, 1, keys()),
        Root::new("", 1, UNTIL, 1, keys()),
        Root::new("team", 0, UNTIL, 1, keys()),
        Root::new("team", 1 << 53, UNTIL, 1, keys()),
        Root::new("team", 1, "2030-01-01", 1, keys()),
        Root::new("team", 1, "2030-01-01T00:00:00.000Z", 1, keys()),
        Root::new("team", 1, UNTIL, 0, keys()),
        Root::new("team", 1, UNTIL, 3, keys()),
        Root::new("team", 1, UNTIL, 1, Vec::new()),
        Root::new("team", 1, UNTIL, 1, vec![key(1), key(1)]),
        Root::new("team", 1, UNTIL, 1, (1..=33).map(key).collect()),
    ] {
        assert!(made.is_err(), "{made:?}");
    }
    let good = rotated(&[1, 3, 4]).to_text();
    assert!(RootChain::parse(good.as_bytes()).is_ok());
    let lines: Vec<_> = root(1, 2, &[1, 2, 3]).keys().iter().map(ToString::to_string).collect();
    let exchanged =
        good.replacen(&lines[0], "X", 1).replacen(&lines[1], &lines[0], 1).replacen('X', &lines[1], 1);
    for bad in [
        String::new(),
        "portcullis bundle root v1\n".to_owned(),
        good.replacen("v1", "v2", 1),
        good.replacen("team\n1\n", "team\n01\n", 1),
        good.replacen("team\n1\n", "team\n+1\n", 1),
        good.replacen("Z\n2\n", "Z\n02\n", 1),
        exchanged,
        format!("\n{good}"),
        format!("x{good}"),
        good.trim_end().to_owned(),
        good.replacen('\n', "\r\n", 1),
        good.replacen("\n\n", "\n", 1),
    ] {
        assert_ne!(bad, good);
        let read = RootChain::parse(bad.as_bytes());
        let pin = first().first.root.digest();
        assert!(read.and_then(|chain| chain.verify(pin)).is_err(), "{bad}");
    }
    assert!(RootChain::parse(&vec![b'\n'; MAX_CHAIN_BYTES + 1]).is_err());
    assert!(RootChain::parse(b"portcullis bundle root v1\n\xff").is_err());
    let many = first().to_text().repeat(MAX_ROOTS + 1);
    assert!(matches!(RootChain::parse(many.as_bytes()), Err(RootError::Form(what)) if what.contains("256")));
}

#[test]
fn a_chain_reads_back_as_it_was_written() {
    for chain in [RootChain::new(root(1, 1, &[1])), first(), rotated(&[]), rotated(&[1, 3, 4])] {
        let text = chain.to_text();
        let read = RootChain::parse(text.as_bytes()).unwrap();
        assert_eq!(read.to_text(), text);
        assert_eq!(read.roots().count(), chain.roots().count());
    }
}
