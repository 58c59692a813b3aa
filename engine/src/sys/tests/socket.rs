use super::*;
use crate::sys::pipe::{pipe, read_some};

fn message(received: Received) -> (Vec<u8>, Vec<OwnedFd>) {
    match received {
        Received::Message { bytes, fds } => (bytes, fds),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_and_descriptors_arrive_whole() {
    let (left, right) = Channel::pair().unwrap();
    assert!(matches!(right.try_recv(1).unwrap(), Received::Empty));
    let (reader, writer) = pipe().unwrap();
    left.send(b"one", &[writer.as_fd()]).unwrap();
    left.send(b"two", &[]).unwrap();
    drop(writer);
    let (bytes, fds) = message(right.recv(1).unwrap());
    assert_eq!(bytes, b"one");
    rustix::io::write(&fds[0], b"through").unwrap();
    assert_eq!(read_some(&reader, &mut [0; 16]), Some(7));
    let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let (bytes, fds) = message(right.recv(1).unwrap());
    assert_eq!((bytes.as_slice(), fds.len()), (b"two".as_slice(), 0));
}

#[test]
fn descriptors_nobody_expected_are_refused_and_closed() {
    // The last ones are cut by the kernel.
    let most = DESCRIPTORS_MAX;
    for (sent, expected) in [(1, 0), (2, 1), (4, 3), (most + 1, most), (100, most), (100, 0)] {
        let (left, right) = Channel::pair().unwrap();
        let (reader, writer) = pipe().unwrap();
        send_many(&left, &vec![writer.as_fd(); sent]);
        drop(writer);
        let error = right.try_recv(expected).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{sent} for {expected}");
        assert_eq!(read_some(&reader, &mut [0; 1]), Some(0), "{sent} for {expected}: one leaked");
        left.send(b"next", &[]).unwrap();
        assert_eq!(message(right.try_recv(0).unwrap()).0, b"next");
    }
}

/// As a peer that keeps no limit would.
fn send_many(channel: &Channel, fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(channel, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty()).unwrap();
}

#[test]
fn a_message_beyond_the_limit_is_refused() {
    let (left, right) = Channel::pair().unwrap();
    left.send(&vec![1; MESSAGE_BYTES_MAX], &[]).unwrap();
    left.send(&vec![2; MESSAGE_BYTES_MAX + 1], &[]).unwrap();
    assert_eq!(message(right.try_recv(0).unwrap()).0.len(), MESSAGE_BYTES_MAX);
    assert_eq!(right.try_recv(0).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_full_socket_does_not_block_its_sender() {
    let (left, _right) = Channel::pair().unwrap();
    let error = (0..100_000).find_map(|_| left.send(&[0; 4096], &[]).err()).unwrap();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn the_last_words_of_the_dead_are_read() {
    let (left, right) = Channel::pair().unwrap();
    right.send(b"never read", &[]).unwrap();
    left.send(b"first", &[]).unwrap();
    left.send(b"last", &[]).unwrap();
    drop(left);
    assert_eq!(message(right.try_recv(0).unwrap()).0, b"first");
    assert_eq!(message(right.try_recv(0).unwrap()).0, b"last");
    assert!(matches!(right.try_recv(0).unwrap(), Received::Closed));
    // No SIGPIPE.
    assert_eq!(right.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

alone! {
    fn a_message_whose_descriptors_find_no_room_comes_without_them() {
        let (left, right) = Channel::pair().unwrap();
        let (reader, writer) = pipe().unwrap();
        left.send(b"three", &[writer.as_fd(); 3]).unwrap();
        left.send(b"none", &[]).unwrap();
        drop(writer);
        // Room for one of them.
        let free = rustix::io::fcntl_dupfd_cloexec(&reader, 0).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let count = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&free)).unwrap() + 1;
        drop(free);
        let few = rustix::process::Rlimit { current: Some(count), ..limit };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let Received::Short { bytes } = right.try_recv(3).unwrap() else { panic!("no room") };
        assert_eq!(bytes, b"three");
        assert_eq!(read_some(&reader, &mut [0; 1]), Some(0), "one leaked");
        assert_eq!(message(right.try_recv(3).unwrap()).0, b"none");
    }
}
