//! Who keeps a connection without using it: idle ones, and those whose request head trickles in.
//!
//! Nothing is timed per request. A connection notes what it is doing in a few atomics, and once a second its worker
//! looks at all of them. hyper's own header timeout would arm a timer for each request, and count the idle time
//! between two requests as part of the second one's head.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::drain::{Phase, Signal};
use crate::net::Socket;

/// How long a request head may take to arrive (hyper's default; Envoy has none, which invites slowloris).
pub const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// What a connection is doing. Times are in whole seconds of the worker's own count, which starts at 1.
#[derive(Debug, Default)]
pub struct Activity {
    /// Requests between their head and the end of their response.
    in_flight: AtomicU32,
    /// When the first byte of the next head came; 0: it has not.
    head_since: AtomicU32,
    /// When the last request ended, or a tunnel last passed anything.
    idle_since: AtomicU32,
    /// The connection is a tunnel, and may be idle for so many seconds; 0: it is none.
    tunnel_idle: AtomicU32,
    /// Since when the socket has taken nothing of what is to be written, 0: it does.
    blocked_since: AtomicU32,
    /// Since when an endpoint has waited for more of a request body over HTTP/1.1; 0: it doesn't.
    body_since: AtomicU32,
    /// The worker's seconds, copied here once a second so that nobody has to read a clock.
    seconds: AtomicU32,
    close: Notify,
    close_asked: AtomicBool,
    /// It was asked to close because of a head, or of a body. Whoever is asked because it is idle may just have begun
    /// a request, which is neither.
    head_late: AtomicBool,
    body_late: AtomicBool,
}

/// Why a connection is closed from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It has not carried a request for the idle timeout.
    Idle,
    /// A request head did not come in time.
    Head,
    /// An endpoint has waited for the rest of a request body for the idle timeout.
    Body,
    /// It has not read anything for the idle timeout, and there is something for it to read.
    Blocked,
}

impl Activity {
    /// A connection accepted at this second.
    pub fn new(seconds: u32) -> Arc<Self> {
        Arc::new(Activity {
            idle_since: AtomicU32::new(seconds),
            seconds: AtomicU32::new(seconds),
            ..Activity::default()
        })
    }

    /// A request head is complete.
    pub fn request_began(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed) + 1, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    /// A response has ended.
    pub fn request_ended(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
        self.body_since.store(0, Relaxed);
        self.idle_since.store(self.seconds.load(Relaxed), Relaxed);
    }

    /// From now on the connection is a tunnel, with an idle timeout of its own.
    pub fn tunnel_began(&self, idle: Option<Duration>) {
        // Asked of the idle connection that it was when its last request came.
        self.close_asked.store(false, Relaxed);
        self.bytes_passed();
        let seconds =
            idle.map_or(u64::from(u32::MAX), |idle| (idle.as_millis() as u64).div_ceil(1000).max(1));
        self.tunnel_idle.store(u32::try_from(seconds).unwrap_or(u32::MAX), Relaxed);
    }

    /// The tunnel has passed something on.
    #[inline]
    pub fn bytes_passed(&self) {
        self.idle_since.store(self.seconds.load(Relaxed), Relaxed);
    }

    /// The worker's seconds: a count to compare with an earlier one.
    pub fn seconds(&self) -> u32 {
        self.seconds.load(Relaxed)
    }

    /// Whether it is closed because the app reads nothing.
    pub fn is_blocked(&self) -> bool {
        self.blocked_since.load(Relaxed) != 0
    }

    /// Whether it is closed because the head of its next request trickles in.
    pub fn is_head_late(&self) -> bool {
        self.head_late.load(Relaxed) && !self.is_busy()
    }

    /// Notes whether a request body is waited for, and returns whether that has been for too long.
    pub fn request_body_waits(&self, waits: bool) -> bool {
        match (waits, self.body_since.load(Relaxed)) {
            (true, 0) => self.body_since.store(self.seconds(), Relaxed),
            (true, _) => return self.body_late.load(Relaxed),
            (false, 1..) => self.body_since.store(0, Relaxed),
            (false, 0) => {}
        }
        false
    }

    /// Whether any request is between its head and the end of its response.
    pub fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    fn written(&self, blocked: bool) {
        match (blocked, self.blocked_since.load(Relaxed)) {
            (true, 0) => self.blocked_since.store(self.seconds(), Relaxed),
            (false, 1..) => self.blocked_since.store(0, Relaxed),
            _ => {}
        }
    }

    fn bytes_came(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.seconds.load(Relaxed), Relaxed);
        }
    }

    /// Whether it has outstayed its time; called once a second.
    fn late(&self, seconds: u32, idle: Option<Duration>) -> Option<Late> {
        self.seconds.store(seconds, Relaxed);
        match self.tunnel_idle.load(Relaxed) {
            0 => {}
            limit => {
                return (seconds.saturating_sub(self.idle_since.load(Relaxed)) > limit).then_some(Late::Idle);
            }
        }
        let beyond = |since: u32, limit: Duration| u64::from(seconds.saturating_sub(since)) > limit.as_secs();
        match self.blocked_since.load(Relaxed) {
            0 => {}
            since if idle.is_some_and(|idle| beyond(since, idle)) => return Some(Late::Blocked),
            _ => {}
        }
        match self.body_since.load(Relaxed) {
            0 => {}
            since if idle.is_some_and(|idle| beyond(since, idle)) => return Some(Late::Body),
            _ => {}
        }
        if self.in_flight.load(Relaxed) > 0 {
            return None;
        }
        match self.head_since.load(Relaxed) {
            0 if idle.is_some_and(|idle| beyond(self.idle_since.load(Relaxed), idle)) => {
                Some(if self.is_blocked() { Late::Blocked } else { Late::Idle })
            }
            0 => None,
            since => beyond(since, HEAD_WITHIN).then_some(Late::Head),
        }
    }

    /// Whether the worker wants the connection closed: a plain load, for a look at every poll.
    #[inline]
    pub fn is_close_wanted(&self) -> bool {
        self.close_asked.load(Relaxed)
    }

    fn ask_to_close(&self, why: Late) {
        self.head_late.store(why == Late::Head, Relaxed);
        self.body_late.store(why == Late::Body, Relaxed);
        self.close_asked.store(true, Relaxed);
        self.close.notify_one();
    }

    /// Waits until the worker wants the connection closed.
    pub async fn close_wanted(&self) {
        self.close.notified().await;
    }
}

/// All connections of a worker.
#[derive(Debug, Default)]
pub struct Watched {
    seconds: u32,
    connections: Vec<Weak<Activity>>,
}

impl Watched {
    /// A new connection.
    pub fn add(&mut self) -> Arc<Activity> {
        let activity = Activity::new(self.seconds + 1);
        self.connections.push(Arc::downgrade(&activity));
        activity
    }

    /// Once a second: asks those to close that have outstayed their time, and returns how many of them kept us
    /// waiting: in the middle of a head, or with what they do not read.
    pub fn tick(&mut self, idle: Option<Duration>) -> u64 {
        self.seconds += 1;
        let seconds = self.seconds + 1;
        let mut late = 0;
        self.connections.retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            if let Some(why) = connection.late(seconds, idle) {
                late += u64::from(why != Late::Idle);
                connection.ask_to_close(why);
                // An idle one may just have become a tunnel, which is to be watched on.
                return why == Late::Idle;
            }
            true
        });
        // After a burst of connections the list must not keep its size for ever.
        if self.connections.capacity() > 4 * self.connections.len().max(64) {
            self.connections.shrink_to_fit();
        }
        late
    }
}

/// The app's socket; it notes when bytes come, and over HTTP/1.1 whether the app is still there while a request is under
/// way. hyper would read on for that, into 8 KiB more for each request that waits.
#[derive(Debug)]
pub struct Stream {
    tcp: Socket,
    activity: Arc<Activity>,
    /// Bytes that come between two requests begin a head.
    heads: bool,
    /// What is known of the side that comes from the app.
    incoming: Incoming,
}

/// What a [`Stream`] knows of what comes from the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    /// The last who looked found nothing.
    Nothing,
    /// Somebody reads it, and will hear of what comes.
    Awaited,
    /// There is something, which nobody has read yet.
    Unread,
}

impl Stream {
    /// Wraps a socket. `heads`: what comes between two requests is the beginning of a head, as in HTTP/1.1. On an HTTP/2
    /// connection it may as well be a PING or a window update, and an idle connection is only idle.
    pub fn new(tcp: TcpStream, activity: Arc<Activity>, heads: bool) -> Self {
        Stream { tcp: Socket::new(tcp), activity, heads, incoming: Incoming::Nothing }
    }

    /// The socket itself.
    pub fn into_inner(self) -> TcpStream {
        self.tcp.into_inner()
    }

    /// Notices an app that goes away while its request is under way and nobody reads from it.
    fn look_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.heads || !self.activity.is_busy() || self.incoming == Incoming::Unread {
            return Ok(());
        }
        if self.incoming == Incoming::Awaited {
            // It holds for this round of the connection's; the next one may not read.
            self.incoming = Incoming::Nothing;
            return Ok(());
        }
        // Without a system call, unless something has come.
        if let Poll::Ready(comes) = self.tcp.poll_peek(cx) {
            if comes? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the app has closed the connection",
                ));
            }
            self.incoming = Incoming::Unread;
        }
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.tcp).poll_read(cx, buf);
        if this.heads && buf.filled().len() > before {
            this.activity.bytes_came();
        }
        this.incoming = if read.is_pending() { Incoming::Awaited } else { Incoming::Nothing };
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write(cx, buf);
        this.activity.written(written.is_pending());
        if written.is_pending() {
            this.look_for_end(cx)?;
        }
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs);
        this.activity.written(written.is_pending());
        if written.is_pending() {
            this.look_for_end(cx)?;
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    /// hyper flushes at the end of each round, whether or not there is something to write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.look_for_end(cx)?;
        Pin::new(&mut this.tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// Runs the connection until it ends, or until it is asked to end: then `None`.
///
/// Like a `select!` over the three, but it looks at the two askers only when there is something to see: a connection is
/// polled several times a request, and they speak once in its life.
pub async fn until_asked<C: Future>(
    mut connection: Pin<&mut C>,
    activity: &Activity,
    drain: &mut Signal,
    phase: Phase,
) -> Option<C::Output> {
    let signal = drain.clone();
    let mut asked = pin!(async {
        tokio::select! {
            () = activity.close_wanted() => {}
            () = drain.reached(phase) => {}
        }
    });
    let mut waiting = false;
    poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        // The first look leaves this task's waker with both of them; it stays the task's waker for good.
        if !waiting || activity.is_close_wanted() || signal.has_reached(phase) {
            waiting = true;
            return asked.as_mut().poll(cx).map(|()| None);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Option<Duration> = Some(Duration::from_secs(300));

    #[test]
    fn an_idle_connection_goes_after_the_idle_timeout() {
        let activity = Activity::new(1);
        assert_eq!(activity.late(301, IDLE), None);
        assert_eq!(activity.late(302, IDLE), Some(Late::Idle));
        assert_eq!(activity.late(1_000_000, None), None);
    }

    #[test]
    fn a_head_that_trickles_goes_after_its_own_timeout() {
        let activity = Activity::new(1);
        activity.late(100, IDLE);
        activity.bytes_came();
        assert_eq!(activity.late(130, IDLE), None);
        // More of its bytes do not buy more time.
        activity.bytes_came();
        assert_eq!(activity.late(131, IDLE), Some(Late::Head));
    }

    #[test]
    fn a_tunnel_has_an_idle_timeout_of_its_own() {
        let activity = Activity::new(1);
        activity.request_began();
        activity.tunnel_began(Some(Duration::from_millis(1_500)));
        assert_eq!(activity.late(3, IDLE), None);
        activity.bytes_passed();
        assert_eq!(activity.late(5, IDLE), None);
        assert_eq!(activity.late(6, IDLE), Some(Late::Idle));
        activity.tunnel_began(None);
        assert_eq!(activity.late(1_000_000, IDLE), None);
    }

    #[test]
    fn a_client_that_reads_nothing_goes_after_the_idle_timeout_whatever_it_waits_for() {
        let activity = Activity::new(1);
        activity.request_began();
        activity.written(true);
        activity.late(100, IDLE);
        activity.written(true);
        assert_eq!(activity.late(301, IDLE), None);
        assert_eq!(activity.late(302, IDLE), Some(Late::Blocked));
        activity.written(false);
        assert_eq!(activity.late(303, IDLE), None);
    }

    #[test]
    fn a_request_body_that_is_waited_for_is_late_after_the_idle_timeout() {
        let activity = Activity::new(1);
        activity.request_began();
        assert!(!activity.request_body_waits(true));
        activity.late(200, IDLE);
        // Something came.
        activity.request_body_waits(false);
        assert!(!activity.request_body_waits(true));
        assert_eq!(activity.late(500, IDLE), None);
        assert_eq!(activity.late(501, IDLE), Some(Late::Body));
        assert!(!activity.request_body_waits(true));
        // One that was asked because it was idle, and has just begun a request, is not late.
        activity.ask_to_close(Late::Idle);
        assert!(!activity.request_body_waits(true) && !activity.is_head_late());
        activity.ask_to_close(Late::Body);
        assert!(activity.request_body_waits(true));
        // A response that has begun without the body's end may take as long as it likes.
        activity.request_body_waits(false);
        assert_eq!(activity.late(1_000, IDLE), None);
    }

    #[test]
    fn a_request_under_way_is_never_late() {
        let activity = Activity::new(1);
        activity.bytes_came();
        activity.request_began();
        assert_eq!(activity.late(1_000, IDLE), None);
        activity.request_ended();
        assert_eq!(activity.late(1_001, IDLE), None);
        assert_eq!(activity.late(1_301, IDLE), Some(Late::Idle));
    }

    /// Whether a connection counts as late after 100 s in which nothing came but a few bytes at their beginning.
    async fn late_after_bytes(heads: bool) -> Option<Late> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let activity = Activity::new(1);
        let mut stream = Stream::new(listener.accept().await.unwrap().0, activity.clone(), heads);
        client.write_all(b"some").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        activity.late(101, IDLE)
    }

    #[tokio::test]
    async fn only_where_bytes_begin_a_head_do_they_start_its_clock() {
        assert_eq!(late_after_bytes(true).await, Some(Late::Head));
        assert_eq!(late_after_bytes(false).await, None);
    }
}
