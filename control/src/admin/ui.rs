//! The web page: files in the program itself, nothing from elsewhere.

use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;
use hyper::body::Bytes;

use super::Page;

/// What the page may load, and from where.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether a browser asks: its users want the page, and programs the plain index.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|list| list.split(',')).any(|kind| kind.trim_start().starts_with("text/html"))
}

/// The files, by name: each in `/ui/NAME`.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../page/", $name)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "index.html",
    "page.css",
    "icon.svg",
    "theme.js",
    "page.js",
    "poll.js",
    "dom.js",
    "words.js",
    "world.js",
    "layout.js",
    "map.js",
    "marks.js",
    "table.js",
    "panel.js",
    "graph.js",
    "lists.js",
    "explain.js",
    "changes.js"
];

/// The page itself, at `/ui`, or another of the files, at `/ui/NAME`. `None`: there is no such file.
pub(super) fn page(path: &str) -> Option<Page> {
    let name = path.strip_prefix("/ui")?;
    let name = if name.is_empty() { "index.html" } else { name.strip_prefix('/')? };
    let (name, text) = FILES.iter().find(|(known, _)| *known == name)?;
    let kind = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    let headers = [
        (header::CONTENT_TYPE, kind),
        // Another version of the program has another page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_the_page_and_programs_the_index() {
        let accepts = |text: &'static str| {
            let accept = (header::ACCEPT, HeaderValue::from_static(text));
            wants_page(&HeaderMap::from_iter([accept]))
        };
        assert!(accepts("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(accepts("application/json, text/html;q=0.5"));
        assert!(!accepts("*/*"));
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let page = page(&format!("/ui/{name}")).unwrap_or_else(|| panic!("{name} is not served"));
            assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        }
        let kind = |path| page(path).map(|page| page.headers()[header::CONTENT_TYPE].clone());
        assert_eq!(kind("/ui").unwrap(), "text/html; charset=utf-8");
        assert_eq!(kind("/ui/page.js").unwrap(), "text/javascript; charset=utf-8");
        assert_eq!((kind("/ui/"), kind("/ui/other.js"), kind("/uipage.js")), (None, None, None));
    }
}
