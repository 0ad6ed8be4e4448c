use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message as _;

use super::{Exemplar, HistogramPoint, MetricBuffer, MetricInfo, MetricKind, PORTION_BYTES};

fn info(name: &'static str, kind: MetricKind) -> MetricInfo {
    MetricInfo { name, description: "What it tells.", unit: "s", kind }
}

fn read(buffer: MetricBuffer) -> Vec<proto::Metric> {
    let mut all = Vec::new();
    for portion in buffer.finish() {
        let scope = proto::ScopeMetrics::decode(&*portion.bytes).unwrap();
        // Nothing else is in it: unknown fields would be lost here.
        assert_eq!(scope.encoded_len(), portion.bytes.len());
        all.extend(scope.metrics);
    }
    all
}

fn keys(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> Vec<&str> {
    attributes.iter().map(|attribute| attribute.key.as_str()).collect()
}

#[test]
fn each_kind_reads_back() {
    let mut buffer = MetricBuffer::new(5, 7);
    buffer.metric(info("count", MetricKind::Counter));
    buffer.int(3, |at| at.str("a", "b"));
    buffer.double(0.5, |_| {});
    buffer.metric(info("empty", MetricKind::Gauge));
    buffer.metric(info("level", MetricKind::Gauge));
    buffer.int(-1, |_| {});
    buffer.metric(info("time", MetricKind::Histogram));
    let exemplar =
        Exemplar { value: 0.25, trace_id: TraceId::from(1), span_id: SpanId::from(2), unix_nanos: 6 };
    let point = HistogramPoint { bounds: &[0.1, 1.0], buckets: &[1, 300, 0], sum: 9.5 };
    buffer.histogram(&point, [exemplar], |at| at.str("a", "b"));

    let all = read(buffer);
    let names: Vec<&str> = all.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["count", "level", "time"]);
    assert!(all.iter().all(|metric| metric.unit == "s" && metric.description == "What it tells."));
    let Some(Data::Sum(sum)) = &all[0].data else { panic!("{:?}", all[0]) };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    assert_eq!(sum.data_points[0].value, Some(Value::AsInt(3)));
    assert_eq!(keys(&sum.data_points[0].attributes), ["a"]);
    assert_eq!(sum.data_points[1].value, Some(Value::AsDouble(0.5)));
    assert_eq!((sum.data_points[1].start_time_unix_nano, sum.data_points[1].time_unix_nano), (5, 7));
    let Some(Data::Gauge(gauge)) = &all[1].data else { panic!("{:?}", all[1]) };
    assert_eq!(gauge.data_points[0].value, Some(Value::AsInt(-1)));
    assert_eq!(gauge.data_points[0].time_unix_nano, 7);
    let Some(Data::Histogram(histogram)) = &all[2].data else { panic!("{:?}", all[2]) };
    assert_eq!(histogram.aggregation_temporality, 2);
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum), (301, Some(9.5)));
    assert_eq!((&*point.bucket_counts, &*point.explicit_bounds), (&[1, 300, 0][..], &[0.1, 1.0][..]));
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 7));
    assert_eq!(keys(&point.attributes), ["a"]);
    let [exemplar] = &point.exemplars[..] else { panic!("{point:?}") };
    assert_eq!(exemplar.time_unix_nano, 6);
    assert_eq!(exemplar.value, Some(proto::exemplar::Value::AsDouble(0.25)));
    assert_eq!(exemplar.trace_id, 1u128.to_be_bytes());
    assert_eq!(exemplar.span_id, 2u64.to_be_bytes());
}

#[test]
fn much_goes_in_portions_that_collectors_take() {
    let mut buffer = MetricBuffer::new(1, 2);
    let text = "x".repeat(200);
    for name in ["one", "two"] {
        buffer.metric(info(name, MetricKind::Counter));
        for number in 0..6000 {
            buffer.int(number, |at| at.str("text", &text));
        }
    }
    let (mut sums, mut points) = ([0; 2], 0);
    let portions = buffer.finish();
    assert!(portions.len() > 2);
    for portion in portions {
        assert!(portion.bytes.len() < PORTION_BYTES + 1000);
        points += portion.points;
        for metric in proto::ScopeMetrics::decode(&*portion.bytes).unwrap().metrics {
            let Some(Data::Sum(sum)) = metric.data else { panic!("{}", metric.name) };
            for point in sum.data_points {
                let Some(Value::AsInt(number)) = point.value else { panic!("{point:?}") };
                sums[usize::from(metric.name == "two")] += number;
            }
        }
    }
    assert_eq!((points, sums), (12_000, [17_997_000; 2]));
}

#[test]
fn nothing_is_no_portion() {
    let mut buffer = MetricBuffer::new(1, 2);
    buffer.metric(info("none", MetricKind::Histogram));
    assert!(buffer.finish().is_empty());
}
