//! One client connection: frames in, responses out in the order of their requests, several requests at work at once.
//!
//! Backpressure is the socket itself: nothing is read while the connection has its fill of requests or the broker its
//! fill of bytes. A peer that stalls in the middle of a frame or does not take its responses is dropped.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiKey, RequestKind, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::broker::{Broker, Reply, api_versions};
use crate::log::Memory;
use crate::metrics::Api;
use crate::sasl::{Exchange, MECHANISMS, Users};
use crate::wire::{self, Chunks, Refusal};

/// Frames up to this size share a read buffer; larger ones get memory of their own, read without another copy.
const SMALL_FRAME: usize = 64 * 1024;

/// Memory for larger frames is taken in steps, as they arrive.
const STEP: usize = 1 << 20;

/// Longest frame of a client that has not proved yet who it is: none that memory is reserved for before it is there.
const STRANGERS_FRAME: usize = SMALL_FRAME;

/// How long a client that has closed its side is waited for with answers: it may still read, but must not keep its
/// place by what takes long.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Bytes of a response that must be taken within `transfer_timeout`, before the next may take as long.
const PACE: usize = 1 << 20;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("client speaks no Kafka or another version of it")]
    Refused(#[from] Refusal),
    #[error("frame of {len} bytes; `max_request_size` is {max}")]
    TooLarge { len: i64, max: usize },
    #[error("client stalled while {what}")]
    Stalled { what: &'static str },
    #[error("connection failed")]
    Io(#[from] io::Error),
}

/// What connections share.
pub(crate) struct Shared {
    pub(crate) broker: Arc<Broker>,
    /// A permit for each KiB of requests being worked on.
    pub(crate) memory: Arc<Semaphore>,
    /// Permits for so much of it as frames may hold that wait for more: whatever they hold, a whole frame finds room
    /// beside them, so that they never wait for each other.
    arriving: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        let config = &broker.config;
        let total = usize::try_from(config.request_memory.as_u64() / 1024).unwrap_or(usize::MAX);
        let total = total.min(Semaphore::MAX_PERMITS);
        let largest = config.max_request_size.as_u64().div_ceil(1024);
        let largest = usize::try_from(largest).unwrap_or(usize::MAX);
        Self {
            broker,
            memory: Arc::new(Semaphore::new(total)),
            arriving: Arc::new(Semaphore::new(total.saturating_sub(largest))),
        }
    }
}

struct Outgoing {
    version: i16,
    correlation_id: i32,
    reply: Reply,
    /// Held until the response is written.
    memory: Memory,
}

type Working = FuturesOrdered<Pin<Box<dyn Future<Output = Outgoing> + Send>>>;

/// Serves the connection until the client leaves, misbehaves, or the broker stops.
pub(crate) async fn serve<S>(shared: &Shared, stream: S, peer: &str) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = &shared.broker.config;
    let (reader, mut writer) = tokio::io::split(stream);
    let mut frames = Frames::new(reader, shared);
    let mut working = Working::new();
    let mut exchange = Exchange::default();
    let mut is_open = true;
    let max = frames.max;
    if !shared.broker.users.is_empty() {
        frames.max = max.min(STRANGERS_FRAME);
    }
    while is_open {
        tokio::select! {
            biased;
            Some(outgoing) = working.next(), if !working.is_empty() => {
                if send(shared, &mut writer, outgoing).await?.is_break() {
                    return Ok(());
                }
            }
            () = shared.broker.stopping.cancelled() => is_open = false,
            frame = frames.next(), if working.len() < config.max_pipelined_requests => {
                match frame? {
                    None => is_open = false,
                    Some((frame, memory)) => {
                        begin(shared, &frame, memory, peer, &mut exchange, &mut working)?;
                        if exchange == Exchange::Authenticated {
                            frames.max = max;
                        }
                    }
                }
            }
        }
    }
    let until = Instant::now() + LAST_ANSWERS;
    while let Ok(Some(outgoing)) = timeout_at(until, working.next()).await {
        if send(shared, &mut writer, outgoing).await?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Begins to answer one frame.
fn begin(
    shared: &Shared,
    frame: &Bytes,
    memory: OwnedSemaphorePermit,
    peer: &str,
    exchange: &mut Exchange,
    working: &mut Working,
) -> Result<(), Ended> {
    let metrics = &shared.broker.env.metrics;
    metrics.received_bytes.inc_by(frame.len() as u64);
    let request = match wire::decode(frame) {
        Ok(request) => request,
        // Any client understands version 0 of this answer, and learns from it which versions to use.
        Err(Refusal::UnknownVersion {
            key: ApiKey::ApiVersions,
            correlation_id,
            ..
        }) => {
            let answer = api_versions(
                ResponseError::UnsupportedVersion.code(),
                !shared.broker.users.is_empty(),
            );
            let reply = Reply::Message(answer.into());
            let outgoing = Outgoing {
                version: 0,
                correlation_id,
                reply,
                memory: Arc::new(memory),
            };
            working.push_back(Box::pin(std::future::ready(outgoing)));
            return Ok(());
        }
        Err(refusal) => {
            metrics.refused_requests.inc();
            return Err(refusal.into());
        }
    };
    metrics
        .requests
        .get_or_create(&Api {
            api: request.api.name,
        })
        .inc();
    let memory = Arc::new(memory);
    let (version, correlation_id) = (request.version, request.correlation_id);
    let answer = match authenticate(&shared.broker.users, exchange, &request.kind) {
        None => shared.broker.begin(request, peer, &memory),
        Some(reply) => Box::pin(std::future::ready(reply)),
    };
    working.push_back(Box::pin(async move {
        Outgoing {
            version,
            correlation_id,
            reply: answer.await,
            memory,
        }
    }));
    Ok(())
}

/// What a connection is told before it may ask for anything; `None` once, or where, everyone may.
fn authenticate(users: &Users, exchange: &mut Exchange, kind: &RequestKind) -> Option<Reply> {
    match kind {
        RequestKind::ApiVersions(_) => None,
        _ if users.is_empty() => match kind {
            RequestKind::SaslHandshake(_) | RequestKind::SaslAuthenticate(_) => Some(Reply::Hangup),
            _ => None,
        },
        RequestKind::SaslHandshake(handshake) => {
            let response = SaslHandshakeResponse::default()
                .with_mechanisms(MECHANISMS.map(StrBytes::from_static_str).to_vec());
            let code = match exchange.choose(&handshake.mechanism) {
                Ok(()) => 0,
                Err(_) => ResponseError::UnsupportedSaslMechanism.code(),
            };
            Some(Reply::Message(response.with_error_code(code).into()))
        }
        RequestKind::SaslAuthenticate(message) => {
            let response = SaslAuthenticateResponse::default();
            let response = match exchange.step(users, &message.auth_bytes) {
                Ok(answer) => response.with_auth_bytes(answer.into()),
                Err(denied) => response
                    .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                    .with_error_message(Some(StrBytes::from_string(denied.to_string()))),
            };
            Some(Reply::Message(response.into()))
        }
        _ if *exchange == Exchange::Authenticated => None,
        _ => Some(Reply::Hangup),
    }
}

/// Writes one response; `Break` ends the connection.
async fn send<W: AsyncWrite + Unpin>(
    shared: &Shared,
    writer: &mut W,
    outgoing: Outgoing,
) -> Result<ControlFlow<()>, Ended> {
    let Outgoing {
        version,
        correlation_id,
        reply,
        memory,
    } = outgoing;
    let reply = match reply {
        Reply::InTurn(answer) => answer.await,
        reply => reply,
    };
    let mut permits = Vec::new();
    let chunks = match reply {
        Reply::Silent => return Ok(ControlFlow::Continue(())),
        Reply::Hangup | Reply::InTurn(_) => return Ok(ControlFlow::Break(())),
        Reply::Message(response) => wire::encode(&response, version, correlation_id)?,
        Reply::Fetch(mut reply) => {
            permits.append(&mut reply.permits);
            reply.encode(version, correlation_id)
        }
    };
    shared
        .broker
        .env
        .metrics
        .sent_bytes
        .inc_by(chunks.remaining() as u64);
    deliver(writer, chunks, shared.broker.config.transfer_timeout).await?;
    drop((memory, permits));
    Ok(ControlFlow::Continue(()))
}

/// Writes all of `chunks`, for each [`PACE`] of which the peer has `limit`.
async fn deliver<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut chunks: Chunks,
    limit: Duration,
) -> Result<(), Ended> {
    let stalled = |_| Ended::Stalled {
        what: "taking a response",
    };
    let mut deadline = Instant::now() + limit;
    let mut due = chunks.remaining().saturating_sub(PACE);
    while chunks.has_remaining() {
        let written = timeout_at(deadline, writer.write_buf(&mut chunks)).await;
        if written.map_err(stalled)?? == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        if chunks.remaining() <= due && chunks.has_remaining() {
            deadline = Instant::now() + limit;
            due = chunks.remaining().saturating_sub(PACE);
        }
    }
    // Encryption takes all it is given; only here it waits for the peer.
    timeout_at(deadline, writer.flush())
        .await
        .map_err(stalled)??;
    Ok(())
}

/// Cuts the incoming bytes into frames. Every await may be given up and taken up again.
struct Frames<'a, R> {
    reader: R,
    shared: &'a Shared,
    max: usize,
    small: BytesMut,
    large: Option<Large>,
    /// When the peer last finished a frame, or began the one that is arriving.
    since: Instant,
}

struct Large {
    bytes: BytesMut,
    len: usize,
    /// Bytes that memory is reserved for.
    reserved: usize,
    memory: Option<OwnedSemaphorePermit>,
    /// Its part of [`Shared::arriving`].
    arriving: Option<OwnedSemaphorePermit>,
}

impl<'a, R: AsyncRead + Unpin> Frames<'a, R> {
    fn new(reader: R, shared: &'a Shared) -> Self {
        let max =
            usize::try_from(shared.broker.config.max_request_size.as_u64()).unwrap_or(usize::MAX);
        Self {
            reader,
            shared,
            max,
            small: BytesMut::new(),
            large: None,
            since: Instant::now(),
        }
    }

    /// The next frame without its length, with the memory it stands for; `None` when the peer has closed.
    async fn next(&mut self) -> Result<Option<(Bytes, OwnedSemaphorePermit)>, Ended> {
        loop {
            if let Some(large) = self.large.take_if(|large| large.bytes.len() == large.len)
                && let Some(memory) = large.memory
            {
                self.since = Instant::now();
                return Ok(Some((large.bytes.freeze(), memory)));
            }
            if self.large.is_none()
                && let Some(len) = self.announced()?
            {
                if self.small.len() >= 4 + len {
                    let memory = self.reserve(len).await?;
                    self.small.advance(4);
                    self.since = Instant::now();
                    return Ok(Some((self.small.split_to(len).freeze(), memory)));
                }
                if len > SMALL_FRAME {
                    let mut bytes = self.small.split();
                    bytes.advance(4);
                    self.large = Some(Large {
                        bytes,
                        len,
                        reserved: 0,
                        memory: None,
                        arriving: None,
                    });
                }
            }
            self.make_room().await?;
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Length of the frame at the start of the buffer, once it is there.
    fn announced(&self) -> Result<Option<usize>, Ended> {
        let Some(prefix) = self.small.first_chunk::<4>() else {
            return Ok(None);
        };
        let len = i32::from_be_bytes(*prefix);
        let fits = usize::try_from(len).ok().filter(|len| *len <= self.max);
        fits.map(Some).ok_or(Ended::TooLarge {
            len: i64::from(len),
            max: self.max,
        })
    }

    /// Reads what there is; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, Ended> {
        let config = &self.shared.broker.config;
        let is_idle = self.large.is_none() && self.small.is_empty();
        let limit = if is_idle {
            config.idle_timeout
        } else {
            config.transfer_timeout
        };
        let read = async {
            match &mut self.large {
                Some(large) => {
                    let room = large.reserved - large.bytes.len();
                    self.reader
                        .read_buf(&mut (&mut large.bytes).limit(room))
                        .await
                }
                None => {
                    self.small.reserve(SMALL_FRAME);
                    self.reader.read_buf(&mut self.small).await
                }
            }
        };
        match timeout_at(self.since + limit, read).await {
            Err(_) if is_idle => Err(Ended::Stalled { what: "idle" }),
            Err(_) => Err(Ended::Stalled {
                what: "sending a request",
            }),
            Ok(n_bytes) => {
                if is_idle {
                    self.since = Instant::now();
                }
                Ok(n_bytes? > 0)
            }
        }
    }

    /// Reserves memory for the next bytes of a large frame: a step, or all of it where not even a step may be held by
    /// one that waits for more.
    async fn make_room(&mut self) -> Result<(), Ended> {
        let Some(large) = &self.large else {
            return Ok(());
        };
        if large.reserved > large.bytes.len() {
            return Ok(());
        }
        let missing = large.len - large.reserved;
        let step = (large.bytes.len() - large.reserved + STEP).min(missing);
        let arriving = if step < missing {
            Arc::clone(&self.shared.arriving)
                .try_acquire_many_owned(kib(step))
                .ok()
        } else {
            None
        };
        let n_bytes = if arriving.is_some() { step } else { missing };
        let memory = self.reserve(n_bytes).await?;
        if let Some(large) = &mut self.large {
            if large.memory.is_none() {
                // What is merely set aside takes no memory; the system gives it when bytes are put there.
                let mut bytes = BytesMut::with_capacity(large.len);
                bytes.extend_from_slice(&large.bytes);
                large.bytes = bytes;
            }
            large.reserved += n_bytes;
            join(&mut large.memory, Some(memory));
            join(&mut large.arriving, arriving);
        }
        Ok(())
    }

    async fn reserve(&self, n_bytes: usize) -> Result<OwnedSemaphorePermit, Ended> {
        let permit = Arc::clone(&self.shared.memory)
            .acquire_many_owned(kib(n_bytes))
            .await;
        permit.map_err(|_| Ended::Stalled {
            what: "the broker stops",
        })
    }
}

fn kib(n_bytes: usize) -> u32 {
    u32::try_from(n_bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn join(held: &mut Option<OwnedSemaphorePermit>, more: Option<OwnedSemaphorePermit>) {
    match (held, more) {
        (Some(held), Some(more)) => held.merge(more),
        (held, Some(more)) => *held = Some(more),
        (_, None) => {}
    }
}

#[cfg(test)]
mod tests;
