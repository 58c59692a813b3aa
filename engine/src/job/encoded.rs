//! A value's encoding on its way to another process.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

/// Bytes of one's own, or those of a top-level [`Bytes`], which stay where they are.
#[derive(Debug, Clone)]
pub(crate) enum Encoded {
    Own(Vec<u8>),
    Shared(Bytes),
}

/// A shorter [`Bytes`] is copied: memory for it is there already, and a shared one is counted.
const SHARED_MIN: usize = 1 << 10;

impl Encoded {
    pub(crate) const fn new() -> Self {
        Self::Own(Vec::new())
    }

    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self::Own(Vec::with_capacity(bytes))
    }

    /// The encoding of a top-level [`Bytes`]: itself.
    pub(super) fn put(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_MIN {
            self.own().extend_from_slice(bytes);
        } else {
            *self = Self::Shared(bytes.clone());
        }
    }

    /// What is appended to; shared bytes are let go first.
    pub(crate) fn own(&mut self) -> &mut Vec<u8> {
        if let Self::Shared(_) = self {
            self.clear();
        }
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(_) => unreachable!("it was let go"),
        }
    }

    /// Empties it and keeps memory of its own for the next one.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Own(bytes) => bytes.clear(),
            Self::Shared(_) => {
                let old = std::mem::replace(self, Self::new());
                // The last to let go of it runs its owner's Drop: user code.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
            }
        }
    }

    /// The memory of its own that it keeps, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(_) => 0,
        }
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes.into(),
        }
    }
}

impl Deref for Encoded {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Encoded {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bytes_are_shared_and_short_ones_copied() {
        let (short, long) =
            (Bytes::from(vec![1; SHARED_MIN - 1]), Bytes::from(vec![2; SHARED_MIN]));
        let mut encoded = Encoded::new();
        encoded.put(&short);
        assert!(*encoded == short && encoded.as_ptr() != short.as_ptr());
        encoded.clear();
        encoded.put(&long);
        assert_eq!((encoded.as_ptr(), encoded.len()), (long.as_ptr(), SHARED_MIN));
        encoded.own().push(3);
        assert_eq!(*encoded, [3], "what was shared is let go, not changed");
        assert_eq!(long, vec![2; SHARED_MIN]);
    }

    #[test]
    fn the_owner_of_shared_bytes_may_panic_when_they_are_let_go() {
        struct Panics(Vec<u8>);
        impl AsRef<[u8]> for Panics {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("as a user's may");
            }
        }
        let mut encoded = Encoded::new();
        encoded.put(&Bytes::from_owner(Panics(vec![1; SHARED_MIN])));
        encoded.clear();
        assert!(encoded.is_empty());
    }
}
