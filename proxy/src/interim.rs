//! Interim responses, such as 103 Early Hints, on their way from an endpoint to the app: they come before the response,
//! while the request still waits.
//!
//! They are noted where they come in and collected by the stream whose request is being polled at that moment: request
//! and attempt are one task until the response head has come. hyper's server can't send any, so requests over HTTP/1.1
//! don't collect them, and then none is noted.

use std::cell::RefCell;

use http::Response;

/// Most of them for one request; those that come after are dropped. No flow control holds them back.
pub const MOST: usize = 16;

thread_local! {
    /// `None`: nobody collects.
    static NOTED: RefCell<Option<Vec<Response<()>>>> = const { RefCell::new(None) };
}

/// Whether the request that is being polled wants them.
pub fn is_wanted() -> bool {
    NOTED.with_borrow(Option::is_some)
}

/// Notes one for the request that is being polled, if it wants any.
pub fn note(response: Response<()>) {
    NOTED.with_borrow_mut(|noted| {
        if let Some(noted) = noted
            && noted.len() < MOST
        {
            noted.push(response);
        }
    });
}

/// What is noted from now on is of one request, which is about to be polled.
pub fn collect() {
    NOTED.set(Some(Vec::new()));
}

/// What has been noted since; from now on nobody collects.
pub fn collected() -> Vec<Response<()>> {
    NOTED.take().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::{MOST, collect, collected, is_wanted, note};

    #[test]
    fn only_what_is_noted_inside_is_collected_and_not_without_end() {
        note(Response::new(()));
        collect();
        assert!(is_wanted());
        for _ in 0..100 {
            note(Response::new(()));
        }
        assert_eq!(collected().len(), MOST);
        assert!(!is_wanted() && collected().is_empty());
    }
}
