//! The host's private allocator over an arena's bytes: a buddy system of powers of two.
//!
//! It lives in the host's heap, so that no worker can corrupt or leak it: a kill at any
//! instruction leaves bytes behind, never structure.
//!
//! # Invariants
//! 1. A byte is in one free block or in one taken block; free buddies are merged at once.
//! 2. Of the free blocks of the smallest order that holds the length, the lowest is taken: the
//!    first pages are the populated ones, and what was just used is used again.

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
    bytes: u64,
    free: [Bits; ORDERS],
    /// Of each smallest block: 0, or 1 + the order of the taken block that starts there.
    taken: Vec<u8>,
    in_use: u64,
}

impl Arena {
    /// An arena of `bytes` at offset `base` of its mapping.
    ///
    /// # Panics
    /// If `bytes` is no multiple of the largest block.
    pub fn new(base: u64, bytes: u64) -> Self {
        assert!(bytes.is_multiple_of(BLOCK_MAX), "an arena is made of largest blocks");
        let mut free = std::array::from_fn(|order| Bits::new(bytes >> shift(order)));
        (0..bytes / BLOCK_MAX).for_each(|index| free[ORDERS - 1].set(index as usize));
        let taken = vec![0; (bytes / BLOCK_MIN) as usize];
        Self { base, bytes, free, taken, in_use: 0 }
    }

    /// A block of at least `len` bytes; `None`: too large, or none is free.
    #[inline]
    pub fn allocate(&mut self, len: u64) -> Option<Block> {
        if len > BLOCK_MAX {
            return None;
        }
        let wanted = order_for(len);
        let (mut order, mut index) =
            (wanted..ORDERS).find_map(|order| Some((order, self.free[order].take_first()?)))?;
        while order > wanted {
            // The lower half goes on, the upper half is free.
            order -= 1;
            index *= 2;
            self.free[order].set(index + 1);
        }
        let start = (index as u64) << shift(order);
        let capacity = 1 << shift(order);
        self.taken[(start / BLOCK_MIN) as usize] = order as u8 + 1;
        self.in_use += capacity;
        Some(Block { offset: self.base + start, capacity })
    }

    /// Takes a block back.
    ///
    /// # Panics
    /// If the block is not this arena's.
    #[inline]
    pub fn free(&mut self, block: Block) {
        let start = block.offset.wrapping_sub(self.base);
        let order = order_for(block.capacity);
        let own = start < self.bytes
            && start.is_multiple_of(BLOCK_MIN)
            && block.capacity == 1 << shift(order)
            && self.taken[(start / BLOCK_MIN) as usize] == order as u8 + 1;
        assert!(own, "a block goes back to its own arena, once");
        self.taken[(start / BLOCK_MIN) as usize] = 0;
        self.in_use -= block.capacity;
        let (mut order, mut index) = (order, (start >> shift(order)) as usize);
        while order < ORDERS - 1 && self.free[order].take(index ^ 1) {
            order += 1;
            index /= 2;
        }
        self.free[order].set(index);
    }

    /// Bytes that are taken.
    pub const fn in_use(&self) -> u64 {
        self.in_use
    }
}

const fn shift(order: usize) -> u32 {
    BLOCK_MIN.trailing_zeros() + order as u32
}

/// The smallest order whose blocks hold `len <= BLOCK_MAX` bytes.
const fn order_for(len: u64) -> usize {
    let len = if len > BLOCK_MIN { len } else { BLOCK_MIN };
    (u64::BITS - (len - 1).leading_zeros() - BLOCK_MIN.trailing_zeros()) as usize
}

/// A set of small numbers that knows its least one: a word says for 64 others which are not empty.
#[derive(Debug)]
struct Bits {
    words: Vec<u64>,
    filled: Vec<u64>,
}

impl Bits {
    fn new(len: u64) -> Self {
        let words = len.div_ceil(64);
        Self { words: vec![0; words as usize], filled: vec![0; words.div_ceil(64) as usize] }
    }

    fn set(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
        self.filled[index / 4096] |= 1 << (index / 64 % 64);
    }

    /// Takes a number out, if it is there.
    fn take(&mut self, index: usize) -> bool {
        let word = &mut self.words[index / 64];
        let there = *word & 1 << (index % 64) != 0;
        *word &= !(1 << (index % 64));
        if *word == 0 {
            self.filled[index / 4096] &= !(1 << (index / 64 % 64));
        }
        there
    }

    fn take_first(&mut self) -> Option<usize> {
        let outer = self.filled.iter().position(|filled| *filled != 0)?;
        let word = outer * 64 + self.filled[outer].trailing_zeros() as usize;
        let first = word * 64 + self.words[word].trailing_zeros() as usize;
        self.take(first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 4096;
    const BYTES: u64 = 4 << 20;

    #[test]
    fn blocks_never_overlap_and_all_come_back() {
        let mut arena = Arena::new(BASE, BYTES);
        let mut held: Vec<Block> = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if seed >> 63 == 0 || held.is_empty() {
                let len = (seed >> 30) % (1 << ((seed >> 8) % 21));
                if let Some(block) = arena.allocate(len) {
                    let end = block.offset + block.capacity;
                    assert!(block.capacity >= len && block.capacity < 2 * len.max(BLOCK_MIN));
                    assert!(block.offset >= BASE && end <= BASE + BYTES);
                    let apart =
                        |b: &Block| end <= b.offset || b.offset + b.capacity <= block.offset;
                    assert!(held.iter().all(apart), "{block:?} overlaps");
                    held.push(block);
                }
            } else {
                let index = (seed >> 20) as usize % held.len();
                arena.free(held.swap_remove(index));
            }
            assert_eq!(arena.in_use(), held.iter().map(|block| block.capacity).sum::<u64>());
        }
        held.into_iter().for_each(|block| arena.free(block));
        assert_eq!(arena.in_use(), 0);
        assert!((0..4).all(|_| arena.allocate(BLOCK_MAX).is_some()), "all merged again");
        assert_eq!(arena.allocate(1), None);
    }

    #[test]
    fn every_length_gets_the_least_block_that_holds_it() {
        for (len, capacity) in
            [(0, 256), (1, 256), (256, 256), (257, 512), (4096, 4096), (BLOCK_MAX, BLOCK_MAX)]
        {
            let block = Arena::new(BASE, BYTES).allocate(len).unwrap();
            assert_eq!((block.offset, block.capacity), (BASE, capacity), "{len} bytes");
        }
        assert_eq!(Arena::new(BASE, BYTES).allocate(BLOCK_MAX + 1), None);
        assert_eq!(Arena::new(BASE, BYTES).allocate(u64::MAX), None);
    }

    #[test]
    fn an_arena_of_smallest_blocks_is_filled_from_the_bottom() {
        let mut arena = Arena::new(BASE, BYTES);
        let blocks: Vec<Block> = (0..BYTES / BLOCK_MIN)
            .map(|index| {
                let block = arena.allocate(BLOCK_MIN).unwrap();
                assert_eq!(block.offset, BASE + index * BLOCK_MIN);
                block
            })
            .collect();
        assert_eq!((arena.allocate(1), arena.in_use()), (None, BYTES));
        blocks.into_iter().for_each(|block| arena.free(block));
        assert_eq!(arena.allocate(1).unwrap().offset, BASE);
    }

    #[test]
    fn the_lowest_and_last_used_is_taken_first() {
        let mut arena = Arena::new(BASE, BYTES);
        let low = arena.allocate(300).unwrap();
        let high = arena.allocate(300).unwrap();
        assert!(low.offset < high.offset);
        let offset = low.offset;
        arena.free(low);
        assert_eq!(arena.allocate(512).unwrap().offset, offset);
        arena.free(high);
    }

    #[test]
    #[should_panic(expected = "its own arena, once")]
    fn a_block_of_another_arena_is_refused() {
        let block = Arena::new(BASE, BYTES).allocate(1).unwrap();
        Arena::new(0, BYTES).free(block);
    }

    #[test]
    #[should_panic(expected = "its own arena, once")]
    fn a_block_below_the_arena_is_refused() {
        Arena::new(BASE, BYTES).free(Block { offset: 0, capacity: BLOCK_MIN });
    }
}
