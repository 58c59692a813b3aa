//! Large pages for what a forkserver has loaded before it forks.
//!
//! A fork copies an entry of the page table for each page, and the end of the worker takes each one
//! back: of 64 MiB in pages of 4 KiB that is a millisecond each time. One entry of a large page
//! stands for 512 of them. What a page holds and who shares it stays as it is; of a large page that
//! a worker writes to, only the small part is copied.
//!
//! # Invariants
//! 1. No memory is added: a large page is made only where all small ones are there.
//! 2. Only before the first fork: gathering shared pages would copy them.
//! 3. Where the machine's owner wants no large pages (`never`), there are none.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::clock;

/// Bytes of an entry of `/proc/self/pagemap`, one for each page.
const ENTRY_BYTES: usize = 8;

/// Since Linux 6.1.
const MADV_COLLAPSE: libc::c_int = 25;

/// Gathers small pages of private memory into large ones, for `patience` at most. Best effort:
/// where the kernel has none, pages stay as they are.
pub(crate) fn gather_pages(patience: Duration) {
    let Some(large) = large_page_bytes() else { return };
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return };
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let until = clock::now() + patience;
    for heap in maps.lines().filter_map(heap) {
        let mut start = heap.start.next_multiple_of(large);
        while start.saturating_add(large) <= heap.end {
            if clock::now() > until {
                return;
            }
            if is_resident(&pagemap, start..start + large) && !gather(start, large) {
                return;
            }
            start += large;
        }
    }
}

/// `None`: the kernel has no large pages, or they are not wanted.
fn large_page_bytes() -> Option<usize> {
    let setting =
        |name| fs::read_to_string(format!("/sys/kernel/mm/transparent_hugepage/{name}")).ok();
    if setting("enabled")?.contains("[never]") {
        return None;
    }
    setting("hpage_pmd_size")?.trim().parse().ok().filter(|bytes: &usize| bytes.is_power_of_two())
}

/// The addresses of a line of `/proc/self/maps`, if it stands for private memory of no file.
fn heap(line: &str) -> Option<Range<usize>> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (addresses, rights, inode) = (*fields.first()?, *fields.get(1)?, *fields.get(4)?);
    let name = fields.get(5).copied().unwrap_or("");
    let is_private = rights.starts_with("rw") && rights.ends_with('p') && inode == "0";
    let is_heap = name.is_empty() || name == "[heap]" || name.starts_with("[anon:");
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    (is_private && is_heap).then_some(address(start)?..address(end)?)
}

/// Whether every page of these addresses is in memory.
fn is_resident(pagemap: &File, addresses: Range<usize>) -> bool {
    const PRESENT: u64 = 1 << 63;
    let page = rustix::param::page_size();
    let mut entries = vec![0; addresses.len() / page * ENTRY_BYTES];
    let at = addresses.start / page * ENTRY_BYTES;
    let is_present =
        |entry: &[u8]| entry.try_into().is_ok_and(|entry| u64::from_ne_bytes(entry) & PRESENT != 0);
    pagemap.read_exact_at(&mut entries, at as u64).is_ok()
        && entries.chunks_exact(ENTRY_BYTES).all(is_present)
}

/// False: there is no use in trying further.
fn gather(start: usize, bytes: usize) -> bool {
    let address = std::ptr::without_provenance_mut(start);
    // SAFETY: the advice must leave all memory as its owners know it — this one changes neither
    // what any address holds nor who may access it; a range that is not mapped any more is refused.
    let done = unsafe { libc::madvise(address, bytes, MADV_COLLAPSE) };
    // Pages that are in use for a moment stay small.
    let passing = [libc::EAGAIN, libc::EBUSY];
    done == 0
        || io::Error::last_os_error().raw_os_error().is_some_and(|code| passing.contains(&code))
}

#[cfg(test)]
#[path = "tests/large.rs"]
mod tests;
