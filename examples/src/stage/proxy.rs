//! The proxy process, and what it logs.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_api::vip::VipRange;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::oneshot;

use super::process::Process;
use crate::role::Role;

/// Log lines that are kept.
const KEPT: usize = 50;

/// The proxy at work.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Process,
    log: Log,
    /// Where the HTTP forward proxy listens.
    pub(crate) outbound: SocketAddr,
    /// Where the admin pages are.
    pub(crate) admin: SocketAddr,
}

/// The last lines that the proxy logged, in a form to be read.
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

    /// The last `n`, oldest first.
    pub(crate) fn last(&self, n: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(n)).cloned().collect()
    }
}

impl Proxy {
    /// Starts it, and waits until it says that it is up.
    pub(super) async fn start(mesh: &Path, vips: Option<VipRange>) -> io::Result<Self> {
        let mut args: Vec<String> = ["run", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
            .into_iter()
            .chain(["--log-format", "json", "--drain-seconds", "1", "--mesh"])
            .map(str::to_owned)
            .collect();
        args.push(mesh.display().to_string());
        match vips {
            Some(range) => args.extend(["--vip-range".to_owned(), range.to_string()]),
            None => args.push("--no-vip-listeners".to_owned()),
        }
        let (process, _, stderr) = Process::start(Role::Proxy, args)?;
        let stderr = stderr.ok_or_else(|| io::Error::other("the proxy has no stderr"))?;
        let log = Log::default();
        let (up, is_up) = oneshot::channel();
        tokio::spawn(read(BufReader::new(stderr), log.clone(), up));
        match tokio::time::timeout(Duration::from_secs(10), is_up).await {
            Ok(Ok((outbound, admin))) => Ok(Proxy { process, log, outbound, admin }),
            _ => {
                let said = log.last(KEPT).join("\n  ");
                Err(io::Error::other(format!("the proxy did not start; it said:\n  {said}")))
            }
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Whether it has ended, which it must not.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Ends it as Ctrl-C does. True: it ended in good order.
    pub(super) async fn end(mut self) -> bool {
        self.process.signal(Signal::INT);
        self.process.end_within(Duration::from_millis(2500)).await
    }
}

/// Reads the log to its end.
async fn read(
    stderr: impl tokio::io::AsyncBufRead + Unpin,
    log: Log,
    up: oneshot::Sender<(SocketAddr, SocketAddr)>,
) {
    let mut up = Some(up);
    let mut lines = stderr.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event = serde_json::from_str::<Value>(&line).unwrap_or_default();
        if let Some(addresses) = addresses(&event)
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

/// The addresses in the line that says that the proxy is up.
fn addresses(event: &Value) -> Option<(SocketAddr, SocketAddr)> {
    let address = |key: &str| event.get(key)?.as_str()?.parse().ok();
    Some((address("outbound")?, address("admin")?))
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
        assert_eq!(addresses(&event).map(|(outbound, _)| outbound), Some(wanted));
        assert_eq!(
            in_words(&event),
            "bowline-proxy is up outbound=127.0.0.1:40001 admin=127.0.0.1:40002 workers=1"
        );
        assert_eq!(addresses(&serde_json::json!({ "message": "endpoint ejected" })), None);
    }
}
