//! A broker on ports of its own, in the process of the test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use streaming_server::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A running broker; stops when told to, or is dropped without a goodbye.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    shutdown: CancellationToken,
    serving: Option<std::thread::JoinHandle<Result<(), streaming_server::Error>>>,
}

impl Broker {
    /// Starts a broker with small bounds on `directory`, changed by `change`.
    pub(crate) fn start_with(directory: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            data_dir: directory.to_owned(),
            housekeeping_interval: Duration::from_millis(50),
            group_initial_rebalance_delay: Duration::from_millis(100),
            min_free_space: bytesize::ByteSize::b(0),
            ..Config::default()
        };
        change(&mut config);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender
                    .send((listener.local_addr().unwrap(), admin.local_addr().unwrap()))
                    .unwrap();
                streaming_server::serve(config, listener, admin, stop).await
            })
        });
        let (address, admin) = receiver.recv().unwrap();
        Self {
            address,
            admin,
            shutdown,
            serving: Some(serving),
        }
    }

    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, |_| {})
    }

    /// What the broker's own page at `path` says, with its status line.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The value of a metric without labels, named without its prefix.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let name = format!("streamforge_streaming_server_{name} ");
        let page = self.get("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(&name))?;
        value.parse().ok()
    }

    /// Stops the broker and gives how it ended.
    pub(crate) fn stop(mut self) -> Result<(), streaming_server::Error> {
        self.shutdown.cancel();
        self.serving.take().unwrap().join().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.take()
            && let Ok(Err(error)) = serving.join()
            && !std::thread::panicking()
        {
            panic!("the broker failed: {error}");
        }
    }
}
