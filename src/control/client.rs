//! Sends requests to a live run through its control socket.

use super::{
    message::{ControlError, Request, Response},
    socket,
};
use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// How long a response may take, beyond the time that a request itself waits.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the process that works on a run.
pub struct ControlClient {
    stream: BufReader<UnixStream>,
}

impl ControlClient {
    /// Connects to the process that works on the run of this folder; returns nothing if there is none.
    ///
    /// # Errors
    /// Fails if there is a socket that this process cannot use.
    pub fn connect(folder: &Path) -> io::Result<Option<Self>> {
        match socket::connect(folder) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(Some(Self { stream: BufReader::new(stream) }))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a request and waits for the response. The connection is of no use after an error.
    ///
    /// # Errors
    /// `UnexpectedEof` if the process ends meanwhile.
    pub fn ask(&mut self, request: &Request) -> io::Result<Result<Response, ControlError>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        line.clear();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(match serde_json::from_slice(&line)? {
            Response::Error(error) => Err(error),
            response => Ok(response),
        })
    }
}
