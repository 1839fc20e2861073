use proptest::prelude::*;

use super::{around, verify_range};
use crate::merkle::{Hash, MerkleError, leaf_hash};
use crate::testing::{TestLog, leaves, reference_root};
use crate::tree::NodeReader;

/// The roots of the subtrees around a range.
fn proof(log: &TestLog, first: u64, end: u64) -> (Vec<Hash>, Vec<Hash>) {
    let (before, after) = around(first, end, log.tree.size()).unwrap();
    let hashes = |places: Vec<(u32, u64)>| -> Vec<Hash> {
        places.into_iter().map(|(level, index)| log.reader().node(level, index).unwrap()).collect()
    };
    (hashes(before), hashes(after))
}

#[test]
fn every_range_of_small_trees_is_proved_by_its_own_leaves_alone() {
    for size in 0..20 {
        let log = TestLog::new(size);
        let hashes: Vec<Hash> = log.records.iter().map(|record| leaf_hash(record)).collect();
        let root = reference_root(&hashes);
        for first in 0..=size {
            for end in first..=size {
                let (before, after) = proof(&log, first, end);
                let range = hashes[usize::try_from(first).unwrap()..usize::try_from(end).unwrap()].to_vec();
                let verify =
                    |first, range: &[Hash], size| verify_range(first, range, size, (&before, &after), &root);
                assert_eq!(verify(first, &range, size), Ok(()), "{first} to {end} of {size}");
                for at in 0..range.len() {
                    let mut without = range.clone();
                    without.remove(at);
                    assert!(verify(first, &without, size).is_err());
                    let mut twice = range.clone();
                    twice.insert(at, range[at]);
                    assert!(verify(first, &twice, size).is_err());
                    let mut swapped = range.clone();
                    swapped.swap(at, 0);
                    assert_eq!(verify(first, &swapped, size).is_ok(), at == 0);
                }
                if !range.is_empty() {
                    assert!(verify(first + 1, &range, size).is_err());
                    assert!(first == 0 || verify(first - 1, &range, size).is_err());
                }
            }
        }
    }
}

#[test]
fn a_proof_of_the_wrong_length_or_range_has_its_error() {
    let log = TestLog::new(10);
    let hashes: Vec<Hash> = log.records.iter().map(|record| leaf_hash(record)).collect();
    let (before, after) = proof(&log, 3, 7);
    let root = reference_root(&hashes);
    let verify = |before: &[Hash], after: &[Hash]| verify_range(3, &hashes[3..7], 10, (before, after), &root);
    assert_eq!(verify(&before, &after), Ok(()));
    assert_eq!(verify(&before[1..], &after), Err(MerkleError::ProofTooShort));
    assert_eq!(verify(&before, &after[1..]), Err(MerkleError::ProofTooShort));
    assert_eq!(verify(&[&before[..], &after[..1]].concat(), &after), Err(MerkleError::ProofTooLong));
    assert_eq!(verify(&before, &[&after[..], &before[..1]].concat()), Err(MerkleError::ProofTooLong));
    assert!(matches!(verify(&after[..before.len()], &after), Err(MerkleError::RootMismatch { .. })));
    let beyond = MerkleError::IndexOutOfRange { index: 11, size: 10 };
    assert_eq!(verify_range(7, &hashes[3..7], 10, (&before, &after), &root), Err(beyond));
    assert_eq!(around(5, 4, 10), Err(MerkleError::SizesReversed { old: 5, new: 4 }));
    let beyond = MerkleError::IndexOutOfRange { index: u64::MAX, size: 10 };
    assert_eq!(verify_range(u64::MAX, &hashes[3..7], 10, (&before, &after), &root), Err(beyond));
}

#[test]
fn the_largest_tree_has_its_places() {
    let (before, after) = around(u64::MAX - 1, u64::MAX - 1, u64::MAX).unwrap();
    assert_eq!((before.len(), after.len()), (63, 1));
    let (before, after) = around(1, 2, u64::MAX).unwrap();
    assert_eq!(before, [(0, 0)]);
    assert!(after.len() <= 126);
}

proptest! {
    #[test]
    fn any_range_is_proved(size in 0_u64..700, a in 0_u64..700, b in 0_u64..700) {
        let (first, end) = (a.min(b).min(size), a.max(b).min(size));
        let log = TestLog::new(size);
        let hashes: Vec<Hash> = log.records.iter().map(|record| leaf_hash(record)).collect();
        let (before, after) = proof(&log, first, end);
        let range = &hashes[usize::try_from(first).unwrap()..usize::try_from(end).unwrap()];
        let root = reference_root(&hashes);
        prop_assert_eq!(verify_range(first, range, size, (&before, &after), &root), Ok(()));
    }

    #[test]
    fn no_input_makes_it_panic(first in any::<u64>(), count in 0_u64..9, size in any::<u64>(), n in 0_u64..70, m in 0_u64..130) {
        let (range, some, more) = (leaves(count), leaves(n), leaves(m));
        let outcome = verify_range(first, &range, size, (&some, &more), &leaf_hash(b""));
        prop_assert!(outcome.is_err());
    }
}
