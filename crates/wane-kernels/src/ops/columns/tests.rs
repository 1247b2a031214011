//! Columns keep their values and leave their neighbours alone.

use super::{contiguous, copy};
use crate::Tensor;
use crate::testing::{device, noise};

#[test]
fn columns_travel_both_ways() {
    let device = device();
    let values = noise(7 * 13, 1);
    let wide = Tensor::from_f32(&values, &[7, 13], &device).unwrap();
    let part = contiguous(wide.cols(3, 5)).unwrap();
    let want: Vec<f32> = (0..7).flat_map(|i| values[i * 13 + 3..i * 13 + 8].to_vec()).collect();
    assert_eq!(part.to_f32_vec().unwrap(), want);

    let mut target = Tensor::zeros(&[7, 9], wide.dtype(), &device).unwrap();
    copy((&part).into(), target.cols_mut(2, 5)).unwrap();
    let got = target.to_f32_vec().unwrap();
    for i in 0..7 {
        assert_eq!(&got[i * 9 + 2..i * 9 + 7], &want[i * 5..i * 5 + 5]);
        assert!(got[i * 9..i * 9 + 2].iter().chain(&got[i * 9 + 7..i * 9 + 9]).all(|x| *x == 0.0));
    }
    assert!(copy(wide.cols(0, 4), target.cols_mut(0, 5)).is_err());
}
