//! The host's private allocator over an arena's bytes: a buddy system of powers of two.
//!
//! It lives in the host's heap, so that no worker can corrupt or leak it: a kill at any
//! instruction leaves bytes behind, never structure. The lowest free block is taken first, because
//! the first pages are the populated ones.

use std::collections::BTreeSet;

use crate::layout::{BLOCK_MAX, BLOCK_MIN};

const ORDERS: usize = (BLOCK_MAX / BLOCK_MIN).trailing_zeros() as usize + 1;

/// A piece of an arena. Given back by [`Arena::free`].
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// Offset from the start of the mapping.
    pub offset: u64,
    /// Its size in bytes.
    pub capacity: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Arena {
    base: u64,
    free: [BTreeSet<u64>; ORDERS],
    taken: BTreeSet<(u64, usize)>,
    in_use: u64,
}

const fn size_of_order(order: usize) -> u64 {
    BLOCK_MIN << order
}

impl Arena {
    /// An arena of `bytes` at offset `base` of its mapping.
    ///
    /// # Panics
    /// If `bytes` is no multiple of the largest block.
    pub fn new(base: u64, bytes: u64) -> Self {
        assert!(bytes.is_multiple_of(BLOCK_MAX), "an arena is made of largest blocks");
        let mut free: [BTreeSet<u64>; ORDERS] = Default::default();
        free[ORDERS - 1] = (0..bytes / BLOCK_MAX).map(|index| index * BLOCK_MAX).collect();
        Self { base, free, taken: BTreeSet::new(), in_use: 0 }
    }

    /// A block of at least `len` bytes; `None`: too large, or none is free.
    pub fn allocate(&mut self, len: u64) -> Option<Block> {
        let wanted = (0..ORDERS).find(|&order| size_of_order(order) >= len)?;
        let mut order = (wanted..ORDERS).find(|&order| !self.free[order].is_empty())?;
        let start = self.free[order].pop_first()?;
        while order > wanted {
            order -= 1;
            self.free[order].insert(start + size_of_order(order));
        }
        self.taken.insert((start, wanted));
        self.in_use += size_of_order(wanted);
        Some(Block { offset: self.base + start, capacity: size_of_order(wanted) })
    }

    /// Takes a block back.
    ///
    /// # Panics
    /// If the block is not this arena's.
    pub fn free(&mut self, block: Block) {
        let mut start = block.offset - self.base;
        let order = (0..ORDERS).find(|&order| size_of_order(order) == block.capacity);
        let mut order = order.expect("a block has a block's size");
        assert!(self.taken.remove(&(start, order)), "a block goes back to its own arena, once");
        self.in_use -= block.capacity;
        while order < ORDERS - 1 && self.free[order].remove(&(start ^ size_of_order(order))) {
            start &= !size_of_order(order);
            order += 1;
        }
        self.free[order].insert(start);
    }

    /// Bytes that are taken.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_overlap_and_all_come_back() {
        let mut arena = Arena::new(4096, 4 << 20);
        let mut held: Vec<Block> = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if seed >> 63 == 0 || held.is_empty() {
                if let Some(block) = arena.allocate(1 + (seed >> 30) % (1 << ((seed >> 8) % 21))) {
                    let end = block.offset + block.capacity;
                    assert!(block.offset >= 4096 && end <= 4096 + (4 << 20));
                    let apart =
                        |b: &Block| end <= b.offset || b.offset + b.capacity <= block.offset;
                    assert!(held.iter().all(apart), "{block:?} overlaps");
                    held.push(block);
                }
            } else {
                let index = (seed >> 20) as usize % held.len();
                arena.free(held.swap_remove(index));
            }
        }
        held.into_iter().for_each(|block| arena.free(block));
        assert_eq!(arena.in_use(), 0);
        assert!((0..4).all(|_| arena.allocate(BLOCK_MAX).is_some()), "all merged again");
        assert_eq!(arena.allocate(1), None);
    }

    #[test]
    fn too_much_is_refused() {
        assert_eq!(Arena::new(0, 4 << 20).allocate(BLOCK_MAX + 1), None);
    }
}
