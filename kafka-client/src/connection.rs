//! One connection to one broker: frames out, frames in, several requests under way at once.
//!
//! Requests are queued in the order of the calls to [`Connection::start`], even before their answers are awaited; the
//! producer relies on that. An unanswered or malformed request ends the connection, because after it nobody knows which
//! answer belongs to what; everything waiting then gets the same error.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestHeader};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange,
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::error::{Error, ErrorCode};
use crate::{sasl, tls};

/// A handle to a connection; dropping the last one closes it.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    versions: HashMap<i16, VersionRange>,
    client_id: StrBytes,
    timeout: Duration,
    /// Reader and writer; they end with the handle.
    _tasks: JoinSet<()>,
}

struct Shared {
    address: String,
    state: Mutex<State>,
}

struct State {
    /// `None` once the connection has ended.
    frames: Option<mpsc::UnboundedSender<Bytes>>,
    waiting: VecDeque<Waiting>,
    next_correlation: i32,
    ended: Option<Error>,
}

struct Waiting {
    correlation: i32,
    answer: oneshot::Sender<Result<Bytes, Error>>,
}

type BoxedRead = Box<dyn AsyncRead + Send + Unpin>;
type BoxedWrite = Box<dyn AsyncWrite + Send + Unpin>;

impl Connection {
    /// Connects, encrypts, negotiates versions and authenticates.
    pub(crate) async fn open(
        config: &Config,
        tls: Option<&tls::Connector>,
        address: &str,
    ) -> Result<Connection, Error> {
        let attempt = Connection::establish(config, tls, address);
        match tokio::time::timeout(config.connect_timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Connect {
                address: address.to_owned(),
                source: Arc::new(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("not ready within {:?}", config.connect_timeout),
                )),
            }),
        }
    }

    async fn establish(
        config: &Config,
        tls: Option<&tls::Connector>,
        address: &str,
    ) -> Result<Connection, Error> {
        let failed = |source: std::io::Error| Error::Connect {
            address: address.to_owned(),
            source: Arc::new(source),
        };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (reader, writer): (BoxedRead, BoxedWrite) = match tls {
            None => {
                let (reader, writer) = stream.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Some(tls) => {
                let (reader, writer) = tokio::io::split(tls.connect(address, stream).await?);
                (Box::new(reader), Box::new(writer))
            }
        };
        let mut connection = Connection::start_tasks(config, address, reader, writer);
        connection.versions = connection.negotiate().await?;
        if let Some(sasl) = &config.sasl {
            sasl::authenticate(&connection, sasl).await?;
        }
        Ok(connection)
    }

    fn start_tasks(
        config: &Config,
        address: &str,
        reader: BoxedRead,
        writer: BoxedWrite,
    ) -> Connection {
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            state: Mutex::new(State {
                frames: Some(sender),
                waiting: VecDeque::new(),
                next_correlation: 0,
                ended: None,
            }),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(read_frames(
            reader,
            Arc::clone(&shared),
            config.max_response,
        ));
        tasks.spawn(write_frames(writer, receiver, Arc::clone(&shared)));
        Connection {
            shared,
            versions: HashMap::new(),
            client_id: StrBytes::from_string(config.client_id.clone()),
            timeout: config.request_timeout,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether requests still have a chance.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.state.lock().frames.is_some()
    }

    /// The highest version of `R` that both sides speak, at most `cap`.
    pub(crate) fn version<R: Request>(&self, cap: i16) -> Result<i16, Error> {
        let ours = VersionRange {
            min: R::VERSIONS.min,
            max: R::VERSIONS.max.min(cap),
        };
        let theirs = self.versions.get(&R::KEY).copied();
        let both = theirs
            .map(|theirs| ours.intersect(&theirs))
            .filter(|both| !both.is_empty());
        both.map(|both| both.max).ok_or_else(|| Error::Unsupported {
            address: self.address().to_owned(),
            api: api_name(R::KEY),
            theirs: theirs.map_or("none".to_owned(), |range| range.to_string()),
            ours: ours.to_string(),
        })
    }

    /// Sends `request` in the highest common version up to `cap` and awaits the answer.
    pub(crate) async fn call<R: Request>(
        &self,
        request: &R,
        cap: i16,
    ) -> Result<(R::Response, i16), Error> {
        let version = self.version::<R>(cap)?;
        let answer = self.start(request, version, Duration::ZERO)?;
        Ok((answer.await?, version))
    }

    /// Queues `request` at once; the future only waits for the answer, `extra` longer than other requests may take.
    pub(crate) fn start<R: Request>(
        &self,
        request: &R,
        version: i16,
        extra: Duration,
    ) -> Result<impl Future<Output = Result<R::Response, Error>> + Send + use<R>, Error> {
        let (answer, receiver) = oneshot::channel();
        self.enqueue(request, version, Some(answer))?;
        let shared = Arc::clone(&self.shared);
        let limit = self.timeout + extra;
        Ok(async move {
            let body = match tokio::time::timeout(limit, receiver).await {
                Ok(Ok(outcome)) => outcome?,
                Ok(Err(_)) => return Err(shared.gone()),
                Err(_) => {
                    let error = Error::TimedOut {
                        what: api_name(R::KEY),
                        address: shared.address.clone(),
                        after: limit,
                    };
                    shared.end(&error);
                    return Err(error);
                }
            };
            decode::<R::Response>(&shared, R::KEY, body, version)
        })
    }

    /// Queues a request that the broker does not answer (produce with acks=0).
    pub(crate) fn send_unanswered<R: Request>(
        &self,
        request: &R,
        version: i16,
    ) -> Result<(), Error> {
        self.enqueue(request, version, None)
    }

    fn enqueue<R: Request>(
        &self,
        request: &R,
        version: i16,
        answer: Option<oneshot::Sender<Result<Bytes, Error>>>,
    ) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        let correlation = state.next_correlation;
        let frame = encode(request, version, correlation, &self.client_id).map_err(|error| {
            Error::Malformed {
                what: format!("{} request", api_name(R::KEY)),
                address: self.shared.address.clone(),
                reason: error.to_string(),
            }
        })?;
        let ended = || self.shared.gone_of(&state);
        let Some(frames) = &state.frames else {
            return Err(ended());
        };
        if frames.send(frame).is_err() {
            return Err(ended());
        }
        state.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        if let Some(answer) = answer {
            state.waiting.push_back(Waiting {
                correlation,
                answer,
            });
        }
        Ok(())
    }

    /// Asks which versions the broker serves; falls back to version 0 as the protocol says.
    async fn negotiate(&self) -> Result<HashMap<i16, VersionRange>, Error> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("streamforge-kafka-client"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut response = self.start(&request, 3, Duration::ZERO)?.await?;
        if response.error_code == 35 {
            let request = ApiVersionsRequest::default();
            response = self.start(&request, 0, Duration::ZERO)?.await?;
        }
        Error::check(
            response.error_code,
            || "version negotiation".to_owned(),
            None,
        )?;
        Ok(response
            .api_keys
            .iter()
            .map(|api| {
                (
                    api.api_key,
                    VersionRange {
                        min: api.min_version,
                        max: api.max_version,
                    },
                )
            })
            .collect())
    }
}

impl Shared {
    /// Ends the connection: nothing more is sent, and all that wait get `error`.
    fn end(&self, error: &Error) {
        let waiting = {
            let mut state = self.state.lock();
            state.frames = None;
            state.ended.get_or_insert_with(|| error.clone());
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            // Whoever no longer waits does not need the error.
            let _ = waiting.answer.send(Err(match error {
                // Only the request that timed out did so; the others lost their connection.
                Error::TimedOut { .. } => self.lost("another request went unanswered"),
                other => other.clone(),
            }));
        }
    }

    fn gone(&self) -> Error {
        self.gone_of(&self.state.lock())
    }

    fn gone_of(&self, state: &State) -> Error {
        match &state.ended {
            Some(Error::TimedOut { .. }) | None => self.lost("the connection had ended"),
            Some(error) => error.clone(),
        }
    }

    fn lost(&self, reason: &str) -> Error {
        Error::Disconnected {
            address: self.address.clone(),
            reason: reason.to_owned(),
        }
    }
}

async fn write_frames(
    mut writer: BoxedWrite,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
    shared: Arc<Shared>,
) {
    while let Some(frame) = frames.recv().await {
        let mut outcome = writer.write_all(&frame).await;
        if outcome.is_ok() && frames.is_empty() {
            outcome = writer.flush().await;
        }
        if let Err(error) = outcome {
            shared.end(&shared.lost(&error.to_string()));
            return;
        }
    }
}

async fn read_frames(mut reader: BoxedRead, shared: Arc<Shared>, max_response: usize) {
    loop {
        let error = match read_frame(&mut reader, max_response).await {
            Ok(frame) => match shared.deliver(frame) {
                Ok(()) => continue,
                Err(error) => error,
            },
            Err(error) => shared.lost(&error.to_string()),
        };
        shared.end(&error);
        return;
    }
}

async fn read_frame(reader: &mut BoxedRead, max_response: usize) -> std::io::Result<Bytes> {
    let length = reader.read_i32().await?;
    let bad = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
    let length = usize::try_from(length).map_err(|_| bad("negative frame length".to_owned()))?;
    if !(4..=max_response).contains(&length) {
        return Err(bad(format!(
            "frame of {length} bytes, at most {max_response} are accepted"
        )));
    }
    // Grows as bytes arrive, so a false length costs nothing.
    let mut frame = BytesMut::with_capacity(length.min(1 << 20));
    let mut rest = reader.take(length as u64);
    while frame.len() < length {
        if frame.capacity() == frame.len() {
            let more = frame.len().max(1 << 16).min(length - frame.len());
            frame.reserve(more);
        }
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

impl Shared {
    fn deliver(&self, mut frame: Bytes) -> Result<(), Error> {
        let correlation = frame.get_i32();
        let waiting = self.state.lock().waiting.pop_front();
        match waiting {
            Some(waiting) if waiting.correlation == correlation => {
                // A caller that gave up is no reason to end the connection.
                let _ = waiting.answer.send(Ok(frame));
                Ok(())
            }
            _ => Err(Error::Malformed {
                what: "response".to_owned(),
                address: self.address.clone(),
                reason: format!("correlation id {correlation} was not expected"),
            }),
        }
    }
}

fn encode<R: Request>(
    request: &R,
    version: i16,
    correlation: i32,
    client_id: &StrBytes,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let size = header.compute_size(header_version)? + request.compute_size(version)?;
    let mut frame = BytesMut::with_capacity(size + 4);
    frame.extend_from_slice(&u32::try_from(size)?.to_be_bytes());
    header.encode(&mut frame, header_version)?;
    request.encode(&mut frame, version)?;
    Ok(frame.freeze())
}

/// Decodes what follows the correlation id.
fn decode<A: Message + Decodable + HeaderVersion>(
    shared: &Shared,
    key: i16,
    body: Bytes,
    mut version: i16,
) -> Result<A, Error> {
    let mut frame = body;
    // A broker that does not serve the version of ApiVersions answers in version 0 with code 35.
    if key == ApiKey::ApiVersions as i16
        && frame.get(..2)
            == Some(
                ErrorCode::UnsupportedVersion
                    .code()
                    .to_be_bytes()
                    .as_slice(),
            )
    {
        version = 0;
    }
    let malformed = |reason: String| Error::Malformed {
        what: format!("{} response", api_name(key)),
        address: shared.address.clone(),
        reason,
    };
    // ApiVersions responses never have the flexible header; `header_version` of the codec knows that. The header's
    // correlation id is already read: what remains of a flexible header are its tagged fields.
    if A::header_version(version) >= 1 {
        let tags = skip_tagged_fields(&frame).ok_or_else(|| malformed("header".to_owned()))?;
        frame.advance(tags);
    }
    crate::shape::check(key, &frame, version).map_err(|why| malformed(why.to_owned()))?;
    A::decode(&mut frame, version).map_err(|error| malformed(error.to_string()))
}

/// Length of a tagged-field section, `None` when it does not fit.
fn skip_tagged_fields(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let number = |at: &mut usize| -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = *bytes.get(*at)?;
            *at += 1;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    };
    for _ in 0..number(&mut at)? {
        number(&mut at)?;
        let len = number(&mut at)? as usize;
        at = at.checked_add(len).filter(|end| *end <= bytes.len())?;
    }
    Some(at)
}

fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("api {key}"), |key| format!("{key:?}"))
}
