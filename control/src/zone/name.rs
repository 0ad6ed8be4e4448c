//! Names and texts as Route 53 writes them, and how a record of ours is marked.
//!
//! The mark of `server.hello-world.com` is a TXT record at `_bowline.server.hello-world.com` with the text
//! `bowline namespace=NAMESPACE`. It stands beside the record and not at the same name, because names have TXT records for
//! other purposes; and below it, where no zone has anything that is not about that name. A label that begins with `_` is no
//! host's.

/// What stands before a name where its mark is.
const MARK: &str = "_bowline.";
/// What a mark's text begins with; the namespace follows.
const TEXT: &str = "bowline namespace=";
/// The longest name that DNS knows.
const LONGEST: usize = 253;
/// The longest piece of a TXT record.
const PIECE: usize = 255;

/// Where the mark of a name is.
pub(super) fn mark_of(name: &str) -> String {
    format!("{MARK}{name}")
}

/// The name that a mark at this place would be for.
pub(super) fn marked_by(place: &str) -> Option<&str> {
    place.strip_prefix(MARK)
}

/// Whether a name leaves room for its mark's.
pub(super) fn fits(name: &str) -> bool {
    MARK.len() + name.len() <= LONGEST
}

/// Whether a name is the zone's or below it.
pub(super) fn lies_in(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A name as it is compared: in lower case, without the last dot. Route 53 writes all but letters, digits, `-` and `_` as
/// three octal digits; those that can stand in a label are written out.
pub(super) fn plain(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(|code| code.is_ascii_graphic() && !matches!(code, b'.' | b'\\')) {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out.to_ascii_lowercase()
}

/// The value of the TXT record that marks a namespace's names.
pub(super) fn mark_text(namespace: &str) -> String {
    let text = format!("{TEXT}{namespace}");
    // Namespaces have letters, digits, dots, `-` and `_` alone.
    let pieces = text.as_bytes().chunks(PIECE).map(|piece| format!("\"{}\"", String::from_utf8_lossy(piece)));
    pieces.collect::<Vec<_>>().join(" ")
}

/// The namespace that a TXT record's value names, if it is a mark's.
pub(super) fn namespace_in(value: &str) -> Option<String> {
    let text: String = value.split('"').skip(1).step_by(2).collect();
    text.strip_prefix(TEXT).filter(|namespace| !namespace.is_empty()).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_route_53_writes_them() {
        assert_eq!(plain("Server.Hello-World.com."), "server.hello-world.com");
        assert_eq!(plain("\\052.mesh.test."), "*.mesh.test");
        // A dot or a backslash inside of a label, a letter that is none, and what is cut off, stay as they are.
        for odd in ["a\\056b.mesh.test", "a\\134b.test", "\\344.test", "a\\05", "\\", "\\9"] {
            assert_eq!(plain(odd), odd);
        }
        assert_eq!(plain("."), "");
    }

    #[test]
    fn what_lies_in_a_zone() {
        for name in ["mesh.test", "a.mesh.test", "a.b.mesh.test"] {
            assert!(lies_in(name, "mesh.test"), "{name}");
        }
        for name in ["amesh.test", "test", "mesh.test.com", "", "other.test"] {
            assert!(!lies_in(name, "mesh.test"), "{name}");
        }
    }

    #[test]
    fn marks_are_read_as_they_were_written() {
        assert_eq!(mark_text("hello-world.com"), "\"bowline namespace=hello-world.com\"");
        let long = "n".repeat(253);
        for namespace in ["hello-world.com", "a", &long] {
            let text = mark_text(namespace);
            assert_eq!(namespace_in(&text).as_deref(), Some(namespace));
            assert!(text.split('"').all(|piece| piece.len() <= PIECE), "{text}");
        }
        for other in ["\"v=spf1 -all\"", "\"bowline namespace=\"", "bowline namespace=a", "\"\"", ""] {
            assert_eq!(namespace_in(other), None, "{other}");
        }
        assert_eq!(marked_by(&mark_of("a.test")), Some("a.test"));
        assert_eq!(marked_by("a.test"), None);
        assert!(fits(&"n".repeat(244)) && !fits(&"n".repeat(245)));
    }
}
