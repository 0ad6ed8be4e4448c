use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use prost::Message as _;

use super::{Value, begin_message, bytes, end_message, key_value, varint, varint_len};

#[test]
fn numbers_are_as_long_as_is_said_and_read_back() {
    let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]);
    for value in edges {
        let mut out = Vec::new();
        varint(&mut out, value);
        assert_eq!(out.len(), varint_len(value), "{value}");
        assert_eq!(prost::encoding::decode_varint(&mut &*out).unwrap(), value);
    }
}

#[test]
fn a_message_of_any_length_is_written_as_prost_writes_it() {
    for len in [0, 1, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_151, 2_097_152] {
        let content: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let mut out = vec![9; 3];
        let start = begin_message(&mut out, 7);
        out.extend_from_slice(&content);
        end_message(&mut out, start);
        let mut expected = vec![9; 3];
        bytes(&mut expected, 7, &content);
        assert!(out == expected, "{len}");
        let mut prost = vec![9; 3];
        prost::encoding::bytes::encode(7, &content, &mut prost);
        assert!(out == prost, "{len}");
    }
}

fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

#[test]
fn every_kind_of_value_is_written_as_prost_writes_it() {
    let long = "x".repeat(300);
    let array = ["", "b", &long];
    let values = [
        (Value::Str(&long), any_value::Value::StringValue(long.clone())),
        (Value::Str(""), any_value::Value::StringValue(String::new())),
        (Value::Int(-1), any_value::Value::IntValue(-1)),
        (Value::Int(0), any_value::Value::IntValue(0)),
        (Value::Int(128), any_value::Value::IntValue(128)),
        (Value::Int(i64::MAX), any_value::Value::IntValue(i64::MAX)),
        (Value::Double(-0.5), any_value::Value::DoubleValue(-0.5)),
        (Value::Bool(true), any_value::Value::BoolValue(true)),
        (Value::Bool(false), any_value::Value::BoolValue(false)),
        (
            Value::StrArray(&array),
            any_value::Value::ArrayValue(ArrayValue { values: array.map(string).to_vec() }),
        ),
        (Value::StrArray(&[]), any_value::Value::ArrayValue(ArrayValue { values: Vec::new() })),
    ];
    for key in ["k", &long] {
        for (ours, theirs) in &values {
            let mut out = Vec::new();
            key_value(&mut out, 1, key, *ours);
            let value = Some(AnyValue { value: Some(theirs.clone()) });
            let entry = KeyValue { key: key.to_owned(), value, ..KeyValue::default() };
            assert_eq!(out, KeyValueList { values: vec![entry] }.encode_to_vec(), "{ours:?}");
        }
    }
}
