//! The texts of a record, in one piece of memory: there are several, for each request that somebody looks at.

use http::header::{self, HeaderMap, HeaderName};
use http::request;

/// Names the request through all that it touches; set where the app hasn't.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Through whose hands a request has come, each with the address of whoever handed it over.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Longer texts are cut: what waits to be looked at is bounded.
const LONGEST: usize = 2048;

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Text {
    /// Host and port, as they were asked for.
    Authority,
    /// Path and query.
    Target,
    /// `x-request-id`.
    RequestId,
    /// `user-agent`.
    UserAgent,
    /// `x-forwarded-for`.
    ForwardedFor,
}

const COUNT: usize = 5;

/// All of them.
#[derive(Debug, Default)]
pub struct Texts {
    all: String,
    ends: [u16; COUNT],
}

impl Texts {
    /// Those of a request.
    pub fn of(head: &request::Parts) -> Self {
        let authority = match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => text(&head.headers, &header::HOST),
        };
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut texts = Texts { all: String::with_capacity(160), ends: [0; COUNT] };
        texts.set(Text::Authority, authority);
        texts.set(Text::Target, target);
        texts.set(Text::RequestId, text(&head.headers, &REQUEST_ID));
        texts.set(Text::UserAgent, text(&head.headers, &header::USER_AGENT));
        texts.set(Text::ForwardedFor, text(&head.headers, &FORWARDED_FOR));
        texts
    }

    fn set(&mut self, which: Text, text: &str) {
        self.all.push_str(&text[..text.floor_char_boundary(LONGEST)]);
        // Five times the longest is less than it can hold.
        self.ends[which as usize] = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
    }

    /// One of them; empty: there is none.
    pub fn get(&self, which: Text) -> &str {
        let begin = match which as usize {
            0 => 0,
            index => self.ends[index - 1],
        };
        self.all.get(begin.into()..self.ends[which as usize].into()).unwrap_or_default()
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        let target = self.get(Text::Target);
        target.split_once('?').map_or(target, |(path, _)| path)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_found_again_and_long_ones_are_cut() {
        let long = format!("/{}?q=ü", "x".repeat(LONGEST));
        let request =
            http::Request::get(&long).header("host", "a:1").header("user-agent", "curl").body(()).unwrap();
        let (head, ()) = request.into_parts();
        let texts = Texts::of(&head);
        assert_eq!(texts.get(Text::Authority), "a:1");
        assert_eq!(texts.get(Text::Target), &long[..LONGEST]);
        assert_eq!((texts.get(Text::RequestId), texts.get(Text::ForwardedFor)), ("", ""));
        assert_eq!(texts.get(Text::UserAgent), "curl");
        let (head, ()) = http::Request::get("http://b:2/p?q").body(()).unwrap().into_parts();
        let texts = Texts::of(&head);
        assert_eq!(
            (texts.get(Text::Authority), texts.path(), texts.get(Text::Target)),
            ("b:2", "/p", "/p?q")
        );
    }
}
