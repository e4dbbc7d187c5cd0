//! A connection that times out if its client does not read a response, or takes too long to send the head of
//! a request.

use super::{
    Bounds, GIVES_WAY_AFTER,
    patience::{HeadClock, Patience, Waited},
    seats::Seat,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest response that a client gets without credentials, and more.
const SHORT: usize = 16 << 10;

/// A connection. Timeouts for bodies and between requests are elsewhere.
pub struct PatientStream<S> {
    stream: S,
    seat: Arc<Seat>,
    head: HeadClock,
    silence: Duration,
    patience: Patience,
}

impl<S> PatientStream<S> {
    /// Wraps a new connection.
    pub fn new(stream: S, bounds: &Bounds, seat: Arc<Seat>) -> Self {
        let (head, silence) = (HeadClock::new(bounds.head), bounds.silence);
        Self { stream, seat, head, silence, patience: Patience::new() }
    }

    /// Returns the result of a write of this many bytes, or an error if the client reads nothing for too
    /// long.
    fn taken(
        &mut self,
        written: Poll<io::Result<usize>>,
        length: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self.patience.wait(written, || self.silence, context) {
            Waited::Moved(written, waited) => {
                if waited.is_some() {
                    self.seat.is_served();
                }
                Poll::Ready(written)
            }
            Waited::Waits(begins) => {
                // The rest of a short response does not prevent an idle connection from being closed at once.
                if begins && (length > SHORT || self.seat.awaited_request().is_none()) {
                    self.seat.gives_way(GIVES_WAY_AFTER);
                }
                Poll::Pending
            }
            Waited::TooLong(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, seat, head, .. } = &mut *self;
        let before = into.filled().len();
        let read = Pin::new(stream).poll_read(context, into);
        let arrived = into.filled().len() > before;
        match head.poll(seat.awaited_request(), arrived, context) {
            Poll::Ready(too_long) => Poll::Ready(Err(too_long)),
            Poll::Pending => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(written, bytes.len(), context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        let length = bytes.iter().map(|bytes| bytes.len()).sum();
        self.taken(written, length, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
