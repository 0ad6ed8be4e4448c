//! HTTP/1.1 upgrades, such as WebSocket. The app offers a protocol, the endpoint says 101, and from then on their two
//! connections are a tunnel. Any other status is an ordinary answer, and what follows on the connection is a request.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, Version, request};

use super::attempt::Answer;
use super::body::Body;
use super::headers;
use crate::cluster::{Cluster, Flight};
use crate::listen::Downstream;
use crate::record::Recording;
use crate::tunnel::Tunnel;

const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// What the app offers to go on with. An offer that can't be passed on is as good as none: nobody is obliged to take
/// one up (RFC 9110 7.8).
pub fn offered(head: &request::Parts) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 {
        return None;
    }
    let mut offers = head.headers.get_all(header::UPGRADE).iter();
    let (Some(offer), None) = (offers.next(), offers.next()) else { return None };
    let named = |value: &HeaderValue, word: &str| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    let asked = head.headers.get_all(header::CONNECTION).iter().any(|value| named(value, "upgrade"));
    // Requests over HTTP/2 inside of a tunnel would be seen by nobody's policy.
    (asked && !named(offer, "h2c")).then(|| offer.clone())
}

/// Puts an offer, or its acceptance, into a head from which all that concerns one connection has been taken.
pub fn put(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, protocol);
}

/// Passes a 101 on, and leaves the endpoint's connection for the app's, once that has sent it. `None`: the endpoint has
/// gone already. The record of the request ends with the tunnel. `idle`: how long that may stand still.
pub fn switch(
    app: &Downstream,
    cluster: &Cluster,
    idle: Option<Duration>,
    answer: Answer,
    flight: Flight,
    recording: &mut Option<Recording>,
) -> Option<Response<Body>> {
    let Answer::Http1(response, lease) = answer else { return None };
    let (upstream, early, place) = lease.into_socket()?;
    let (mut head, _) = response.into_parts();
    let protocol = head.headers.get(header::UPGRADE).cloned();
    headers::strip_response(&mut head);
    head.headers.remove(header::CONTENT_LENGTH);
    if let Some(protocol) = protocol {
        put(&mut head.headers, protocol);
    }
    head.version = Version::HTTP_11;
    let counters = cluster.counters.tunnels.clone();
    let tunnel = Tunnel::new(upstream, early, place, Some(flight), idle, counters);
    app.set_tunnel(tunnel.recorded(recording.take()));
    Some(Response::from_parts(head, Body::empty()))
}

#[cfg(test)]
mod tests {
    use super::offered;

    fn of(version: http::Version, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = http::Request::builder().version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        offered(&head).map(|offer| offer.to_str().expect("text").to_owned())
    }

    #[test]
    fn an_offer_is_one_that_the_connection_names() {
        use http::Version;
        let offer = ("upgrade", "websocket");
        assert_eq!(
            of(Version::HTTP_11, &[offer, ("connection", "keep-alive, Upgrade")]).unwrap(),
            "websocket"
        );
        let apart = [offer, ("connection", "x-one"), ("connection", "upgrade")];
        assert_eq!(of(Version::HTTP_11, &apart).unwrap(), "websocket");
        assert_eq!(of(Version::HTTP_11, &[offer]), None);
        assert_eq!(of(Version::HTTP_11, &[offer, ("connection", "upgrades")]), None);
        assert_eq!(of(Version::HTTP_11, &[offer, offer, ("connection", "upgrade")]), None);
        assert_eq!(of(Version::HTTP_11, &[("connection", "upgrade")]), None);
        assert_eq!(of(Version::HTTP_10, &[offer, ("connection", "upgrade")]), None);
        assert_eq!(
            of(Version::HTTP_11, &[("upgrade", "h2c"), ("connection", "upgrade, http2-settings")]),
            None
        );
    }
}
