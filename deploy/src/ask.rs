//! Asking the admin pages of a control plane or a proxy, over plain HTTP.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;

/// How long connecting may take, name look-up aside.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long a name look-up may take.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);
/// How long all of it may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The largest page that is read, in bytes: ten thousand clients make a few million.
const LARGEST: u64 = 256 * 1024 * 1024;

/// Where admin pages are: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddr(String);

impl FromStr for AdminAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sound = text.rsplit_once(':').is_some_and(|(host, port)| {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
            !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok()
        });
        match sound {
            true => Ok(AdminAddr(text.to_owned())),
            false => Err("expected HOST:PORT, e.g. 127.0.0.1:18001".to_owned()),
        }
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    /// Nobody answers there, or not in time.
    Away(String),
    /// It said no.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// Its answer is not what these pages answer.
    Garbled(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Away(why) => write!(f, "no answer: {why}"),
            AskError::Refused { status, text } => write!(f, "HTTP {status}: {}", text.trim_end()),
            AskError::Garbled(why) => write!(f, "this is no such admin page: {why}"),
        }
    }
}

/// A process's admin pages.
pub(crate) struct Admin {
    agent: ureq::Agent,
    addr: AdminAddr,
}

impl Admin {
    /// Of the process there. Nothing is asked yet.
    pub(crate) fn new(addr: AdminAddr) -> Self {
        let config = ureq::Agent::config_builder()
            // Whoever has HTTP_PROXY set to the mesh's forward proxy would ask it for an admin page.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(RESOLVE_WITHIN))
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_global(Some(ANSWER_WITHIN))
            .build();
        Admin { agent: config.new_agent(), addr }
    }

    /// Where it is.
    pub(crate) fn addr(&self) -> &AdminAddr {
        &self.addr
    }

    /// `GET path`.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        read(self.agent.get(self.url(path)).call())
    }

    /// `POST path` with a body.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, AskError> {
        read(self.agent.post(self.url(path)).send(body))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

fn read<T: DeserializeOwned>(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<T, AskError> {
    let away = |error: ureq::Error| match error {
        ureq::Error::Io(error) => AskError::Away(error.to_string()),
        ureq::Error::Protocol(error) => AskError::Garbled(error.to_string()),
        error => AskError::Away(error.to_string()),
    };
    let mut answer = answer.map_err(away)?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(away)?;
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body).into_owned();
        return Err(AskError::Refused { status: status.as_u16(), text });
    }
    serde_json::from_slice(&body).map_err(|error| AskError::Garbled(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for right in ["127.0.0.1:18001", "control.internal:1", "[::1]:18001", "a_b-c:80"] {
            assert_eq!(right.parse::<AdminAddr>().unwrap().to_string(), right);
        }
        for wrong in ["", "127.0.0.1", ":18001", "host:", "host:99999", "http://host:1", "u@host:1", "a b:1"]
        {
            assert!(wrong.parse::<AdminAddr>().is_err(), "{wrong}");
        }
    }
}
