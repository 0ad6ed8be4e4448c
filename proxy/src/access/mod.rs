//! Who may call: API keys and JSON Web Tokens, asked for where requests come in.
//!
//! Keys and tokens are told to nobody: not in logs, not in answers, not in what is remembered of them.

mod fetch;
mod file;
pub mod jwk;
mod keep;
pub mod keys;
mod remembered;
pub mod token;
mod trust;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_api::model;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ring::digest;

pub use keep::keep;
use keys::KeySet;
use remembered::Remembered;
use token::Bad;
pub use trust::authorities;

/// What a service asks of its callers.
#[derive(Debug)]
pub struct Access {
    model: model::Access,
    api_key: Option<ApiKey>,
    jwt: Option<Jwt>,
}

#[derive(Debug)]
struct ApiKey {
    header: HeaderName,
    hashes: Vec<[u8; 32]>,
}

#[derive(Debug)]
struct Jwt {
    model: model::Jwt,
    header: HeaderName,
    /// Claims and the headers that they are passed on in.
    claims: Vec<(String, HeaderName)>,
    keys: Arc<KeySet>,
    remembered: Remembered,
}

/// What is passed on of who calls.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Granted(Vec<(HeaderName, HeaderValue)>);

impl Granted {
    /// Puts it into a head, in place of what a caller may have had there.
    pub fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

/// Why somebody may not call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It shows no key.
    NoKey,
    /// It is none of the keys.
    WrongKey,
    /// It shows no token.
    NoToken,
    /// The token is refused.
    Token(Bad),
    /// Nobody can tell: there are no keys to verify tokens with, and why.
    NoKeySet(String),
}

impl Denied {
    /// All words that [`Denied::why`] has.
    pub const WHYS: [&'static str; 15] = [
        "no_key",
        "wrong_key",
        "no_token",
        "malformed",
        "algorithm",
        "unknown_key",
        "signature",
        "no_expiry",
        "expired",
        "not_yet",
        "issuer",
        "audience",
        "scope",
        "claim",
        "no_key_set",
    ];

    /// The word that it is counted by.
    pub fn why(&self) -> &'static str {
        match self {
            Denied::NoKey => "no_key",
            Denied::WrongKey => "wrong_key",
            Denied::NoToken => "no_token",
            Denied::NoKeySet(_) => "no_key_set",
            Denied::Token(bad) => match bad {
                Bad::Malformed => "malformed",
                Bad::Algorithm => "algorithm",
                Bad::UnknownKey => "unknown_key",
                Bad::Signature => "signature",
                Bad::NoExpiry => "no_expiry",
                Bad::Expired => "expired",
                Bad::NotYet => "not_yet",
                Bad::Issuer => "issuer",
                Bad::Audience => "audience",
                Bad::Scope => "scope",
                Bad::Claim => "claim",
            },
        }
    }

    /// The same for a person.
    pub fn text(&self) -> String {
        let text = match self {
            Denied::NoKey => "it needs an API key, and the request has none",
            Denied::WrongKey => "the API key is none that it knows",
            Denied::NoToken => "it needs a token, and the request has none",
            Denied::NoKeySet(why) => return format!("there are no keys to verify tokens with: {why}"),
            Denied::Token(bad) => match bad {
                Bad::Malformed => "the token can't be read",
                Bad::Algorithm => "the token is not signed in a way that it accepts",
                Bad::UnknownKey => "the token is signed with a key that is not in the key set",
                Bad::Signature => "the token's signature is wrong",
                Bad::NoExpiry => "the token would never expire",
                Bad::Expired => "the token has expired",
                Bad::NotYet => "the token is not valid yet",
                Bad::Issuer => "the token is of another issuer",
                Bad::Audience => "the token is for another audience",
                Bad::Scope => "the token lacks a scope",
                Bad::Claim => "a claim of the token can't be passed on",
            },
        };
        text.to_owned()
    }

    /// What `WWW-Authenticate` says (RFC 9110, 11.6.1; RFC 6750, 3).
    pub fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Denied::NoKey | Denied::WrongKey => "ApiKey",
            Denied::NoToken | Denied::NoKeySet(_) => "Bearer",
            Denied::Token(Bad::Scope) => "Bearer error=\"insufficient_scope\"",
            Denied::Token(_) => "Bearer error=\"invalid_token\"",
        })
    }
}

impl Access {
    /// What the mesh says. Keys, and tokens that are known to be good, of `before` stay where they can.
    pub fn new(model: &model::Access, before: Option<&Arc<Access>>) -> Arc<Self> {
        if let Some(before) = before.filter(|before| before.model == *model) {
            return before.clone();
        }
        // Names are checked with the mesh file. One that could not be read must not open the door.
        let name = |text: &str| HeaderName::from_bytes(text.as_bytes()).ok();
        let api_key = model.api_key.as_ref().map(|key| ApiKey {
            hashes: name(&key.header)
                .map_or_else(Vec::new, |_| key.sha256.values().filter_map(|hash| from_hex(hash)).collect()),
            header: name(&key.header).unwrap_or(HeaderName::from_static("x-api-key")),
        });
        let jwt = model.jwt.as_ref().map(|jwt| {
            let known = before.and_then(|before| before.key_set()).filter(|set| set.source == jwt.jwks);
            let claims = jwt.claims_to_headers.iter();
            Jwt {
                header: name(&jwt.header).unwrap_or(header::AUTHORIZATION),
                claims: claims.filter_map(|(claim, to)| Some((claim.clone(), name(to)?))).collect(),
                keys: known.map_or_else(|| KeySet::new(&jwt.jwks), Arc::clone),
                remembered: Remembered::default(),
                model: jwt.clone(),
            }
        });
        Arc::new(Access { model: model.clone(), api_key, jwt })
    }

    /// The keys that tokens are verified with.
    pub fn key_set(&self) -> Option<&Arc<KeySet>> {
        self.jwt.as_ref().map(|jwt| &jwt.keys)
    }

    /// Looks at what a caller shows.
    ///
    /// # Errors
    /// Why it may not call.
    pub fn check(&self, headers: &HeaderMap) -> Result<Arc<Granted>, Denied> {
        if let Some(key) = &self.api_key {
            key.check(headers)?;
        }
        match &self.jwt {
            None => Ok(Arc::default()),
            Some(jwt) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                jwt.check(headers, now.as_secs_f64())
            }
        }
    }

    /// Takes the key out of a head: it is not passed on. Not before rate limits have looked at it.
    pub fn keep_key(&self, headers: &mut HeaderMap) {
        if let Some(key) = &self.api_key {
            headers.remove(&key.header);
        }
    }

    /// Takes out of a head what only the proxy may say.
    pub fn clean(&self, headers: &mut HeaderMap) {
        for (_, name) in self.jwt.iter().flat_map(|jwt| &jwt.claims) {
            headers.remove(name);
        }
    }

    /// What it asks for, for a person.
    pub fn words(&self) -> String {
        let key = self.api_key.as_ref().map(|key| format!("an API key in {}", key.header));
        let jwt = self.jwt.as_ref().map(|jwt| {
            let keys = match jwt.keys.current() {
                Ok(current) => format!("{} keys", current.keys.len()),
                Err(why) => format!("no keys: {why}"),
            };
            format!("a token in {} ({keys})", jwt.header)
        });
        [key, jwt].into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

impl ApiKey {
    fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let mut shown = headers.get_all(&self.header).iter();
        let Some(key) = shown.next() else { return Err(Denied::NoKey) };
        if shown.next().is_some() {
            return Err(Denied::WrongKey);
        }
        let hash = sha256(key.as_bytes());
        // All of them, each to its end: how long it takes tells nothing.
        let found = self.hashes.iter().fold(0, |found, known| found | u8::from(is_same(known, &hash)));
        if found == 0 { Err(Denied::WrongKey) } else { Ok(()) }
    }
}

impl Jwt {
    fn check(&self, headers: &HeaderMap, now: f64) -> Result<Arc<Granted>, Denied> {
        let mut shown = headers.get_all(&self.header).iter();
        let Some(value) = shown.next() else { return Err(Denied::NoToken) };
        if shown.next().is_some() {
            return Err(Denied::Token(Bad::Malformed));
        }
        let text = value.as_bytes();
        let token = match text.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
            // Another scheme is none of ours.
            _ if self.header == header::AUTHORIZATION => return Err(Denied::NoToken),
            _ => text.trim_ascii(),
        };
        let current = self.keys.current().map_err(Denied::NoKeySet)?;
        let hash = sha256(token);
        if let Some(granted) = self.remembered.get(&hash, current.version, now) {
            return Ok(granted);
        }
        let verified = token::verify(token, &current.keys, &self.model, now).map_err(Denied::Token)?;
        let granted = Arc::new(self.grant(&verified.claims).map_err(Denied::Token)?);
        self.remembered.put(hash, current.version, verified.until, granted.clone(), now);
        Ok(granted)
    }

    fn grant(&self, claims: &serde_json::Map<String, serde_json::Value>) -> Result<Granted, Bad> {
        let mut granted = Vec::new();
        for (claim, name) in &self.claims {
            let Some(text) = claims.get(claim).map_or(Ok(None), token::said)? else { continue };
            let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Bad::Claim)?;
            value.set_sensitive(true);
            granted.push((name.clone(), value));
        }
        Ok(Granted(granted))
    }
}

fn sha256(text: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    hash
}

/// Compares all of both, wherever they differ.
fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    differ == 0
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests;
