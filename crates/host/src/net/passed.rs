//! Listening sockets passed to a child, so that it can serve ports that it may
//! not open itself.
//!
//! They travel as SCM_RIGHTS (unix(7)) in one packet on a socket pair whose other
//! end is the child's standard input. The parent keeps its own handles, so that
//! connections wait in the backlog while the child is restarted.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::TcpListener;

/// Sockets that can be passed to one child.
pub const PASSED_LISTENERS_MAX: usize = 8;

/// All names together, each with a line end.
const NAMES_BYTES_MAX: usize = 512;

/// A packet with the listeners in it, to become a child's standard input.
pub(crate) fn pack(listeners: &[(&str, &TcpListener)]) -> io::Result<OwnedFd> {
    let names: String = listeners.iter().map(|(name, _)| format!("{name}\n")).collect();
    let fits = (1..=PASSED_LISTENERS_MAX).contains(&listeners.len())
        && names.len() <= NAMES_BYTES_MAX
        && names.lines().count() == listeners.len();
    if !fits {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "from 1 to 8 listeners with short names can be passed",
        ));
    }
    let flags = SocketFlags::CLOEXEC;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let sockets: Vec<_> = listeners.iter().map(|(_, listener)| listener.inner.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_LISTENERS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    // The space is for as many as were let through above.
    assert!(control.push(SendAncillaryMessage::ScmRights(&sockets)));
    // Stays in the pair's buffer until the child reads it.
    sendmsg(&near, &[IoSlice::new(names.as_bytes())], &mut control, SendFlags::empty())?;
    Ok(far)
}

/// The listeners that this process was started with, by name; taken from
/// standard input, so only the first call gets them. Must run inside a runtime.
pub fn passed_listeners() -> io::Result<Vec<(String, TcpListener)>> {
    unpack(std::io::stdin().as_fd())
}

fn unpack(packet: impl AsFd) -> io::Result<Vec<(String, TcpListener)>> {
    let mut names = [0; NAMES_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_LISTENERS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let mut parts = [IoSliceMut::new(&mut names)];
    let received = recvmsg(packet, &mut parts, &mut control, flags)?.bytes;
    let sockets: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        })
        .flatten()
        .collect();
    let names = std::str::from_utf8(&names[..received]).map_err(io::Error::other)?;
    if names.lines().count() != sockets.len() {
        return Err(io::Error::other("standard input is not a packet of listeners"));
    }
    names
        .lines()
        .zip(sockets)
        .map(|(name, socket)| {
            let inner = tokio::net::TcpListener::from_std(socket.into())?;
            Ok((name.to_owned(), TcpListener { inner }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::net::{connect, listen};

    #[tokio::test]
    async fn a_passed_listener_takes_connections_and_comes_once() {
        let one = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let two = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = two.local_addr().unwrap().port();
        let packet = pack(&[("mqtt", &one), ("https", &two)]).unwrap();
        let passed = unpack(&packet).unwrap();
        assert_eq!(passed[0].0, "mqtt");
        assert_eq!(passed[1].0, "https");
        drop((one, two));
        let (client, _) =
            tokio::join!(connect("127.0.0.1", port, Duration::from_secs(1)), passed[1].1.accept());
        client.unwrap();
        assert!(unpack(&packet).unwrap().is_empty(), "the other end is closed");
    }

    #[tokio::test]
    async fn what_cannot_be_passed_is_refused() {
        let one = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        assert!(pack(&[]).is_err());
        assert!(pack(&[("x", &one); PASSED_LISTENERS_MAX + 1]).is_err());
        assert!(pack(&[("a\nb", &one)]).is_err());
        pack(&[("x", &one); PASSED_LISTENERS_MAX]).unwrap();
        assert!(unpack(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
