//! One large file on several cores: BLAKE3 is a binary tree over chunks, so aligned ranges of a
//! power-of-two length can be hashed apart and their chaining values merged to the root.
//!
//! # Invariants
//! 1. Every range but the last is [`RANGE_BYTES`] long and starts at a multiple of it, so it is a
//!    whole subtree of the file's tree; the last is the right edge of the tree.
//! 2. [`Merge`] holds one value per set bit of the number of ranges pushed before the last one:
//!    memory grows with the logarithm of the file.
//! 3. Merging is lazy. Two equal subtrees become one only when a further range shows that they are
//!    not the two halves of the whole file, which must be merged as the root.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// The bytes of one range: a task of one or two milliseconds.
pub(crate) const RANGE_BYTES: u64 = 8 << 20;

/// A file from this size on is split; below, a second core would have little to do.
pub(crate) const SPLIT_FROM_BYTES: u64 = 2 * RANGE_BYTES;

const _: () = assert!(RANGE_BYTES.is_power_of_two() && RANGE_BYTES >= 1024);
const _: () = assert!(SPLIT_FROM_BYTES > RANGE_BYTES, "a single range would be the root itself");

/// What one range comes to.
pub(crate) type ChainingValue = [u8; 32];

/// The offset and length of each range of a file, in order.
pub(crate) fn ranges(file_bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..file_bytes.div_ceil(RANGE_BYTES)).map(move |index| {
        let offset = index * RANGE_BYTES;
        (offset, RANGE_BYTES.min(file_bytes - offset))
    })
}

/// Hashes one range, fed piece by piece.
pub(crate) struct Range(Box<blake3::Hasher>);

impl Range {
    pub(crate) fn at(offset: u64) -> Self {
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.set_input_offset(offset);
        Self(hasher)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// # Panics
    /// On a range without bytes.
    pub(crate) fn finish(self) -> ChainingValue {
        self.0.finalize_non_root()
    }
}

/// Puts chaining values together, in the order of their ranges.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    values: Vec<ChainingValue>,
    pushed: u64,
}

impl Merge {
    pub(crate) fn push(&mut self, value: ChainingValue) {
        while self.values.len() > self.pushed.count_ones() as usize {
            self.merge_last_two(merge_subtrees_non_root);
        }
        self.values.push(value);
        self.pushed += 1;
    }

    /// The digest of the whole file.
    ///
    /// # Panics
    /// With fewer than two ranges: their value is no root.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        assert!(self.pushed >= 2, "a file of one range is hashed whole");
        while self.values.len() > 2 {
            self.merge_last_two(merge_subtrees_non_root);
        }
        *merge_subtrees_root(&self.values[0], &self.values[1], Mode::Hash).as_bytes()
    }

    fn merge_last_two(
        &mut self,
        merge: fn(&ChainingValue, &ChainingValue, Mode<'_>) -> ChainingValue,
    ) {
        let right = self.values.pop().expect("two values are on the stack");
        let left = self.values.pop().expect("two values are on the stack");
        self.values.push(merge(&left, &right, Mode::Hash));
    }
}

#[cfg(test)]
mod tests {
    use super::{Merge, RANGE_BYTES, Range, ranges};

    #[test]
    fn ranges_cover_the_file_once() {
        for bytes in [1, RANGE_BYTES - 1, RANGE_BYTES, RANGE_BYTES + 1, 5 * RANGE_BYTES + 77] {
            let mut next = 0;
            for (offset, length) in ranges(bytes) {
                assert_eq!(offset, next);
                assert!(length > 0 && length <= RANGE_BYTES);
                next = offset + length;
            }
            assert_eq!(next, bytes);
        }
    }

    /// The same merging over ranges of 1 KiB, so that every shape of tree is small.
    #[test]
    fn merged_ranges_are_the_whole() {
        const SMALL: usize = 1024;
        let input: Vec<u8> = (0..40 * SMALL).map(|index| (index % 251) as u8).collect();
        let edges =
            (2..=40).flat_map(|count| [count * SMALL - 1023, count * SMALL - 1, count * SMALL]);
        for bytes in edges {
            let whole = &input[..bytes];
            let mut merge = Merge::default();
            for (index, piece) in whole.chunks(SMALL).enumerate() {
                let mut range = Range::at((index * SMALL) as u64);
                let (front, back) = piece.split_at(piece.len() / 3);
                range.update(front);
                range.update(back);
                merge.push(range.finish());
            }
            assert_eq!(merge.finish(), *blake3::hash(whole).as_bytes(), "{bytes} bytes");
        }
    }

    #[test]
    fn real_ranges_are_the_whole() {
        let bytes = 3 * RANGE_BYTES + 12_345;
        let whole: Vec<u8> = (0..bytes).map(|index| (index / 7 % 253) as u8).collect();
        let mut merge = Merge::default();
        for (offset, length) in ranges(bytes) {
            let mut range = Range::at(offset);
            range.update(&whole[offset as usize..(offset + length) as usize]);
            merge.push(range.finish());
        }
        assert_eq!(merge.finish(), *blake3::hash(&whole).as_bytes());
    }
}
