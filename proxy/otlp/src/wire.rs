//! Protobuf, written straight into a `Vec<u8>`: the few shapes that spans and resources are made of.
//!
//! All lengths are known before anything is written, so nothing is allocated and nothing is moved. The exception is
//! the span itself, whose attributes come one by one: see [`end_message`].

/// The wire types that are used here.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// How many bytes are left free for the length of a message that is written before its length is known. Two hold up
/// to 16 KiB, which is what spans have.
const ROOM: usize = 2;

/// The bytes a number takes.
pub const fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and zero takes one too.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// A number, seven bits a byte.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

/// A field of type int, enum or bool.
pub fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

/// A field of type fixed64.
pub fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field of type fixed32.
pub fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    tag(out, field, FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field of type string or bytes, or a message that is there already.
pub fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    header(out, field, value.len());
    out.extend_from_slice(value);
}

/// What stands before `len` bytes of a string, of bytes or of a message. The caller writes them.
pub fn header(out: &mut Vec<u8>, field: u32, len: usize) {
    tag(out, field, LENGTH);
    varint(out, len as u64);
}

/// The bytes of a field of `len` bytes with its header, for fields with numbers up to 15.
pub const fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Begins a message whose length is not known yet. What is returned goes to [`end_message`].
#[must_use]
pub fn begin_message(out: &mut Vec<u8>, field: u32) -> usize {
    tag(out, field, LENGTH);
    out.extend_from_slice(&[0; ROOM]);
    out.len()
}

/// Writes the length of the message that began at `start`. It is moved if its length takes another number of bytes
/// than was left free, so that it is written as any other protobuf writer would.
pub fn end_message(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    let takes = varint_len(len as u64);
    if takes > ROOM {
        out.resize(out.len() + takes - ROOM, 0);
        out.copy_within(start..start + len, start + takes - ROOM);
    } else if takes < ROOM {
        out.copy_within(start..start + len, start + takes - ROOM);
        out.truncate(out.len() + takes - ROOM);
    }
    let (mut at, mut value) = (start - ROOM, len);
    for left in (0..takes).rev() {
        out[at] = (value & 0x7f) as u8 | if left > 0 { 0x80 } else { 0 };
        value >>= 7;
        at += 1;
    }
}

/// A value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Str(&'a str),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// Several texts.
    StrArray(&'a [&'a str]),
}

// The fields of AnyValue and of what holds it.
const STRING_VALUE: u32 = 1;
const BOOL_VALUE: u32 = 2;
const INT_VALUE: u32 = 3;
const DOUBLE_VALUE: u32 = 4;
const ARRAY_VALUE: u32 = 5;
const ARRAY_VALUES: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;

impl Value<'_> {
    /// The bytes of the AnyValue.
    fn len(&self) -> usize {
        match *self {
            Value::Str(text) => field_len(text.len()),
            Value::Int(value) => 1 + varint_len(value as u64),
            Value::Double(_) => 9,
            Value::Bool(_) => 2,
            Value::StrArray(texts) => field_len(array_len(texts)),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Value::Str(text) => bytes(out, STRING_VALUE, text.as_bytes()),
            Value::Int(value) => number(out, INT_VALUE, value as u64),
            Value::Double(value) => fixed64(out, DOUBLE_VALUE, value.to_bits()),
            Value::Bool(value) => number(out, BOOL_VALUE, u64::from(value)),
            Value::StrArray(texts) => {
                header(out, ARRAY_VALUE, array_len(texts));
                for text in texts {
                    header(out, ARRAY_VALUES, field_len(text.len()));
                    bytes(out, STRING_VALUE, text.as_bytes());
                }
            }
        }
    }
}

fn array_len(texts: &[&str]) -> usize {
    texts.iter().map(|text| field_len(field_len(text.len()))).sum()
}

/// The bytes of a KeyValue, without a header.
pub fn key_value_len(key: &str, value: Value<'_>) -> usize {
    field_len(key.len()) + field_len(value.len())
}

/// A field of type KeyValue.
pub fn key_value(out: &mut Vec<u8>, field: u32, key: &str, value: Value<'_>) {
    header(out, field, key_value_len(key, value));
    bytes(out, KEY, key.as_bytes());
    header(out, VALUE, value.len());
    value.write(out);
}

#[cfg(test)]
mod tests;
