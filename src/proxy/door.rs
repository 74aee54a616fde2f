//! How the one way out of a sandbox comes to whoever serves it.
//!
//! A socket belongs to the network that it was made in, whoever holds it. So a process that has a
//! network of its own makes a listening socket there, sends it out by a pair of unix sockets that
//! nothing else goes over, and becomes the program that is shut in. Who receives it can accept from
//! inside and connect outside, and the program can do nothing but knock.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The byte that a socket is sent with: without one nothing would be sent.
const WITH: [u8; 1] = [b'd'];

/// Makes the door in the network that this process is in, and sends it over `to`. Gives the port
/// that it is at, on 127.0.0.1.
///
/// # Errors
///
/// Where this network has no loopback, or nobody is at the other end.
pub fn open(to: impl AsFd) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [listener.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("there is no room to send a socket"));
    }
    sendmsg(
        to,
        &[IoSlice::new(&WITH)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(port)
}

/// Receives the door that [`open`] sent to the other end of `from`, and waits for it where `from`
/// blocks. Only the first one counts: give `from` up after it.
///
/// # Errors
///
/// Where the other end was closed before it came, or something else came.
pub fn receive(from: impl AsFd) -> io::Result<TcpListener> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut sockets = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => sockets.collect::<Vec<OwnedFd>>(),
        _ => Vec::new(),
    });
    let socket = sockets.next().ok_or(io::ErrorKind::UnexpectedEof)?;
    let listener = TcpListener::from(socket);
    match listener.local_addr()? {
        address if address.ip().is_loopback() => Ok(listener),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_receives_the_door_hears_who_knocks() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let port = open(&theirs).unwrap();
        let door = receive(&ours).unwrap();
        let mut guest = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        guest.write_all(b"knock").unwrap();
        drop(guest);
        let mut heard = String::new();
        door.accept().unwrap().0.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "knock");
    }

    #[test]
    fn who_ends_before_he_sent_the_door_keeps_nobody_waiting() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let error = receive(&ours).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
