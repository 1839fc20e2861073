use proptest::prelude::*;

use super::{NodeReader, TreeError, consistency_proof, inclusion_proof, root};
use crate::merkle::{Hash, MerkleError, empty_root, verify_consistency, verify_inclusion};
use crate::testing::{TestLog, leaves, reference_consistency, reference_path, reference_root};

/// Complete subtrees of a row of leaves.
struct Rows(Vec<Hash>);

impl NodeReader for Rows {
    type Error = String;

    fn node(&self, level: u32, index: u64) -> Result<Hash, String> {
        let width = 1 << level;
        let start = usize::try_from(index).unwrap() * width;
        let range = self.0.get(start..start + width);
        range.map(reference_root).ok_or_else(|| format!("no node {level}/{index}"))
    }
}

#[test]
fn proofs_are_those_of_the_rfc() {
    for size in 0..=40 {
        let reader = Rows(leaves(size));
        assert_eq!(root(size, &reader), Ok(reference_root(&reader.0)));
        for part in 0..size {
            let at = usize::try_from(part).unwrap();
            let path: Vec<Hash> = reference_path(at, &reader.0).into_iter().map(|(_, hash)| hash).collect();
            assert_eq!(inclusion_proof(part, size, &reader), Ok(path));
            if part > 0 {
                assert_eq!(
                    consistency_proof(part, size, &reader),
                    Ok(reference_consistency(at, &reader.0, true))
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_proved_has_exact_errors() {
    let reader = Rows(leaves(4));
    assert_eq!(inclusion_proof(4, 4, &reader), Err(TreeError::IndexOutOfRange { index: 4, size: 4 }));
    assert_eq!(inclusion_proof(0, 0, &reader), Err(TreeError::IndexOutOfRange { index: 0, size: 0 }));
    assert_eq!(consistency_proof(3, 2, &reader), Err(TreeError::SizesReversed { old: 3, new: 2 }));
    assert_eq!(inclusion_proof(0, 8, &reader), Err(TreeError::Reader("no node 2/1".to_owned())));
    assert_eq!(consistency_proof(4, 8, &reader), Err(TreeError::Reader("no node 2/1".to_owned())));
    assert_eq!(root(0, &reader), Ok(empty_root()));
    assert_eq!(consistency_proof(0, 4, &reader), Ok(Vec::new()));
    assert_eq!(consistency_proof(4, 4, &reader), Ok(Vec::new()));
}

#[test]
fn a_log_of_70000_proves_its_first_last_and_middle_records() {
    let log = TestLog::new(70_000);
    let (size, reader) = (log.tree.size(), log.reader());
    for index in [0, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999] {
        let record = &log.records[usize::try_from(index).unwrap()];
        let proof = inclusion_proof(index, size, &reader).unwrap();
        let leaf = crate::merkle::leaf_hash(record);
        assert_eq!(verify_inclusion(&leaf, index, size, &proof, &log.tree.root()), Ok(()));
        let old_root = log.checkpoint_at(index).root;
        let proof = consistency_proof(index, size, &reader).unwrap();
        assert_eq!(verify_consistency(index, &old_root, size, &log.tree.root(), &proof), Ok(()));
    }
}

fn flip(hash: &mut Hash, bit: usize) {
    hash.0[bit / 8] ^= 1 << (bit % 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_inclusion_proof_holds_for_its_leaf_index_and_root_alone(
        size in 1_u64..=1_500, at: prop::sample::Index, other: prop::sample::Index, bit in 0_usize..256,
    ) {
        let log = TestLog::new(size);
        let place = at.index(log.records.len());
        let index = u64::try_from(place).unwrap();
        let leaf = crate::merkle::leaf_hash(&log.records[place]);
        let root = log.tree.root();
        let proof = inclusion_proof(index, size, &log.reader()).unwrap();
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));

        let (mut wrong_leaf, mut wrong_root, mut wrong_proof) = (leaf, root, proof.clone());
        flip(&mut wrong_leaf, bit);
        flip(&mut wrong_root, bit);
        prop_assert!(verify_inclusion(&wrong_leaf, index, size, &proof, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, index, size, &proof, &wrong_root).is_err());
        if !proof.is_empty() {
            let which = other.index(proof.len());
            flip(&mut wrong_proof[which], bit);
            prop_assert!(verify_inclusion(&leaf, index, size, &wrong_proof, &root).is_err());
            wrong_proof.remove(which);
            prop_assert_eq!(
                verify_inclusion(&leaf, index, size, &wrong_proof, &root),
                Err(MerkleError::ProofTooShort)
            );
        }
        let longer = [proof.as_slice(), &[root]].concat();
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &longer, &root), Err(MerkleError::ProofTooLong));
        let wrong_index = u64::try_from(other.index(log.records.len())).unwrap();
        let verdict = verify_inclusion(&leaf, wrong_index, size, &proof, &root);
        prop_assert_eq!(verdict.is_ok(), wrong_index == index);
        // The record at the claimed index is another: no smaller tree with this root can exist either.
        prop_assert!(verify_inclusion(&leaf, index, index, &proof, &root).is_err());
    }

    #[test]
    fn a_consistency_proof_holds_for_its_sizes_and_roots_alone(
        new in 1_u64..=1_500, at: prop::sample::Index, other: prop::sample::Index, bit in 0_usize..256,
    ) {
        let log = TestLog::new(new);
        let old = u64::try_from(at.index(log.records.len())).unwrap() + 1;
        let (old_root, new_root) = (log.checkpoint_at(old).root, log.tree.root());
        let proof = consistency_proof(old, new, &log.reader()).unwrap();
        let check = |old, old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
            verify_consistency(old, old_root, new, new_root, proof)
        };
        prop_assert_eq!(check(old, &old_root, &new_root, &proof), Ok(()));

        let (mut wrong_old, mut wrong_new, mut wrong_proof) = (old_root, new_root, proof.clone());
        flip(&mut wrong_old, bit);
        flip(&mut wrong_new, bit);
        prop_assert!(check(old, &wrong_old, &new_root, &proof).is_err());
        prop_assert!(check(old, &old_root, &wrong_new, &proof).is_err());
        if !proof.is_empty() {
            let which = other.index(proof.len());
            flip(&mut wrong_proof[which], bit);
            prop_assert!(check(old, &old_root, &new_root, &wrong_proof).is_err());
            wrong_proof.remove(which);
            prop_assert!(check(old, &old_root, &new_root, &wrong_proof).is_err());
        }
        prop_assert!(check(old, &old_root, &new_root, &[proof.as_slice(), &[new_root]].concat()).is_err());
        let claimed = u64::try_from(other.index(log.records.len())).unwrap() + 1;
        prop_assert_eq!(check(claimed, &old_root, &new_root, &proof).is_ok(), claimed == old);
    }
}
