//! A socket between the runner and a process of the keeper: messages of any length, with open files.

use crate::runner::control::lock;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::{Errno, IoSlice, IoSliceMut},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use std::{io, mem::MaybeUninit, sync::Mutex};

/// Maximum length of a message: command lines and environments have a few megabytes at most.
const LONGEST: usize = 64 << 20;
/// Maximum number of open files with one message.
const MOST_HANDLES: usize = 1;

/// One end of the socket. Messages are sent as a whole from any thread; one thread receives.
#[derive(Debug)]
pub(in crate::runner) struct Line {
    socket: OwnedFd,
    sending: Mutex<()>,
}

impl Line {
    /// Returns both ends of a new socket; the other one becomes a process's standard input.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(ours), theirs))
    }

    /// Returns the end that this process was given as its standard input.
    pub fn of_standard_input() -> io::Result<Self> {
        Ok(Self::new(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Creates an end of a socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, sending: Mutex::default() }
    }

    /// Sends a message, with copies of open files.
    ///
    /// # Errors
    /// Fails if the other end is closed.
    pub fn send(&self, message: &[u8], handles: &[BorrowedFd<'_>]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_le_bytes();
        let _whole = lock(&self.sending);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDLES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !handles.is_empty() && !control.push(SendAncillaryMessage::ScmRights(handles)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut sent = 0;
        while sent < length.len() + message.len() {
            let (head, body) = (&length[sent.min(4)..], &message[sent.saturating_sub(4)..]);
            match sendmsg(
                &self.socket,
                &[IoSlice::new(head), IoSlice::new(body)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            control.clear();
        }
        Ok(())
    }

    /// Waits for the next message and its open files; `None` if the other end is closed.
    ///
    /// # Errors
    /// Fails if the socket fails, closes within a message, or is not a socket.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut handles = Vec::new();
        let mut length = [0; 4];
        if !self.fill(&mut length, &mut handles)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        if self.fill(&mut message, &mut handles)? {
            Ok(Some((message, handles)))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Fills the buffer; `false` if the other end is closed before the first byte.
    fn fill(&self, buffer: &mut [u8], handles: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDLES))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer[filled..])];
            // Tasks must not inherit received files.
            match recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) if received.bytes == 0 && filled == 0 => return Ok(false),
                Ok(received) if received.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => filled += received.bytes,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    handles.extend(received);
                }
            }
        }
        Ok(true)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{Read, Seek, Write},
    };

    #[test]
    fn messages_of_any_length_arrive_complete_with_their_files() {
        let (ours, theirs) = Line::pair().unwrap();
        let theirs = Line::new(theirs);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        let sender = std::thread::spawn(move || {
            ours.send(b"", &[]).unwrap();
            ours.send(b"with a file", &[file.as_fd()]).unwrap();
            ours.send(&vec![7; 3 << 20], &[]).unwrap();
        });
        assert_eq!(theirs.receive().unwrap().unwrap().0, b"");
        let (message, mut handles) = theirs.receive().unwrap().unwrap();
        assert_eq!((&*message, handles.len()), (&b"with a file"[..], 1));
        let mut file = File::from(handles.pop().unwrap());
        assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let mut content = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert_eq!(theirs.receive().unwrap().unwrap().0, vec![7; 3 << 20]);
        sender.join().unwrap();
        assert!(theirs.receive().unwrap().is_none(), "the other end is closed");
        assert!(theirs.send(b"x", &[]).is_err());
    }

    #[test]
    fn half_a_message_and_a_huge_length_are_errors() {
        for bytes in [&[9, 0, 0, 0, 1][..], &[1, 0], &[255; 8]] {
            let (ours, theirs) = Line::pair().unwrap();
            rustix::io::write(&ours, bytes).unwrap();
            drop(ours);
            assert!(Line::new(theirs).receive().is_err(), "{bytes:?}");
        }
    }
}
