//! The app: a steady load through the proxy, and what became of it.

mod grpc;
mod histogram;
mod http;
pub(crate) mod tally;

use std::net::SocketAddr;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::endpoint::NAME_HEADER;

/// How long the app waits for an answer: longer than any timeout of the proxy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the app sends the requests for a name.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What it connects to: the name's VIP with the alias's port, or the forward proxy.
    pub(crate) dial: SocketAddr,
    /// `dnsName:port`.
    pub(crate) authority: String,
    /// HTTP/1.1 request lines carry the whole URL, as a forward proxy wants it.
    pub(crate) absolute: bool,
}

/// The load under way.
#[derive(Debug)]
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Connections that carry HTTP.
const HTTP_CONNECTIONS: u32 = 32;
/// gRPC streams open at a time, each on a connection of its own.
const STREAMS: u32 = 10;
/// Unary gRPC calls a second.
const CALLS_PER_SECOND: u32 = 20;

impl Load {
    /// Begins: `rate` HTTP requests a second, and the gRPC streams.
    pub(crate) fn start(
        server: &Target,
        stream: &Target,
        rate: u32,
        seed: u64,
        tally: &tally::Shared,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for id in 0..HTTP_CONNECTIONS {
            let rng = fastrand::Rng::with_seed(seed.wrapping_add(u64::from(id)));
            let pace = Pace::new(f64::from(rate) / f64::from(HTTP_CONNECTIONS), rng);
            tasks.spawn(http::run(server.clone(), pace, tally.clone(), stopped.clone()));
        }
        for id in 0..STREAMS {
            let rng = fastrand::Rng::with_seed(seed.wrapping_add(1000 + u64::from(id)));
            tasks.spawn(grpc::streams(stream.clone(), rng, tally.clone(), stopped.clone()));
        }
        let rng = fastrand::Rng::with_seed(seed.wrapping_add(2000));
        let pace = Pace::new(f64::from(CALLS_PER_SECOND), rng);
        tasks.spawn(grpc::calls(stream.clone(), pace, tally.clone(), stopped));
        Load { stop, tasks }
    }

    /// Sends nothing more and waits for what is under way.
    pub(crate) async fn finish(mut self) {
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(4), all).await;
    }
}

/// When the next request is due: at random, as from many independent users, at a steady mean rate.
#[derive(Debug)]
struct Pace {
    mean: Duration,
    due: tokio::time::Instant,
    rng: fastrand::Rng,
}

impl Pace {
    fn new(per_second: f64, rng: fastrand::Rng) -> Self {
        Pace { mean: Duration::from_secs_f64(1.0 / per_second), due: tokio::time::Instant::now(), rng }
    }

    /// Waits until the next request is due. One that is late is due at once: the rate is kept up.
    async fn wait(&mut self) {
        let spread = -(1.0 - self.rng.f64()).ln();
        self.due += self.mean.mul_f64(spread);
        tokio::time::sleep_until(self.due).await;
    }
}

async fn dial(target: &Target) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(target.dial).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::to_str)?.ok()
}

/// The endpoint that answered, by its own word.
fn endpoint(headers: &HeaderMap) -> Option<SocketAddr> {
    text(headers, NAME_HEADER)?.parse().ok()
}

/// The proxy's own reason for a failure.
fn reason(headers: &HeaderMap) -> Option<&str> {
    text(headers, "x-bowline-error")
}

/// Waits, unless the load is to end meanwhile; true: go on.
async fn unless_stopped(stopped: &mut watch::Receiver<bool>, wait: impl Future<Output = ()>) -> bool {
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => false,
        () = wait => true,
    }
}
