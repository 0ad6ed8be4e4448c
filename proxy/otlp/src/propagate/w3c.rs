//! W3C Trace Context: `traceparent` and `tracestate`.

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Extracted, hex};
use crate::context::SpanContext;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");
/// Both.
pub(super) const HEADERS: [HeaderName; 2] = [PARENT, STATE];

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LEN: usize = 55;
const SAMPLED: u8 = 1;
/// So much of `tracestate` is passed on at least, says the specification. More is cut, member by member.
const MAX_STATE: usize = 512;
/// Members longer than this go first then.
const LONG_MEMBER: usize = 128;
const MAX_MEMBERS: usize = 32;
const MAX_KEY: usize = 256;
const MAX_VALUE: usize = 256;

pub(super) fn extract(headers: &HeaderMap) -> Extracted {
    let mut lines = headers.get_all(PARENT).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Extracted::Nothing };
    match parent(line.as_bytes()) {
        Some(context) => Extracted::Parent(SpanContext { state: state(headers), ..context }),
        None => Extracted::Nothing,
    }
}

fn parent(line: &[u8]) -> Option<SpanContext> {
    let (known, rest) = line.split_at_checked(LEN)?;
    let [version] = hex::read(&known[..2])?;
    // A version to come may have more fields, behind another dash.
    let fits = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|&next| next == b'-'),
    };
    if !fits || [known[2], known[35], known[52]] != *b"---" {
        return None;
    }
    let (trace_id, span_id) = (hex::trace_id(&known[3..35])?, hex::span_id(&known[36..52])?);
    let [flags] = hex::read(&known[53..])?;
    Some(SpanContext { trace_id, span_id, sampled: flags & SAMPLED != 0, state: None })
}

/// The members of all lines, as they came; nothing if one is broken.
fn state(headers: &HeaderMap) -> Option<Box<str>> {
    let mut lines = headers.get_all(STATE).iter();
    let mut all = lines.next()?.to_str().ok()?.trim().to_owned();
    for line in lines {
        all.push(',');
        all.push_str(line.to_str().ok()?.trim());
    }
    let members = || all.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty());
    let count = members().count();
    if count == 0 || count > MAX_MEMBERS || !members().all(is_member) {
        return None;
    }
    if all.len() <= MAX_STATE {
        return Some(all.into());
    }
    let mut short = String::with_capacity(MAX_STATE);
    let longest = if members().all(|member| member.len() <= LONG_MEMBER) { usize::MAX } else { LONG_MEMBER };
    for member in members().filter(|member| member.len() <= longest) {
        if short.len() + 1 + member.len() > MAX_STATE {
            break;
        }
        if !short.is_empty() {
            short.push(',');
        }
        short.push_str(member);
    }
    (!short.is_empty()).then(|| short.into())
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let is_key = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let begins = key.as_bytes().first().is_some_and(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9'));
    begins
        && key.len() <= MAX_KEY
        && key.bytes().all(is_key)
        && (1..=MAX_VALUE).contains(&value.len())
        && value.bytes().all(|c| matches!(c, b' '..=b'~') && c != b'=')
}

pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let mut line = *b"00-00000000000000000000000000000000-0000000000000000-00";
    hex::write(&mut line[3..35], &context.trace_id.to_bytes());
    hex::write(&mut line[36..52], &context.span_id.to_bytes());
    line[LEN - 1] += u8::from(context.sampled);
    if let Ok(value) = HeaderValue::from_bytes(&line) {
        headers.insert(PARENT, value);
    }
    match (&context.state, headers.entry(STATE)) {
        (None, Entry::Vacant(_)) => {}
        (None, Entry::Occupied(there)) => {
            there.remove_entry_mult();
        }
        // Most often it is what has come, and stands there already.
        (Some(state), Entry::Occupied(there)) if is_one(there.iter(), state) => {}
        (Some(state), entry) => {
            if let Ok(value) = HeaderValue::from_str(state) {
                match entry {
                    Entry::Vacant(place) => drop(place.insert(value)),
                    Entry::Occupied(mut place) => drop(place.insert_mult(value)),
                }
            }
        }
    }
}

fn is_one<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>, state: &str) -> bool {
    lines.next().is_some_and(|line| line == state) && lines.next().is_none()
}
