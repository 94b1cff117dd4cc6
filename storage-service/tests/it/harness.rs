//! A store of the test's own, and requests signed by hand.

use std::net::SocketAddr;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use storage_service::{Config, Error};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const ACCESS_KEY: &str = "test-access";
pub(crate) const SECRET_KEY: &str = "test-secret/with+slash";

/// A running store; `stop` ends it and says how it ended.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
    /// Kept until the store has stopped.
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn config(dir: &tempfile::TempDir) -> Config {
    Config {
        data_dir: dir.path().join("store"),
        access_key: ACCESS_KEY.into(),
        secret_key: SECRET_KEY.into(),
        ..Config::default()
    }
}

pub(crate) async fn start() -> Running {
    start_with(|_| {}).await
}

pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Running {
    let dir = testkit::temp_dir();
    let mut config = config(&dir);
    change(&mut config);
    start_in(dir, config).await
}

pub(crate) async fn start_in(dir: tempfile::TempDir, config: Config) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    #[expect(clippy::disallowed_methods, reason = "awaited by `stop`")]
    let served = tokio::spawn(storage_service::serve(config, listener, shutdown.clone()));
    Running {
        address,
        shutdown,
        served,
        dir,
    }
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
        self.dir
    }
}

/// A request signed by hand, so that a test can spoil any part of it.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// Already encoded and sorted.
    pub(crate) query: String,
    /// Lower-case names; signed unless in `unsigned`.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) unsigned: Vec<(String, String)>,
    pub(crate) payload: String,
    pub(crate) body: Vec<u8>,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) secret: String,
}

impl Signed {
    pub(crate) fn new(method: &'static str, path: &str, body: &[u8]) -> Self {
        let now = chrono::Utc::now();
        Self {
            method,
            path: path.to_owned(),
            query: String::new(),
            headers: Vec::new(),
            unsigned: Vec::new(),
            payload: hex(&Sha256::digest(body)),
            body: body.to_vec(),
            date: now.format("%Y%m%dT%H%M%SZ").to_string(),
            region: "us-east-1".into(),
            secret: SECRET_KEY.into(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn unsigned(mut self, name: &str, value: &str) -> Self {
        self.unsigned.push((name.to_owned(), value.to_owned()));
        self
    }

    fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", &self.date[..8], self.region)
    }

    fn key(&self) -> Vec<u8> {
        let mut key = hmac(
            format!("AWS4{}", self.secret).as_bytes(),
            &self.date.as_bytes()[..8],
        );
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        key
    }

    /// Signs any text with this request's key, as chunks of a streamed body need it.
    pub(crate) fn sign(&self, text: &str) -> String {
        hex(&hmac(&self.key(), text.as_bytes()))
    }

    fn all_headers(&self, address: SocketAddr) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        headers.push(("host".into(), address.to_string()));
        headers.push(("x-amz-content-sha256".into(), self.payload.clone()));
        headers.push(("x-amz-date".into(), self.date.clone()));
        headers.sort();
        headers
    }

    fn signature_over(&self, headers: &[(String, String)]) -> (String, String) {
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let canonical = format!(
            "{}\n{}\n{}\n{lines}\n{names}\n{}",
            self.method, self.path, self.query, self.payload
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date,
            self.scope(),
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        (names, self.sign(&text))
    }

    /// The signature of the headers, from which a streamed body's chunks go on.
    pub(crate) fn seed(&self, address: SocketAddr) -> String {
        self.signature_over(&self.all_headers(address)).1
    }

    /// The string a chunk's signature is made of.
    pub(crate) fn chunk_text(&self, before: &str, data: &[u8]) -> String {
        format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{before}\n{}\n{}",
            self.date,
            self.scope(),
            hex(&Sha256::digest(b"")),
            hex(&Sha256::digest(data))
        )
    }

    /// The string the signature of the checksums after a body is made of.
    pub(crate) fn trailer_text(&self, before: &str, trailer: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{before}\n{}",
            self.date,
            self.scope(),
            hex(&Sha256::digest(trailer.as_bytes()))
        )
    }

    /// A link that whoever has it may use for `seconds`, as `(path and query)`.
    pub(crate) fn presigned(&self, address: SocketAddr, seconds: u32) -> String {
        let credential = format!("{ACCESS_KEY}/{}", self.scope()).replace('/', "%2F");
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={}\
             &X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host",
            self.date
        );
        let canonical = format!(
            "{}\n{}\n{query}\nhost:{address}\n\nhost\nUNSIGNED-PAYLOAD",
            self.method, self.path
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date,
            self.scope(),
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        format!("{}?{query}&X-Amz-Signature={}", self.path, self.sign(&text))
    }

    /// The request's head as it goes over the wire, for a body of `len` bytes that a test sends as it likes.
    pub(crate) fn head(&self, address: SocketAddr, len: usize) -> Vec<u8> {
        let headers = self.all_headers(address);
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let authorization = self.authorization(&headers);
        head.push_str(&format!(
            "authorization: {authorization}\r\ncontent-length: {len}\r\n\r\n"
        ));
        head.into_bytes()
    }

    fn authorization(&self, headers: &[(String, String)]) -> String {
        let (names, signature) = self.signature_over(headers);
        format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{}, SignedHeaders={names}, Signature={signature}",
            self.scope()
        )
    }

    pub(crate) async fn send(self, address: SocketAddr) -> Answer {
        let headers = self.all_headers(address);
        let authorization = self.authorization(&headers);
        let url = match self.query.is_empty() {
            true => format!("http://{address}{}", self.path),
            false => format!("http://{address}{}?{}", self.path, self.query),
        };
        let mut request = reqwest::Client::new()
            .request(self.method.parse().unwrap(), url)
            .header("authorization", authorization);
        for (name, value) in headers.iter().chain(&self.unsigned) {
            if name != "host" {
                request = request.header(name, value);
            }
        }
        Answer::of(request.body(self.body).send().await.unwrap()).await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and error code.
    pub(crate) fn error(&self) -> (u16, String) {
        let text = self.text();
        let code = text
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"))
            .map_or(text.clone(), |(code, _)| code.to_owned());
        (self.status, code)
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
