//! Bodies and streams that give up when nothing moves for too long.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Waits as long as it was told to, anew after everything that moves.
struct Patience {
    length: Duration,
    end: Pin<Box<Sleep>>,
    waits: bool,
}

impl Patience {
    fn new(length: Duration) -> Self {
        Self { length, end: Box::pin(sleep(length)), waits: false }
    }

    /// `moved` as it is; when it has been pending for too long, an error in its place.
    fn with<T>(&mut self, moved: Poll<T>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if let Poll::Ready(moved) = moved {
            self.waits = false;
            return Poll::Ready(Ok(moved));
        }
        if !self.waits {
            self.waits = true;
            self.end.as_mut().reset(Instant::now() + self.length);
        }
        ready!(self.end.as_mut().poll(context));
        self.waits = false;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client kept silent for too long")))
    }
}

/// The body of a request.
pub struct PatientBody<B> {
    body: B,
    patience: Patience,
}

impl<B> PatientBody<B> {
    pub fn new(body: B, length: Duration) -> Self {
        Self { body, patience: Patience::new(length) }
    }
}

impl<B> Body for PatientBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { body, patience } = &mut *self;
        let frame = Pin::new(body).poll_frame(context);
        Poll::Ready(match ready!(patience.with(frame, context)) {
            Ok(frame) => frame.map(|frame| frame.map_err(io::Error::other)),
            Err(silent) => Some(Err(silent)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose client must go on taking what it is sent. What it must send is bounded elsewhere: between two
/// requests, and while one is carried out, it may keep silent.
pub struct PatientStream<S> {
    stream: S,
    patience: Patience,
}

impl<S> PatientStream<S> {
    pub fn new(stream: S, length: Duration) -> Self {
        Self { stream, patience: Patience::new(length) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, patience } = &mut *self;
        let written = Pin::new(stream).poll_write(context, bytes);
        patience.with(written, context).map(|written| written.flatten())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, patience } = &mut *self;
        let written = Pin::new(stream).poll_write_vectored(context, bytes);
        patience.with(written, context).map(|written| written.flatten())
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
