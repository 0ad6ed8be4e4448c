//! What stands behind the `?` of a URL.

/// The value of a key, decoded; `None`: the key is not there.
pub(crate) fn value(query: &str, key: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = std::str::from_utf8(tail.get(..2).unwrap_or_default()).ok();
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            // As forms write a space.
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn values_are_decoded() {
        let query = "a=1&url=http%3A%2F%2Fx%3a80/%zz%2&service=a+b&empty=";
        assert_eq!(value(query, "url").as_deref(), Some("http://x:80/%zz%2"));
        assert_eq!(value(query, "service").as_deref(), Some("a b"));
        assert_eq!(value(query, "empty").as_deref(), Some(""));
        assert_eq!((value(query, "ur"), value(query, "b"), value("", "a")), (None, None, None));
    }
}
