//! The pool hands out distinct, aligned memory and keeps no cache pages.

use super::*;

#[test]
fn buffers_are_aligned_distinct_and_nan_filled() {
    for bytes in [0, 1, 63, 64, 65, 4096, POOLED_BYTES - 1, POOLED_BYTES, 1_000_003] {
        let (mut a, b) = (CpuBuffer::new(bytes), CpuBuffer::new(bytes));
        assert_eq!((a.bytes().len(), b.bytes().len()), (bytes, bytes));
        assert_eq!(a.bytes().as_ptr() as usize % ALIGNMENT, 0);
        a.bytes_mut().fill(1);
        assert!(b.bytes().iter().all(|&x| x == 0xff), "{bytes} bytes are shared or not filled");
        drop(a);
        assert!(CpuBuffer::new(bytes).bytes().iter().all(|&x| x == 0xff), "{bytes} bytes, reused");
        assert!(CpuBuffer::unpooled(bytes).bytes().iter().all(|&x| x == 0xff));
    }
}

#[test]
fn size_classes_cover_and_waste_little() {
    for bytes in [1, 64, 65_536, 65_537, 100_000, 1 << 20, (1 << 20) + 1, 123_456_789] {
        let class = size_class(bytes);
        assert!(class >= bytes && class <= bytes + bytes / 8 + ALIGNMENT, "{bytes}: {class}");
        assert_eq!(size_class(class), class, "a class is its own class");
    }
}
