//! Ids as text: lower-case hexadecimal, as all formats have it.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes two digits a byte. `out` is twice as long as `bytes`.
pub(super) fn write(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Reads exactly `N` bytes; `None`: another length, or anything but digits and `a` to `f`.
pub(super) fn read<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

/// A trace's id of 32 digits; `None` for zero too.
pub(super) fn trace_id(text: &[u8]) -> Option<opentelemetry::trace::TraceId> {
    let id = u128::from_be_bytes(read(text)?);
    (id != 0).then(|| id.into())
}

/// A span's id of 16 digits; `None` for zero too.
pub(super) fn span_id(text: &[u8]) -> Option<opentelemetry::trace::SpanId> {
    let id = u64::from_be_bytes(read(text)?);
    (id != 0).then(|| id.into())
}
