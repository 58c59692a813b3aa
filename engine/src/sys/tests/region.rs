use rustix::io::Errno;

use super::*;

const BYTES: usize = 128 << 10;

fn copy_of(region: &Region) -> OwnedFd {
    region.descriptor().unwrap().try_clone_to_owned().unwrap()
}

#[test]
fn what_one_writes_the_other_reads() {
    let mut filling = Filling::create(BYTES).unwrap();
    assert!(filling.bytes().iter().all(|byte| *byte == 0));
    filling.bytes_mut()[BYTES - 1] = 7;
    let region = filling.freeze();
    let seen = Region::of_host(copy_of(&region), BYTES as u64).unwrap();
    assert_eq!((seen.len(), seen.bytes()[BYTES - 1]), (BYTES, 7));
    assert!(seen.descriptor().is_none(), "it costs its reader none");
}

#[test]
fn nobody_but_its_maker_can_write_to_it() {
    let region = Filling::create(BYTES).unwrap().freeze();
    let fd = copy_of(&region);
    assert_eq!(rustix::io::write(&fd, b"x"), Err(Errno::PERM));
    MmapOptions::new().len(BYTES).map_raw(&fd).expect_err("no second writable mapping");
    ftruncate(&fd, 0).expect_err("its size stays");
}

#[test]
fn what_a_worker_could_still_write_to_is_refused_until_it_is_sealed() {
    let mut filling = Filling::create(BYTES).unwrap();
    filling.bytes_mut()[0] = 9;
    let region = filling.freeze();
    let bytes = region.bytes();
    Region::of_worker(copy_of(&region), BYTES as u64).expect_err("its maker can write to it");
    region.seal().unwrap();
    region.seal().expect("one that is sealed already");
    assert_eq!(bytes[0], 9, "who reads it goes on");
    let seen = Region::of_worker(copy_of(&region), BYTES as u64).unwrap();
    assert_eq!(seen.bytes()[0], 9);
    Region::of_worker(copy_of(&region), 4096).expect_err("not as long as announced");
    assert!(seen.fill_again().is_none() && region.fill_again().is_none(), "nobody writes it again");
}

#[test]
fn one_that_nobody_reads_can_be_written_again() {
    let mut filling = Filling::create(BYTES).unwrap();
    filling.bytes_mut().fill(1);
    let mut again = filling.freeze().fill_again().unwrap();
    again.bytes_mut()[0] = 2;
    assert_eq!(again.freeze().bytes()[..2], [2, 1]);
}
