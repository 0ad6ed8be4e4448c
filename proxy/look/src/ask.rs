//! Asking the admin pages of a control plane or a proxy, over plain HTTP.

use std::fmt;
use std::io::{BufRead, BufReader};
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
pub struct AdminAddr(String);

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
pub enum AskError {
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
#[derive(Debug)]
pub struct Admin {
    agent: ureq::Agent,
    addr: AdminAddr,
}

impl Admin {
    /// Of the process there. Nothing is asked yet.
    pub fn new(addr: AdminAddr) -> Self {
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
    pub fn addr(&self) -> &AdminAddr {
        &self.addr
    }

    /// `GET path`, JSON.
    ///
    /// # Errors
    /// No answer, a refusal, or something else than what is expected.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        parsed(&read(self.agent.get(self.url(path)).call())?)
    }

    /// `GET path`, text.
    ///
    /// # Errors
    /// No answer, a refusal, or no text.
    pub fn text(&self, path: &str) -> Result<String, AskError> {
        let body = read(self.agent.get(self.url(path)).call())?;
        String::from_utf8(body).map_err(|_| AskError::Garbled("it is not text".to_owned()))
    }

    /// `GET path`, which goes on for as long as it pleases: only its head has to come in time.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn stream(&self, path: &str) -> Result<impl BufRead + Send + use<>, AskError> {
        let request = self.agent.get(self.url(path)).config();
        let request = request.timeout_global(None).timeout_recv_response(Some(ANSWER_WITHIN)).build();
        let mut answer = request.call().map_err(away)?;
        if !answer.status().is_success() {
            return Err(refused(&mut answer));
        }
        Ok(BufReader::new(answer.into_body().into_reader()))
    }

    /// `POST path` with a body; JSON comes back.
    ///
    /// # Errors
    /// No answer, a refusal, or something else than what is expected.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, AskError> {
        parsed(&read(self.agent.post(self.url(path)).send(body))?)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

type Answer = ureq::http::Response<ureq::Body>;

fn away(error: ureq::Error) -> AskError {
    match error {
        ureq::Error::Io(error) => AskError::Away(error.to_string()),
        ureq::Error::Protocol(error) => AskError::Garbled(error.to_string()),
        error => AskError::Away(error.to_string()),
    }
}

fn body(answer: &mut Answer) -> Result<Vec<u8>, AskError> {
    answer.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(away)
}

fn refused(answer: &mut Answer) -> AskError {
    match body(answer) {
        Ok(body) => AskError::Refused {
            status: answer.status().as_u16(),
            text: String::from_utf8_lossy(&body).into_owned(),
        },
        Err(error) => error,
    }
}

fn read(answer: Result<Answer, ureq::Error>) -> Result<Vec<u8>, AskError> {
    let mut answer = answer.map_err(away)?;
    match answer.status().is_success() {
        true => body(&mut answer),
        false => Err(refused(&mut answer)),
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(body).map_err(|error| AskError::Garbled(error.to_string()))
}

/// A value in a query: all but what stands for itself everywhere is written as `%XX`.
#[must_use]
pub fn in_query(text: &str) -> String {
    let mut query = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                query.push(char::from(byte));
            }
            byte => query.push_str(&format!("%{byte:02X}")),
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_comes_through() {
        assert_eq!(in_query("http://a.b:80/x?y=1&z=%2f#é"), "http://a.b:80/x%3Fy%3D1%26z%3D%252f%23%C3%A9");
    }

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
