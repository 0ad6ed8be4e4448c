//! The `date` of responses that have none (RFC 9110 6.6.1), made once a second.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use httpdate::HttpDate;

struct Cached {
    value: HeaderValue,
    /// The first moment at which it is no longer true.
    until: SystemTime,
}

thread_local! {
    static CACHED: RefCell<Cached> =
        const { RefCell::new(Cached { value: HeaderValue::from_static(""), until: SystemTime::UNIX_EPOCH }) };
}

/// What to write.
pub(super) fn now() -> HeaderValue {
    CACHED.with_borrow_mut(|cached| {
        let now = SystemTime::now();
        // A clock that was set back is believed too.
        if now >= cached.until || cached.until > now + Duration::from_secs(1) {
            let text = HttpDate::from(now).to_string();
            let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            cached.value = HeaderValue::try_from(text).expect("a date is text");
            cached.until = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs() + 1);
        }
        cached.value.clone()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_date_as_http_writes_it() {
        let text = super::now();
        let date = httpdate::parse_http_date(text.to_str().unwrap()).unwrap();
        let off = std::time::SystemTime::now().duration_since(date).unwrap();
        assert!(off < std::time::Duration::from_secs(30), "{text:?} is {off:?} ago");
        assert_eq!(text.len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
    }
}
