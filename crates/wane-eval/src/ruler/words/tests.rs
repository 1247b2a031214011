//! The hashes of the sorted lists that NVIDIA's generator draws from.

use super::WordList;
use sha2::{Digest, Sha256};

fn check(list: WordList, len: usize, hash: &str) {
    let pairs = list.pairs();
    assert_eq!(pairs.len(), len);
    let mut sha = Sha256::new();
    for position in 0..len {
        if position > 0 {
            sha.update(b"\n");
        }
        sha.update(pairs.get(position).as_bytes());
    }
    assert_eq!(format!("{:x}", sha.finalize()), hash);
}

#[test]
fn version_2_2_0_is_whole() {
    check(WordList::V2_2_0, 6_175_260, "020e4aab7091c71c01b31963463e27eb17631adf2926129d50b3613496a4b41a");
}

#[test]
fn version_3_0_1_is_whole() {
    check(WordList::V3_0_1, 6_171_620, "e5e6a09ed20903cb4abfcde8b89d1a40d4133a6fcff97001c690c21d97af3007");
}
