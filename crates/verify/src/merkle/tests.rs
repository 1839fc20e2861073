use proptest::prelude::*;

use super::{
    Hash, HashError, MerkleError, empty_root, leaf_hash, tree_root, verify_consistency, verify_inclusion,
};
use crate::testing::{hex, hex_hash, leaves, reference_consistency, reference_path, reference_root};

/// Leaves and roots of the certificate-transparency project's tests (`cpp/merkletree/merkle_tree_test.cc`).
const CT_LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const CT_ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn ct_leaf_hashes() -> Vec<Hash> {
    CT_LEAVES.iter().map(|leaf| leaf_hash(&hex(leaf))).collect()
}

fn siblings(path: Vec<(bool, Hash)>) -> Vec<Hash> {
    path.into_iter().map(|(_, hash)| hash).collect()
}

fn size(leaves: &[Hash]) -> u64 {
    u64::try_from(leaves.len()).unwrap()
}

#[test]
fn roots_are_those_of_the_ct_vectors() {
    let hashes = ct_leaf_hashes();
    assert_eq!(empty_root(), hex_hash(CT_ROOTS[0]));
    for (count, root) in CT_ROOTS.iter().enumerate() {
        assert_eq!(tree_root(&hashes[..count]), hex_hash(root));
        assert_eq!(reference_root(&hashes[..count]), hex_hash(root));
    }
}

#[test]
fn ct_inclusion_vectors_verify() {
    let hashes = ct_leaf_hashes();
    let cases: [(usize, usize, &[&str]); 4] = [
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ];
    for (index, count, proof) in cases {
        let proof: Vec<Hash> = proof.iter().map(|hash| hex_hash(hash)).collect();
        let (at, of) = (u64::try_from(index).unwrap(), u64::try_from(count).unwrap());
        assert_eq!(verify_inclusion(&hashes[index], at, of, &proof, &hex_hash(CT_ROOTS[count])), Ok(()));
    }
}

#[test]
fn ct_consistency_vectors_verify() {
    let cases: [(u64, u64, &[&str]); 3] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
    ];
    for (old, new, proof) in cases {
        let proof: Vec<Hash> = proof.iter().map(|hash| hex_hash(hash)).collect();
        let root = |size: u64| hex_hash(CT_ROOTS[usize::try_from(size).unwrap()]);
        assert_eq!(verify_consistency(old, &root(old), new, &root(new), &proof), Ok(()));
    }
}

#[test]
fn the_edges_of_inclusion_have_exact_errors() {
    let leaf = leaf_hash(b"leaf");
    let other = leaf_hash(b"other");
    let check = |index, size, proof: &[Hash], root| verify_inclusion(&leaf, index, size, proof, &root);
    assert_eq!(check(0, 0, &[], empty_root()), Err(MerkleError::IndexOutOfRange { index: 0, size: 0 }));
    assert_eq!(check(3, 3, &[], leaf), Err(MerkleError::IndexOutOfRange { index: 3, size: 3 }));
    assert_eq!(check(0, 1, &[other], leaf), Err(MerkleError::ProofTooLong));
    assert_eq!(check(0, 2, &[], leaf), Err(MerkleError::ProofTooShort));
    assert_eq!(check(u64::MAX - 1, u64::MAX, &[], leaf), Err(MerkleError::ProofTooShort));
    let mismatch = MerkleError::RootMismatch { expected: other, computed: leaf };
    assert_eq!(check(0, 1, &[], other), Err(mismatch));
}

#[test]
fn the_edges_of_consistency_have_exact_errors() {
    let [a, b] = [leaf_hash(b"a"), leaf_hash(b"b")];
    let nothing = empty_root();
    assert_eq!(verify_consistency(0, &nothing, 0, &nothing, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &nothing, 9, &a, &[]), Ok(()));
    assert_eq!(verify_consistency(7, &a, 7, &a, &[]), Ok(()));
    let cases = [
        (verify_consistency(0, &nothing, 9, &a, &[b]), MerkleError::ProofTooLong),
        (verify_consistency(7, &a, 7, &a, &[b]), MerkleError::ProofTooLong),
        (verify_consistency(2, &a, 1, &b, &[]), MerkleError::SizesReversed { old: 2, new: 1 }),
        (verify_consistency(7, &a, 7, &b, &[]), MerkleError::SplitView { size: 7, old: a, new: b }),
        (
            verify_consistency(0, &a, 9, &b, &[]),
            MerkleError::OldRootMismatch { expected: a, computed: nothing },
        ),
        (
            verify_consistency(0, &nothing, 0, &b, &[]),
            MerkleError::SplitView { size: 0, old: nothing, new: b },
        ),
        (verify_consistency(2, &a, 3, &b, &[]), MerkleError::ProofTooShort),
        (verify_consistency(3, &a, 4, &b, &[]), MerkleError::ProofTooShort),
        (verify_consistency(u64::MAX - 1, &a, u64::MAX, &b, &[]), MerkleError::ProofTooShort),
    ];
    for (found, expected) in cases {
        assert_eq!(found, Err(expected));
    }
}

#[test]
fn a_consistency_proof_names_the_root_that_disagrees() {
    let hashes = leaves(7);
    let (old, new) = (reference_root(&hashes[..3]), reference_root(&hashes));
    let proof = reference_consistency(3, &hashes, true);
    let other = leaf_hash(b"other");
    assert_eq!(verify_consistency(3, &old, 7, &new, &proof), Ok(()));
    let wrong_old = MerkleError::OldRootMismatch { expected: other, computed: old };
    assert_eq!(verify_consistency(3, &other, 7, &new, &proof), Err(wrong_old));
    let wrong_new = MerkleError::RootMismatch { expected: other, computed: new };
    assert_eq!(verify_consistency(3, &old, 7, &other, &proof), Err(wrong_new));
}

#[test]
fn a_hash_has_one_text_form() {
    let hash = empty_root();
    assert_eq!(hash.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!(format!("{hash:?}"), "Hash(47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=)");
    let cases = [
        "",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        // Trailing bits that decode to the same bytes.
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
        "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==",
    ];
    for text in cases {
        assert_eq!(text.parse::<Hash>(), Err(HashError), "accepted `{text}`");
    }
}

#[test]
fn every_small_tree_verifies_and_no_other_index_does() {
    for count in 1..=33 {
        let hashes = leaves(count);
        let root = reference_root(&hashes);
        for (index, leaf) in (0..).zip(&hashes) {
            let proof = siblings(reference_path(usize::try_from(index).unwrap(), &hashes));
            for claimed in 0..=count {
                let verdict = verify_inclusion(leaf, claimed, count, &proof, &root);
                assert_eq!(verdict.is_ok(), claimed == index, "leaf {index} of {count} as {claimed}");
            }
        }
    }
}

#[test]
fn another_size_passes_only_where_the_path_has_the_same_shape() {
    // Merkle proofs do not authenticate the size: the signed checkpoint does.
    let shape = |index: u64, count: u64| -> Vec<bool> {
        let path = reference_path(usize::try_from(index).unwrap(), &leaves(count));
        path.into_iter().map(|(left, _)| left).collect()
    };
    for count in 1..=20 {
        let hashes = leaves(count);
        let root = reference_root(&hashes);
        for (index, leaf) in (0..).zip(&hashes) {
            let proof = siblings(reference_path(usize::try_from(index).unwrap(), &hashes));
            for claimed in index + 1..=24 {
                let verdict = verify_inclusion(leaf, index, claimed, &proof, &root);
                assert_eq!(verdict.is_ok(), shape(index, claimed) == shape(index, count));
            }
        }
    }
}

#[test]
fn every_small_tree_extends_its_prefixes_and_no_other() {
    for new in 1..=33 {
        let hashes = leaves(new);
        let root = reference_root(&hashes);
        for old in 1..=new {
            let at = usize::try_from(old).unwrap();
            let proof = reference_consistency(at, &hashes, true);
            let old_root = reference_root(&hashes[..at]);
            assert_eq!(verify_consistency(old, &old_root, new, &root, &proof), Ok(()));
            for claimed in (0..=new).filter(|claimed| *claimed != old) {
                assert!(verify_consistency(claimed, &old_root, new, &root, &proof).is_err());
            }
            for cut in 0..proof.len() {
                assert!(verify_consistency(old, &old_root, new, &root, &proof[..cut]).is_err());
            }
        }
    }
}

proptest! {
    #[test]
    fn no_input_makes_the_checks_panic(
        index: u64, size: u64, root: [u8; 32],
        proof in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let root = Hash(root);
        let proof: Vec<Hash> = proof.into_iter().map(Hash).collect();
        prop_assert!(verify_inclusion(&root, index, size, &proof, &empty_root()).is_err());
        if index != 0 || !proof.is_empty() {
            prop_assert!(verify_consistency(index, &root, size, &empty_root(), &proof).is_err());
        }
    }

    #[test]
    fn a_proof_with_one_bit_flipped_fails(count in 2_u64..200, at: prop::sample::Index, bit in 0_usize..256) {
        let hashes = leaves(count);
        let root = reference_root(&hashes);
        let index = at.index(hashes.len());
        let mut proof = siblings(reference_path(index, &hashes));
        let position = u64::try_from(index).unwrap();
        prop_assert_eq!(verify_inclusion(&hashes[index], position, size(&hashes), &proof, &root), Ok(()));
        let which = at.index(proof.len());
        proof[which].0[bit / 8] ^= 1 << (bit % 8);
        let verdict = verify_inclusion(&hashes[index], position, size(&hashes), &proof, &root);
        let is_mismatch = matches!(verdict, Err(MerkleError::RootMismatch { .. }));
        prop_assert!(is_mismatch);
    }
}
