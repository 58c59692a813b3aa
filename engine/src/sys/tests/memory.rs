use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::*;

const BYTES: usize = 64 << 10;

fn segment() -> (Segment, OwnedFd) {
    Segment::create("test", BYTES, 4096).unwrap()
}

fn refused(result: io::Result<impl Sized>) -> io::ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

#[test]
fn a_segment_whose_size_is_not_sealed_is_refused() {
    let (_mine, fd) = segment();
    assert_eq!(
        refused(Segment::map(fd.as_fd(), BYTES, Access::ReadWrite)),
        io::ErrorKind::InvalidData
    );
    fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    assert_eq!(
        refused(Segment::map(fd.as_fd(), BYTES, Access::ReadWrite)),
        io::ErrorKind::InvalidData
    );
    fcntl_add_seals(&fd, SealFlags::GROW).unwrap();
    assert!(Segment::map(fd.as_fd(), BYTES, Access::ReadWrite).is_ok());
}

#[test]
fn a_segment_of_another_size_is_refused() {
    let (_mine, fd) = segment();
    ftruncate(&fd, 4096).unwrap();
    seal_response(&fd).unwrap();
    assert_eq!(
        refused(Segment::map(fd.as_fd(), BYTES, Access::ReadWrite)),
        io::ErrorKind::InvalidData
    );
    assert!(ftruncate(&fd, BYTES as u64).is_err(), "the size is sealed");
    assert!(fcntl_add_seals(&fd, SealFlags::WRITE).is_err(), "so are the seals");
}

#[test]
fn what_is_no_memfd_is_refused() {
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(Segment::map(null.as_fd(), BYTES, Access::ReadOnly).is_err());
    assert!(read_sealed(null.as_fd(), 0).is_err());
}

#[test]
fn a_request_segment_is_never_mapped_writable_again() {
    let (mine, fd) = segment();
    seal_request(&fd).unwrap();
    let again = Segment::map(fd.as_fd(), BYTES, Access::ReadWrite);
    assert_eq!(refused(again), io::ErrorKind::PermissionDenied);
    assert!(rustix::io::pwrite(&fd, b"x", 0).is_err());
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert!(fallocate(&fd, punch, 0, 4096).is_err());

    let theirs = Segment::map(fd.as_fd(), BYTES, Access::ReadOnly).unwrap();
    mine.words(0..64)[3].store(7, Ordering::Relaxed);
    assert_eq!(theirs.words(0..64)[3].load(Ordering::Relaxed), 7);
    mine.write(4096, b"block");
    assert_eq!(theirs.with_block(4096, 5, <[u8]>::to_vec), b"block");
}

#[test]
fn a_hole_punched_by_a_peer_reads_as_zero() {
    let (mine, fd) = segment();
    seal_response(&fd).unwrap();
    mine.write(0, &[7; 4096]);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&fd, punch, 0, 4096).unwrap();
    assert_eq!(mine.copy_out(0, 4096), [0; 4096]);
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let (mine, _fd) = segment();
    mine.populate(0..BYTES);
    let bytes: Vec<u8> = (0..BYTES).map(|n| (n * 7 + n / 256) as u8).collect();
    for len in [0, 1, 7, 8, 9, 63, 64, 255, 256, 257, 4097, 40_000] {
        for offset in [0, 1, 5, 8, 4095, BYTES - 40_000] {
            let len = len.min(BYTES - offset);
            mine.write(offset, &bytes[..len]);
            assert_eq!(mine.copy_out(offset, len), bytes[..len], "{len} at {offset}");
        }
    }
    assert_eq!(mine.copy_out(BYTES, 0), [0; 0]);
}

#[test]
fn a_mapping_is_not_inherited_by_fork() {
    let (mine, _fd) = segment();
    let start = format!("{:x}-", mine.words(0..8).as_ptr().addr());
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let flags = maps
        .lines()
        .skip_while(|line| !line.starts_with(&start))
        .find_map(|line| line.strip_prefix("VmFlags:"))
        .unwrap();
    assert!(flags.split_whitespace().any(|flag| flag == "dc"), "{flags}");
}

#[test]
fn misuse_panics() {
    let (mine, fd) = segment();
    seal_response(&fd).unwrap();
    let theirs = Segment::map(fd.as_fd(), BYTES, Access::ReadOnly).unwrap();
    let misuses: [(&str, &dyn Fn()); 7] = [
        ("a write past the end", &|| mine.write(BYTES - 3, b"four")),
        ("an offset that wraps", &|| mine.write(usize::MAX, b"four")),
        ("a read past the end", &|| drop(mine.copy_out(1, BYTES))),
        ("a write without the right", &|| theirs.write(0, b"x")),
        ("a borrow of what may change", &|| mine.with_block(0, 1, |_| ())),
        ("words past the end", &|| mine.words(0..BYTES + 8).iter().for_each(drop)),
        ("half a word", &|| mine.words(4..8).iter().for_each(drop)),
    ];
    for (what, misuse) in misuses {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(misuse));
        assert!(caught.is_err(), "{what}");
    }
}

#[test]
fn a_payload_comes_back_whole_and_never_changes() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let fd = sealed_memfd("test", &bytes).unwrap();
    assert_eq!(read_sealed(fd.as_fd(), bytes.len() as u64).unwrap(), bytes);
    assert!(read_sealed(fd.as_fd(), 5).is_err(), "another length than announced");
    assert!(rustix::io::pwrite(&fd, b"x", 0).is_err());
    assert!(ftruncate(&fd, 0).is_err());
    let empty = sealed_memfd("test", b"").unwrap();
    assert_eq!(read_sealed(empty.as_fd(), 0).unwrap(), b"");
}

#[test]
fn a_payload_that_may_still_change_is_refused() {
    let (_mine, fd) = segment();
    seal_response(&fd).unwrap();
    assert_eq!(refused(read_sealed(fd.as_fd(), BYTES as u64)), io::ErrorKind::InvalidData);
}
