//! Philox against the known answers of Random123, and what depends on what.

use super::*;
use crate::testing::device;

#[test]
fn philox_gives_the_known_answers() {
    let check = |counter, key, want| assert_eq!(philox(counter, key), want);
    check([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    check([!0; 4], [!0; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    check(
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
        [0xa409_3822, 0x299f_31d0],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
    );
}

#[test]
fn scores_depend_on_their_coordinates_alone() {
    let device = device();
    let rows = [[1, 2, 3], [-1, 0, 7], [1, 2, 3]];
    let table = Tensor::from_i32(&rows.concat(), &[3, 3], &device).unwrap();
    let seed = 0x1234_5678_9abc_def0u64;
    let got = scores(&table, 5001, seed).unwrap().to_f32_vec().unwrap();
    for (r, row) in rows.iter().enumerate() {
        for c in [0usize, 1, 4999, 5000] {
            let counter = [row[0] as u32, row[1] as u32, row[2] as u32, c as u32];
            let want = uniform(philox(counter, [0x9abc_def0, 0x1234_5678])[0]);
            assert_eq!(got[r * 5001 + c], want, "row {r}, column {c}");
        }
    }
    assert!(got.iter().all(|x| (0.0..1.0).contains(x)));
    let mean = got.iter().map(|&x| f64::from(x)).sum::<f64>() / got.len() as f64;
    assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
    assert_ne!(got[..5001], scores(&table, 5001, seed + 1).unwrap().to_f32_vec().unwrap()[..5001]);
}

#[test]
fn uniform_is_below_one() {
    assert_eq!((uniform(0), uniform(255)), (0.0, 0.0));
    assert_eq!(uniform(u32::MAX), 1.0 - 1.0 / 16_777_216.0);
}
