//! Listens on the control socket of a run and answers the requests of each connection one after the
//! other.

use super::{
    message::{ControlError, Request, Response},
    socket,
};
use std::{
    cell::Cell,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::AbortHandle,
};

/// Connections at the same time; further ones get an error and are closed.
const MAX_CONNECTIONS: usize = 32;
/// Longest request in bytes.
const MAX_REQUEST: u64 = 64 << 10;
/// Longest time that a connection may send nothing.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// The response to a request, once it is known.
pub type Answer = Pin<Box<dyn Future<Output = Response>>>;

/// A listening control socket. Dropping it closes and removes the socket.
pub struct ControlServer {
    path: PathBuf,
    accepting: AbortHandle,
}

impl ControlServer {
    /// Listens in a folder that this process has locked, and answers with `answer`, in the current actix system.
    ///
    /// # Errors
    /// Fails if the socket cannot be created.
    pub fn start(folder: &Path, answer: impl Fn(Request) -> Answer + 'static) -> io::Result<Self> {
        let (listener, path) = socket::listen(folder)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let accepting = tokio::task::spawn_local(accept(listener, Rc::new(answer)));
        Ok(Self { path, accepting: accepting.abort_handle() })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, answer: Rc<dyn Fn(Request) -> Answer>) {
    let open = Rc::new(Cell::new(0));
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // For example, no file descriptor is free.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let is_own = stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
        if !is_own {
            continue;
        }
        let (open, answer) = (open.clone(), answer.clone());
        tokio::task::spawn_local(async move {
            open.set(open.get() + 1);
            if open.get() <= MAX_CONNECTIONS {
                let _ = converse(stream, &*answer).await;
            } else {
                let busy = ControlError::new("busy", "too many connections: close one, then try again");
                let _ = write(stream, &Response::Error(busy)).await;
            }
            open.set(open.get() - 1);
        });
    }
}

async fn converse(stream: UnixStream, answer: &dyn Fn(Request) -> Answer) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = vec![];
        let mut limited = (&mut reader).take(MAX_REQUEST);
        let reading = limited.read_until(b'\n', &mut line);
        let read = tokio::time::timeout(MAX_SILENCE, reading).await??;
        if read == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        let response = match serde_json::from_slice::<Request>(&line) {
            Ok(request) if is_whole => answer(request).await,
            Ok(_) => return Ok(()),
            Err(error) => {
                Response::Error(ControlError::new("bad_request", format!("not a request: {error}")))
            }
        };
        write(&mut writer, &response).await?;
        if !is_whole {
            return Ok(());
        }
    }
}

async fn write(mut writer: impl AsyncWriteExt + Unpin, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
