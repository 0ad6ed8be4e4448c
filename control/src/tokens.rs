//! Who may register endpoints of which service.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use bowline_api::mesh_file::parse_value;
use serde_json::Value;

/// The key whose token holds for every service without one of its own.
pub const ANY: &str = "*";
/// A shorter token is refused: it could be guessed.
pub const SHORTEST: usize = 8;

/// The tokens; without any, whoever is on this host may register, and nobody else.
#[derive(Clone, Default)]
pub struct Tokens {
    by_service: BTreeMap<String, String>,
}

impl fmt::Debug for Tokens {
    // Tokens are secrets: only whose they are is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_service.keys()).finish()
    }
}

/// Why somebody may not register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token was sent.
    Missing(String),
    /// It may not register this service, or nobody may from there.
    Forbidden(String),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Denied::Missing(why) | Denied::Forbidden(why)) = self;
        f.write_str(why)
    }
}

impl Tokens {
    /// Reads a file (YAML or JSON) `{ service: token }`; the key `*` is for all services that have no key of their own.
    ///
    /// # Errors
    /// It can't be read, it is not valid, or a token is no text of at least 8 characters: what to do about it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: can't read it: {error}"))?;
        Self::parse(&name, bytes)
    }

    /// The same from the text of such a file, in which `;` may stand for the end of a line.
    ///
    /// # Errors
    /// As for a file.
    pub fn of_list(list: &str) -> Result<Self, String> {
        let lines = || list.split(';').map(str::trim).collect::<Vec<_>>().join("\n");
        let text = if list.trim_start().starts_with('{') { list.to_owned() } else { lines() };
        Self::parse("--registration-token-list", text.into_bytes())
    }

    fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, String> {
        let value = parse_value(name, bytes).map_err(|problems| problems.to_string())?;
        let Value::Object(entries) = value else {
            return Err(format!("{name}: expected a mapping of services to tokens, e.g. server: \"TOKEN\""));
        };
        if entries.is_empty() {
            return Err(format!("{name}: there is no token in it, so that nobody could register"));
        }
        let mut by_service = BTreeMap::new();
        for (service, token) in entries {
            // The message must not have the token in it.
            let Value::String(token) = token else {
                return Err(format!("{name}: {service}: the token must be a text; write it in quotes"));
            };
            if token.len() < SHORTEST || !token.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
                return Err(format!(
                    "{name}: {service}: a token has at least {SHORTEST} characters, all of them printable ASCII without spaces"
                ));
            }
            by_service.insert(service, token);
        }
        Ok(Tokens { by_service })
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.by_service.is_empty()
    }

    /// Whether somebody with this address (`None`: unknown), who has sent these tokens, may register the service.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check(&self, service: &str, sent: &[&str], peer: Option<IpAddr>) -> Result<(), Denied> {
        if self.is_empty() {
            let local = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
            return if local {
                Ok(())
            } else {
                Err(Denied::Forbidden(
                    "only tasks on the control plane's own host may register, because it has no registration tokens: \
                     start it with --registration-tokens FILE"
                        .to_owned(),
                ))
            };
        }
        let Some(token) = self.by_service.get(service).or_else(|| self.by_service.get(ANY)) else {
            return Err(Denied::Forbidden(format!(
                "there is no token for {service:?}: add one to the file of --registration-tokens"
            )));
        };
        if sent.is_empty() {
            return Err(Denied::Missing(format!(
                "registering {service:?} needs a token, as metadata \"authorization: Bearer TOKEN\""
            )));
        }
        // Every one is compared, so that the time says nothing of which one was near.
        let matches = sent.iter().filter(|sent| same(sent.as_bytes(), token.as_bytes())).count();
        if matches == 0 {
            return Err(Denied::Forbidden(format!("this token may not register {service:?}")));
        }
        Ok(())
    }
}

/// Compares in a time that depends on the lengths alone.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    a.len() == b.len() && differ == 0
}

/// The token in a value of the header `authorization`.
pub fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
