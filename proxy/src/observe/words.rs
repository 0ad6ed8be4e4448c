//! Words for numbers.

/// A gRPC status in words ("gRPC status codes", grpc.github.io).
pub(super) fn grpc_word(status: u32) -> &'static str {
    match status {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        // Clients take any other number for it.
        _ => "UNKNOWN",
    }
}

/// HTTP statuses in words, for attributes that want text.
pub(super) fn status_word(status: u16, to: &mut [u8; 5]) -> &str {
    let mut rest = status;
    let mut at = to.len();
    loop {
        at -= 1;
        to[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            return std::str::from_utf8(&to[at..]).unwrap_or_default();
        }
    }
}
