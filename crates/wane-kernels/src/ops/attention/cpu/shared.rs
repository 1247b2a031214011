//! A slice of which several threads write disjoint ranges.

use std::marker::PhantomData;

/// Hands out ranges of an exclusive borrow.
#[derive(Debug)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    exclusive: PhantomData<&'a mut [T]>,
}

// SAFETY: `range`, the only access, is unsafe and asks for ranges that do not overlap.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: it stands for an exclusive borrow, which may move between threads.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), exclusive: PhantomData }
    }

    /// Elements `first..first + n`.
    ///
    /// # Safety
    /// No other reference to any of these elements exists while this one does.
    #[expect(clippy::mut_from_ref, reason = "the caller guarantees that ranges do not overlap")]
    pub(crate) unsafe fn range(&self, first: usize, n: usize) -> &mut [T] {
        assert!(first + n <= self.len, "range of a shared slice");
        // SAFETY: within the slice by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), n) }
    }
}
