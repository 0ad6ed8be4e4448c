//! Names that a mesh file takes.

use std::collections::BTreeSet;

/// Whether a mesh file takes it for a namespace or a `dnsName`.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let label =
        |label: &str| (1..=63).contains(&label.len()) && label.chars().all(inner) && !label.starts_with('-');
    name.len() <= 253 && name.split('.').all(label) && name.parse::<std::net::IpAddr>().is_err()
}

/// Whether a mesh file takes it for a `discoveryName`.
pub(crate) fn is_discovery_name(name: &str) -> bool {
    let fit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fit)
}

/// The nearest `discoveryName` to any text: never empty.
pub(crate) fn discovery_name(text: &str) -> String {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '-') => c,
        _ => '-',
    };
    let name: String = text.chars().map(fit).take(64).collect();
    if name.is_empty() { "service".to_owned() } else { name }
}

/// The first of these names that is not taken, or else the last one with a number behind it. It is taken then.
pub(crate) fn free_name(candidates: &[String], taken: &mut BTreeSet<String>) -> String {
    let last = candidates.last().map_or("service", String::as_str);
    let stem: String = last.chars().take(56).collect();
    let numbered = (2..).map(|number: u32| format!("{stem}-{number}"));
    let mut names = candidates.iter().cloned().chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_are_those_of_the_mesh_file() {
        for good in ["server", "server.hello-world.com", "_a.b-c", "A1"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in ["", ".", "a.", "a..b", "-a", "a b", "a/b", "10.0.0.1", &"a".repeat(64)] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }

    #[test]
    fn any_text_becomes_a_discovery_name() {
        for (text, name) in [("Server.V1", "server-v1"), ("", "service"), ("a_b-c", "a_b-c"), ("ä b", "--b")]
        {
            assert_eq!(discovery_name(text), name);
            assert!(is_discovery_name(&discovery_name(text)));
        }
        assert!(is_discovery_name(&discovery_name(&"x".repeat(300))));
    }

    #[test]
    fn taken_names_are_not_given_again() {
        let mut taken = BTreeSet::new();
        let candidates = ["a".to_owned(), "a-b".to_owned()];
        let names: Vec<String> = (0..4).map(|_| free_name(&candidates, &mut taken)).collect();
        assert_eq!(names, ["a", "a-b", "a-b-2", "a-b-3"]);
        let long = ["x".repeat(64)];
        let names: Vec<String> = (0..3).map(|_| free_name(&long, &mut taken)).collect();
        assert!(names.iter().all(|name| is_discovery_name(name)) && names[1] != names[2], "{names:?}");
    }
}
