//! The byte map of a lane's two mappings. Every offset stands here, once, and is asserted.
//!
//! REQ (host read-write, worker read-only): header · doorbell line · slots · arena.
//! RSP (both read-write): slots · claim words · record ring · arena.
//!
//! # Invariants
//! 1. A shared word is eight bytes and aligned to eight, so that no value is ever torn.
//! 2. Words that different ends write never share a line of [`LINE_BYTES`], except a response
//!    slot's state word and a batch's claim word, which both write by design: claim against taking
//!    back needs one word.
//! 3. Nothing here depends on what stands in the memory. There is no shared index.

/// Version of the protocol.
pub const ABI: u32 = 1;
/// First word of a REQ mapping.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"amphilan");
/// Slots of a lane. Eight until measured otherwise: enough to hide the host's turnaround.
pub const SLOTS: usize = 8;
/// Bytes of a slot.
pub(crate) const SLOT_BYTES: usize = 256;
/// Bytes of input that travel in the slot itself.
pub const INPUT_INLINE: usize = 168;
/// Bytes of output that travel in the slot itself.
pub const OUTPUT_INLINE: usize = 232;

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

pub(crate) const WORD: usize = 8;
/// Two cache lines: the pair that adjacent-line prefetch moves together.
pub(crate) const LINE_BYTES: usize = 128;
pub(crate) const SLOT_WORDS: usize = SLOT_BYTES / WORD;
/// Words of REQ before its arena.
pub(crate) const REQ_CONTROL_WORDS: usize = ARENA_OFFSET / WORD;
/// Words of RSP before its arena.
pub(crate) const RSP_CONTROL_WORDS: usize = RSP_ARENA_OFFSET / WORD;

/// Words of the REQ header, which the host writes before it hands the mapping out.
pub(crate) mod header_word {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const ABI: usize = 1;
    pub(crate) const LAYOUT: usize = 2;
    pub(crate) const LANE: usize = 3;
    pub(crate) const INCARNATION: usize = 4;
}

/// The doorbell line of REQ. Written by: host. Read by: worker (Relaxed).
pub(crate) const EPOCH_WORD: usize = LINE_BYTES / WORD;
/// The last sequence that the host has harvested, beside the epoch. Written and read likewise.
pub(crate) const HARVESTED_WORD: usize = EPOCH_WORD + 1;
pub(crate) const REQ_SLOTS_WORD: usize = 2 * LINE_BYTES / WORD;

/// Words of a request slot. Written by: host. Read by: worker (Relaxed, after its claim).
pub(crate) mod req_word {
    pub(crate) const SEQ: usize = 0;
    pub(crate) const JOB_AND_FLAGS: usize = 1;
    /// The input's place; once room was asked for, the answer.
    pub(crate) const PLACE: usize = 2;
    pub(crate) const LEN: usize = 3;
    pub(crate) const OFFSET: usize = 4;
    pub(crate) const GRANT_OFFSET: usize = 5;
    pub(crate) const GRANT_CAPACITY: usize = 6;
    /// The sequence that is to stop; never reset, because no sequence comes twice.
    pub(crate) const CANCEL: usize = 7;
    /// When nobody wants the outcome any more, in ns of the machine's monotonic clock; 0: never.
    pub(crate) const DEADLINE: usize = 8;
    /// Which chain of tasks it belongs to, low and high half.
    pub(crate) const TRACE: usize = 9;
    pub(crate) const INLINE: usize = 11;
}

/// Words of a response slot. STATE is written by both ends, by RMW or by whose turn it is; the
/// others by the worker, and read by the host after an Acquire load of STATE.
pub(crate) mod rsp_word {
    pub(crate) const STATE: usize = 0;
    pub(crate) const HEAD: usize = 1;
    pub(crate) const RUN_NS: usize = 2;
    pub(crate) const INLINE: usize = 3;
}

/// Most tasks of one batch.
pub const BATCH_MAX: usize = 32;
/// The claim words of batches in RSP, one a slot, each on a line of its own: whoever looks at a
/// slot does not disturb the worker that claims. Written by both ends, by RMW, but for the host's
/// first value before it publishes.
pub(crate) const CLAIMS_WORD: usize = SLOTS * SLOT_WORDS;
pub(crate) const CLAIM_WORDS: usize = LINE_BYTES / WORD;

/// The record ring's words in RSP. TAIL and the data are the worker's, HEAD is the host's.
pub(crate) mod record_word {
    use super::{LINE_BYTES, RECORDS_BYTES, RECORDS_OFFSET, WORD};

    pub(crate) const TAIL: usize = RECORDS_OFFSET / WORD;
    pub(crate) const HEAD: usize = TAIL + LINE_BYTES / WORD;
    pub(crate) const DATA: usize = HEAD + LINE_BYTES / WORD;
    pub(crate) const DATA_WORDS: usize = (RECORDS_OFFSET + RECORDS_BYTES) / WORD - DATA;
}

const _: () = assert!(SLOTS.is_power_of_two());
const _: () = assert!(SLOT_BYTES.is_multiple_of(LINE_BYTES));
const _: () = assert!(header_word::INCARNATION < EPOCH_WORD);
const _: () = assert!(HARVESTED_WORD < REQ_SLOTS_WORD);
const _: () = assert!(req_word::INLINE * WORD + INPUT_INLINE == SLOT_BYTES);
const _: () = assert!(rsp_word::INLINE * WORD + OUTPUT_INLINE == SLOT_BYTES);
const _: () = assert!(INPUT_INLINE.is_multiple_of(WORD) && OUTPUT_INLINE.is_multiple_of(WORD));
const _: () = assert!(REQ_SLOTS_WORD * WORD + SLOTS * SLOT_BYTES <= ARENA_OFFSET);
const _: () = assert!((CLAIMS_WORD + SLOTS * CLAIM_WORDS) * WORD <= RECORDS_OFFSET);
const _: () = assert!(BATCH_MAX <= u8::MAX as usize);
const _: () = assert!(record_word::DATA + record_word::DATA_WORDS == RSP_CONTROL_WORDS);
const _: () = assert!(ARENA_OFFSET.is_multiple_of(4096) && RSP_ARENA_OFFSET.is_multiple_of(4096));
const _: () = assert!((ARENA_BYTES as u64).is_multiple_of(BLOCK_MAX));
const _: () = assert!(BLOCK_MIN.is_power_of_two() && BLOCK_MAX.is_power_of_two());

/// A hash of the map, which host and worker compare: it differs where two builds disagree.
pub const LAYOUT_HASH: u64 = {
    let numbers = [
        ABI as usize,
        usize::BITS as usize,
        SLOTS,
        SLOT_BYTES,
        INPUT_INLINE,
        OUTPUT_INLINE,
        ARENA_OFFSET,
        ARENA_BYTES,
        RECORDS_OFFSET,
        RECORDS_BYTES,
        RSP_ARENA_OFFSET,
        EPOCH_WORD,
        HARVESTED_WORD,
        REQ_SLOTS_WORD,
        req_word::PLACE,
        req_word::LEN,
        req_word::OFFSET,
        req_word::GRANT_OFFSET,
        req_word::GRANT_CAPACITY,
        req_word::CANCEL,
        req_word::DEADLINE,
        req_word::TRACE,
        req_word::INLINE,
        rsp_word::STATE,
        rsp_word::HEAD,
        rsp_word::RUN_NS,
        rsp_word::INLINE,
        CLAIMS_WORD,
        CLAIM_WORDS,
        BATCH_MAX,
        record_word::TAIL,
        record_word::HEAD,
        record_word::DATA,
    ];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < numbers.len() {
        // FNV-1a, a number at a time.
        hash = (hash ^ numbers[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
};
