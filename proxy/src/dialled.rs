//! The connections that this process has open to others, so that it knows one that comes back to it. Rules that redirect
//! all that goes out must leave the proxy's own connections alone (by its uid); where they don't, each connection would
//! beget another one, until the host has no more.
//!
//! A connection counts only while it is open. App and proxy share their addresses and the ports that the kernel gives
//! out: as soon as ours is closed, the app may have one with the same ends.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpStream;

/// Nothing is kept until something has been redirected here.
static WATCHED: AtomicBool = AtomicBool::new(false);
static OPEN: Mutex<Option<HashSet<Pair>>> = Mutex::new(None);

/// Own address and peer.
type Pair = (SocketAddr, SocketAddr);

/// One connection of ours; to be dropped when it is closed.
#[derive(Debug)]
pub struct Dialled(Pair);

impl Drop for Dialled {
    fn drop(&mut self) {
        if let Some(open) = &mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner) {
            open.remove(&self.0);
        }
    }
}

fn pair(own: SocketAddr, peer: SocketAddr) -> Pair {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    (canonical(own), canonical(peer))
}

/// Notes a connection that this process has opened, where anything is redirected to it.
pub fn note(stream: &TcpStream) -> Option<Dialled> {
    if !WATCHED.load(Relaxed) {
        return None;
    }
    let pair = pair(stream.local_addr().ok()?, stream.peer_addr().ok()?);
    OPEN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(pair);
    Some(Dialled(pair))
}

/// Whether a connection that was redirected here on its way from `from` to `original` is one of our own. From the first
/// call on connections are noted, so the first one of a loop is not known, but the second one is.
pub fn is_ours(from: SocketAddr, original: SocketAddr) -> bool {
    if !WATCHED.swap(true, Relaxed) {
        return false;
    }
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.as_ref().is_some_and(|open| open.contains(&pair(from, original)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_ours_while_it_is_open_and_no_longer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        assert!(!is_ours(to, to), "from now on they are noted");
        let stream = TcpStream::connect(to).await.unwrap();
        let from = stream.local_addr().unwrap();
        let noted = note(&stream);
        assert!(is_ours(from, to));
        assert!(!is_ours(to, from), "the other way round it is another one");
        drop(noted);
        assert!(!is_ours(from, to), "the app may have these ends by now");
    }
}
