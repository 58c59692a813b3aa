//! The byte map of a lane's two mappings. Every offset stands here, once, and is asserted.
//!
//! REQ (host read-write, worker read-only): header · doorbell line · slots · arena.
//! RSP (both read-write): slots · record ring · arena.

/// Version of the protocol.
pub const ABI: u32 = 1;
/// First word of a REQ mapping.
pub const MAGIC: u64 = u64::from_le_bytes(*b"amphilan");
/// Slots of a lane. Eight until measured otherwise: enough to hide the host's turnaround.
pub const SLOTS: usize = 8;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 256;
/// Bytes of input that travel in the slot itself.
pub const INPUT_INLINE: usize = 192;
/// Bytes of output that travel in the slot itself.
pub const OUTPUT_INLINE: usize = 232;

pub(crate) const WORD: usize = 8;
/// Words of the header: magic, ABI, layout hash, lane, incarnation.
pub(crate) const HEADER_WORD: usize = 0;
/// The doorbell line: `park_epoch`, `harvested`. Written by: host. Read by: worker.
pub(crate) const EPOCH_WORD: usize = 128 / WORD;
pub(crate) const HARVESTED_WORD: usize = EPOCH_WORD + 1;
pub(crate) const REQ_SLOTS_WORD: usize = 256 / WORD;
pub(crate) const SLOT_WORDS: usize = SLOT_BYTES / WORD;
/// Words of a request slot before its inline input.
pub(crate) const REQ_INLINE_WORD: usize = 64 / WORD;
/// Words of a response slot before its inline output: state, head, run time.
pub(crate) const RSP_INLINE_WORD: usize = 24 / WORD;

/// Where REQ's arena begins.
pub const ARENA_OFFSET: usize = 4096;
/// Bytes of each arena.
pub const ARENA_BYTES: usize = 4 << 20;
/// Bytes of a REQ mapping.
pub const REQ_BYTES: usize = ARENA_OFFSET + ARENA_BYTES;
/// Where the record ring lies in RSP.
pub const RECORDS_OFFSET: usize = 4096;
/// Bytes of the record ring, its two index lines included.
pub const RECORDS_BYTES: usize = 16 << 10;
/// Where RSP's arena begins.
pub const RSP_ARENA_OFFSET: usize = RECORDS_OFFSET + RECORDS_BYTES;
/// Bytes of an RSP mapping.
pub const RSP_BYTES: usize = RSP_ARENA_OFFSET + ARENA_BYTES;
/// How much of each arena is populated before READY (a fresh page costs 3 µs).
pub const POPULATE_BYTES: usize = 128 << 10;
/// The smallest block of an arena.
pub const BLOCK_MIN: u64 = 256;
/// The largest block of an arena; larger payloads travel in a memfd of their own.
pub const BLOCK_MAX: u64 = 1 << 20;

const _: () = assert!(SLOTS.is_power_of_two());
const _: () = assert!(REQ_INLINE_WORD * WORD + INPUT_INLINE == SLOT_BYTES);
const _: () = assert!(RSP_INLINE_WORD * WORD + OUTPUT_INLINE == SLOT_BYTES);
const _: () = assert!(REQ_SLOTS_WORD * WORD + SLOTS * SLOT_BYTES <= ARENA_OFFSET);
const _: () = assert!(SLOTS * SLOT_BYTES <= RECORDS_OFFSET);
const _: () = assert!(RSP_ARENA_OFFSET.is_multiple_of(4096));

/// A hash of the map, which host and worker compare: it differs where two builds disagree.
pub const LAYOUT_HASH: u64 = {
    let numbers = [
        ABI as u64,
        SLOTS as u64,
        SLOT_BYTES as u64,
        INPUT_INLINE as u64,
        OUTPUT_INLINE as u64,
        ARENA_OFFSET as u64,
        ARENA_BYTES as u64,
        RECORDS_OFFSET as u64,
        RECORDS_BYTES as u64,
        EPOCH_WORD as u64,
        usize::BITS as u64,
    ];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < numbers.len() {
        // FNV-1a over words.
        hash = (hash ^ numbers[index]).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
};
