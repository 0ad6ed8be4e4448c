//! JSON Web Tokens (RFC 7519) in their compact form (RFC 7515): pure, with the time passed in.
//!
//! The signature is ring's, which the workspace has for TLS already. The usual library for the rest brings a second set of
//! cryptography along, for what are these few checks.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowline_api::model::{Jwt, JwtAlgorithm};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::jwk::{self, Keys};

/// A longer one is refused unread.
const LONGEST: usize = 16 << 10;
/// Keys that are tried for a token that doesn't say which it is.
const MOST_TRIED: usize = 8;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bad {
    /// It is no token, or one that says things twice, or wants something that is not known here.
    Malformed,
    /// It is signed in a way that is not accepted, or not at all.
    Algorithm,
    /// The set has no key that could have signed it.
    UnknownKey,
    /// It is not what was signed.
    Signature,
    /// It has no `exp`.
    NoExpiry,
    /// It was good once.
    Expired,
    /// It will be good.
    NotYet,
    /// Somebody else has made it.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It is for less than this.
    Scope,
    /// A claim that is to be passed on can't be.
    Claim,
}

/// What a good token says.
#[derive(Debug, PartialEq)]
pub struct Verified {
    /// All its claims.
    pub claims: Map<String, Value>,
    /// Until when it is good, in seconds since the Unix epoch; the leeway is in it.
    pub until: f64,
}

/// An object in which every name stands once: of two values one reader would take the first, another the last.
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
                let mut object = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if object.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Object(object))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Verifies a token by what the mesh file asks of it. `now`: seconds since the Unix epoch.
///
/// # Errors
/// Why it is refused.
pub fn verify(token: &[u8], keys: &Keys, asked: &Jwt, now: f64) -> Result<Verified, Bad> {
    if token.len() > LONGEST {
        return Err(Bad::Malformed);
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(head), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Bad::Malformed);
    };
    let head_text = object(head)?;
    let algorithm = accepted(&head_text, &asked.algorithms)?;
    // RFC 7515, 4.1.11: who doesn't know what is critical must refuse. Nothing is known here.
    if head_text.contains_key("crit") {
        return Err(Bad::Malformed);
    }
    let id = match head_text.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => return Err(Bad::Malformed),
    };
    let signed = &token[..head.len() + 1 + payload.len()];
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Bad::Malformed)?;
    let mut candidates = keys.candidates(algorithm, id).take(MOST_TRIED).peekable();
    if candidates.peek().is_none() {
        return Err(Bad::UnknownKey);
    }
    if !candidates.any(|key| key.has_signed(algorithm, signed, &signature)) {
        return Err(Bad::Signature);
    }
    // Nothing that it says is looked at before.
    let claims = object(payload)?;
    let until = in_time(&claims, asked.leeway_seconds.get().as_secs_f64(), now)?;
    meant(&claims, asked)?;
    Ok(Verified { claims, until })
}

fn object(part: &[u8]) -> Result<Map<String, Value>, Bad> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| Bad::Malformed)?;
    serde_json::from_slice::<Object>(&text).map(|object| object.0).map_err(|_| Bad::Malformed)
}

/// The algorithm: one of those that the mesh file has, whatever else a token would like.
fn accepted(head: &Map<String, Value>, algorithms: &[JwtAlgorithm]) -> Result<JwtAlgorithm, Bad> {
    let Some(Value::String(said)) = head.get("alg") else { return Err(Bad::Malformed) };
    algorithms.iter().copied().find(|algorithm| jwk::name(*algorithm) == said).ok_or(Bad::Algorithm)
}

fn in_time(claims: &Map<String, Value>, leeway: f64, now: f64) -> Result<f64, Bad> {
    let date = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().filter(|date| date.is_finite()).map(Some).ok_or(Bad::Malformed),
    };
    let until = date("exp")?.ok_or(Bad::NoExpiry)? + leeway;
    if now >= until {
        return Err(Bad::Expired);
    }
    match date("nbf")? {
        Some(from) if now + leeway < from => Err(Bad::NotYet),
        _ => Ok(until),
    }
}

fn meant(claims: &Map<String, Value>, asked: &Jwt) -> Result<(), Bad> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if let Some(issuer) = &asked.issuer
        && text("iss") != Some(issuer)
    {
        return Err(Bad::Issuer);
    }
    let audiences = &asked.audiences;
    if !audiences.is_empty() && !words(claims, "aud", false).any(|one| audiences.iter().any(|a| a == one)) {
        return Err(Bad::Audience);
    }
    let has =
        |scope: &String| ["scope", "scp"].iter().any(|name| words(claims, name, true).any(|w| w == scope));
    match asked.scopes.iter().all(has) {
        true => Ok(()),
        false => Err(Bad::Scope),
    }
}

/// A claim that is a text or a list of them. `apart`: a text is words with blanks between them.
fn words<'a>(claims: &'a Map<String, Value>, name: &str, apart: bool) -> impl Iterator<Item = &'a str> {
    let value = claims.get(name);
    let list = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let text = value.and_then(Value::as_str).into_iter();
    list.chain(text.flat_map(move |text| {
        let (split, whole) = if apart { (text, None) } else { ("", Some(text)) };
        split.split(' ').filter(|word| !word.is_empty()).chain(whole)
    }))
}

/// A claim as the text of a header; `None`: it is none that has one.
///
/// # Errors
/// It has control characters.
pub fn said(value: &Value) -> Result<Option<String>, Bad> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return Ok(None),
    };
    match text.chars().any(char::is_control) {
        true => Err(Bad::Claim),
        false => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests;
