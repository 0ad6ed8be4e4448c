//! What the programs on stage log.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::sync::oneshot;

/// Log lines that are kept.
const KEPT: usize = 50;
/// How long a program may take to start.
const UP_WITHIN: Duration = Duration::from_secs(10);

/// The last lines that a program logged, in a form to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Follows what a program writes until it says that it is up: the address that it logs as `key`, and the one of its
    /// admin pages.
    ///
    /// # Errors
    /// It doesn't come up: what it said.
    pub(super) async fn until_up(
        &self,
        what: &str,
        stderr: Option<ChildStderr>,
        key: &'static str,
    ) -> io::Result<(SocketAddr, SocketAddr)> {
        let stderr = stderr.ok_or_else(|| io::Error::other(format!("{what} has no stderr")))?;
        let (up, is_up) = oneshot::channel();
        tokio::spawn(read(BufReader::new(stderr), self.clone(), key, up));
        match tokio::time::timeout(UP_WITHIN, is_up).await {
            Ok(Ok(addresses)) => Ok(addresses),
            _ => {
                let said = self.last(KEPT).join("\n  ");
                Err(io::Error::other(format!("{what} did not start; it said:\n  {said}")))
            }
        }
    }

    /// The last `n`, oldest first.
    pub(crate) fn last(&self, n: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(n)).cloned().collect()
    }
}

/// Reads the log to its end.
async fn read(
    stderr: impl AsyncBufRead + Unpin,
    log: Log,
    key: &'static str,
    up: oneshot::Sender<(SocketAddr, SocketAddr)>,
) {
    let mut up = Some(up);
    let mut lines = stderr.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event = serde_json::from_str::<Value>(&line).unwrap_or_default();
        if let Some(addresses) = addresses(&event, key)
            && let Some(up) = up.take()
        {
            let _ = up.send(addresses);
            // The demo has said the rest itself.
            log.add(format!("{} version={}", text(&event, "message"), text(&event, "version")));
            continue;
        }
        log.add(if event.is_object() { in_words(&event) } else { line });
    }
}

/// The addresses in the line that says that the program is up.
fn addresses(event: &Value, key: &str) -> Option<(SocketAddr, SocketAddr)> {
    let address = |key: &str| event.get(key)?.as_str()?.parse().ok();
    Some((address(key)?, address("admin")?))
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A log line as `message key=value …`.
fn in_words(event: &Value) -> String {
    let mut words = text(event, "message").to_owned();
    for (key, value) in event.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "message" | "timestamp" | "level" | "target") {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.push_str(&format!(" {key}={value}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{addresses, in_words};

    #[test]
    fn log_lines() {
        let line = r#"{"timestamp":"t","level":"INFO","message":"bowline-proxy is up","outbound":"127.0.0.1:40001",
            "admin":"127.0.0.1:40002","workers":1}"#;
        let event = serde_json::from_str(line).expect("JSON");
        let wanted = ([127, 0, 0, 1], 40001).into();
        assert_eq!(addresses(&event, "outbound").map(|(outbound, _)| outbound), Some(wanted));
        assert_eq!(
            in_words(&event),
            "bowline-proxy is up outbound=127.0.0.1:40001 admin=127.0.0.1:40002 workers=1"
        );
        assert_eq!(addresses(&serde_json::json!({ "message": "endpoint ejected" }), "outbound"), None);
    }
}
