//! Clients that stall: a body that stops coming; an answer nobody reads is [`telemetry::Patient`]'s.
//!
//! Wraps what hyper reads, so that a connection without progress ends after a configured time and gives back its
//! memory and its slot. Chunked bodies also pass [`Framing`] here, before s3s buffers a chunk.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::http::framing::{Framing, Malformed};

/// A request body that fails when no byte comes for too long, or when its chunks are too large.
pub(super) struct Guarded<B> {
    body: B,
    framing: Option<Framing>,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Whether we wait for the client; while we are busy ourselves its time does not run.
    waiting: bool,
}

/// Why a body broke off. The texts are told apart in `http::upload`.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenBody {
    #[error("the body stalled")]
    Stalled,
    #[error("FormatError")]
    Framing(#[source] Malformed),
    #[error("could not read the body")]
    Read(#[source] hyper::Error),
}

impl<B> Guarded<B> {
    pub(super) fn new(body: B, framing: Option<Framing>, patience: Duration) -> Self {
        Self {
            body,
            framing,
            patience,
            deadline: Box::pin(tokio::time::sleep(patience)),
            waiting: false,
        }
    }
}

impl<B> Body for Guarded<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            if !this.waiting {
                this.waiting = true;
                this.deadline.as_mut().reset(Instant::now() + this.patience);
            }
            return this
                .deadline
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(BrokenBody::Stalled)));
        };
        this.waiting = false;
        let frame = match frame {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(BrokenBody::Read(error)))),
            Some(Ok(frame)) => frame,
        };
        if let (Some(framing), Some(data)) = (&mut this.framing, frame.data_ref())
            && let Err(malformed) = framing.check(data)
        {
            return Poll::Ready(Some(Err(BrokenBody::Framing(malformed))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
