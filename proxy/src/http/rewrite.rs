//! What a route changes in the head of a request.

use http::header;
use http::request;
use http::uri::{PathAndQuery, Uri};

use super::attempt::Protocol;
use super::headers::BadHead;
use crate::snapshot::rules::Route;

/// Changes a head that is otherwise ready for the endpoint: path, host, then headers.
///
/// # Errors
/// The new path is none that can be sent: too long, for one.
pub(super) fn change(head: &mut request::Parts, route: &Route, protocol: Protocol) -> Result<(), BadHead> {
    if let Some(path) = route.rewrite.apply(head.uri.path(), head.uri.query()) {
        let path = PathAndQuery::try_from(path)
            .map_err(|_| BadHead("the path can't be rewritten as the route says"))?;
        let mut uri = std::mem::take(&mut head.uri).into_parts();
        uri.path_and_query = Some(path);
        head.uri = Uri::from_parts(uri).map_err(|_| BadHead("the rewritten path is not valid"))?;
    }
    if let Some(host) = &route.host {
        match protocol {
            Protocol::Http1 => {
                head.headers.insert(header::HOST, host.value.clone());
            }
            Protocol::Http2 => {
                let mut uri = std::mem::take(&mut head.uri).into_parts();
                uri.authority = Some(host.authority.clone());
                head.uri = Uri::from_parts(uri).map_err(|_| BadHead("the rewritten host is not valid"))?;
            }
        }
    }
    route.request.apply(&mut head.headers);
    Ok(())
}
