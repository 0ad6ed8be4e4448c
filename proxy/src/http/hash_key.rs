//! The key of a request: what keeps it with one endpoint, or with one of a route's targets.

use std::net::IpAddr;

use bowline_core::hash::xxh64;
use http::header::{COOKIE, HeaderMap, HeaderValue};
use http::request;

use crate::listen::Downstream;
use crate::record::FORWARDED_FOR;
use crate::snapshot::{Cookie, HashKey, hash_address};

/// What a request's key comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The same for the same key, in all proxies.
    pub hash: u64,
    /// A cookie to be set on the response, because the request had none.
    pub set_cookie: Option<HeaderValue>,
}

/// The key of a request as it came, before anything is changed in its head. `None`: it has none.
pub fn of(on: &HashKey, app: &Downstream, head: &request::Parts) -> Option<Hashed> {
    let hash = match on {
        HashKey::ClientAddress => {
            let client = app.client().or_else(|| first_forwarded(&head.headers));
            hash_address(client.unwrap_or_else(|| app.worker().here().address))
        }
        HashKey::Cookie(cookie) => return Some(by_cookie(cookie, &head.headers, &mut app.worker().rng())),
        HashKey::Header(name) => xxh64(head.headers.get(name)?.as_bytes(), 0),
        HashKey::Query(name) => xxh64(parameter(head.uri.query()?, name)?.as_bytes(), 0),
        HashKey::Path => xxh64(head.uri.path().as_bytes(), 0),
    };
    Some(Hashed { hash, set_cookie: None })
}

/// The key that a cookie will be which is about to be set; `None`: it is another one.
pub fn of_set(on: &HashKey, set: &HeaderValue) -> Option<u64> {
    let HashKey::Cookie(cookie) = on else { return None };
    let pair = set.as_bytes().split(|byte| *byte == b';').next()?;
    Some(xxh64(value_of(pair, cookie.name.as_bytes())?, 0))
}

/// The first address that a request has come from by its own account.
fn first_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let first = headers.get(FORWARDED_FOR)?.to_str().ok()?.split(',').next()?;
    let first = first.trim();
    // With a port, as some load balancers write it.
    first.parse().ok().or_else(|| first.parse::<std::net::SocketAddr>().ok().map(|addr| addr.ip()))
}

fn by_cookie(cookie: &Cookie, headers: &HeaderMap, rng: &mut fastrand::Rng) -> Hashed {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    let value =
        pairs.filter_map(|pair| value_of(pair.trim_ascii(), cookie.name.as_bytes())).find(|v| !v.is_empty());
    if let Some(value) = value {
        return Hashed { hash: xxh64(value, 0), set_cookie: None };
    }
    let value = format!("{:016x}", rng.u64(..));
    let hash = xxh64(value.as_bytes(), 0);
    // The name and the path are checked with the mesh file.
    let set_cookie = HeaderValue::try_from(format!("{}={value}{}", cookie.name, cookie.attributes)).ok();
    Hashed { hash, set_cookie }
}

fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    pair.strip_prefix(name)?.strip_prefix(b"=")
}

/// The value of the first parameter with this name, as it is written.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests;
