use std::collections::HashMap;
use std::str::FromStr as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanContext as TheirContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::{Extracted, Propagators, is_trace_header};
use crate::context::SpanContext;

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;
const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn of(words: &str) -> Propagators {
    let (propagators, unknown) = Propagators::of(words.split(','));
    assert!(unknown.is_empty());
    propagators
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_str(name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn context(sampled: bool, state: Option<&str>) -> SpanContext {
    SpanContext { trace_id: TRACE.into(), span_id: SPAN.into(), sampled, state: state.map(Into::into) }
}

fn shown(map: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> =
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

#[test]
fn words_make_the_list() {
    assert_eq!(of("tracecontext,baggage"), Propagators::default());
    assert!(of("none").is_empty() && of("b3,none").is_empty() && of("baggage").is_empty());
    assert_eq!(of("B3,b3"), of("b3"));
    assert!(of("xray").has_xray() && !of("b3").has_xray());
    let (some, unknown) = Propagators::of(["jaeger", "b3multi", "w3c"]);
    assert_eq!((some, unknown), (of("b3multi"), vec!["jaeger", "w3c"]));
}

#[test]
fn w3c_is_read_strictly() {
    let extract = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("traceparent", *line)).collect();
        Propagators::default().extract(&headers(&lines))
    };
    for (line, sampled) in [
        (GOOD, true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", true),
    ] {
        assert_eq!(extract(&[line]), Extracted::Parent(context(sampled, None)), "{line}");
    }
    for line in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
        "0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473.-00f067aa0ba902b7-01",
        "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert_eq!(extract(&[line]), Extracted::Nothing, "{line}");
    }
    assert_eq!(extract(&[GOOD, GOOD]), Extracted::Nothing);
}

#[test]
fn what_is_taken_of_traceparent_the_sdk_takes_too_and_reads_in_the_same_way() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (theirs, mut taken) = (TraceContextPropagator::new(), 0);
    for _ in 0..20_000 {
        let mut line = GOOD.as_bytes().to_vec();
        for _ in 0..rng.usize(0..3) {
            let at = rng.usize(0..line.len());
            match rng.u8(0..4) {
                0 => drop(line.remove(at)),
                1 => line.insert(at, *rng.choice(b"0af-Z").unwrap()),
                _ => line[at] = *rng.choice(b"0123456789abcdefA-g").unwrap(),
            }
        }
        let line = String::from_utf8(line).unwrap();
        let ours = Propagators::default().extract(&headers(&[("traceparent", &line)]));
        let map = HashMap::from([("traceparent".to_owned(), line.clone())]);
        let read = theirs.extract_with_context(&Context::new(), &map);
        if let Extracted::Parent(ours) = ours {
            let span = read.span();
            let theirs = span.span_context();
            assert_eq!(
                (ours.trace_id, ours.span_id, ours.sampled),
                (theirs.trace_id(), theirs.span_id(), theirs.is_sampled()),
                "{line}"
            );
            taken += 1;
        }
    }
    assert!(taken > 1000, "{taken}");
}

#[test]
fn w3c_is_written_as_the_sdk_writes_it() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..1000 {
        let ours = SpanContext {
            trace_id: TraceId::from(rng.u128(1..)),
            span_id: SpanId::from(rng.u64(1..)),
            sampled: rng.bool(),
            state: rng.bool().then(|| "a=1,b=2".into()),
        };
        let mut map = headers(&[("traceparent", GOOD), ("traceparent", GOOD), ("tracestate", "old=1")]);
        Propagators::default().inject(&ours, &mut map);
        let state = TraceState::from_str(ours.state.as_deref().unwrap_or_default()).unwrap();
        let flags = TraceFlags::default().with_sampled(ours.sampled);
        let span = TheirContext::new(ours.trace_id, ours.span_id, flags, false, state);
        let mut theirs = HashMap::new();
        let context = Context::new().with_remote_span_context(span);
        TraceContextPropagator::new().inject_context(&context, &mut theirs);
        let mut wanted: Vec<String> = theirs
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        wanted.sort();
        assert_eq!(shown(&map), wanted);
    }
}

#[test]
fn tracestate_is_joined_and_kept_and_dropped_when_it_is_broken_or_orphaned() {
    let state = |lines: &[&str]| {
        let mut all = vec![("traceparent", GOOD)];
        all.extend(lines.iter().map(|line| ("tracestate", *line)));
        match Propagators::default().extract(&headers(&all)) {
            Extracted::Parent(context) => context.state.map(String::from),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(state(&["a=1"]).as_deref(), Some("a=1"));
    assert_eq!(state(&["a=1, b=2", "t@v=3"]).as_deref(), Some("a=1, b=2,t@v=3"));
    for broken in ["", ",", "a", "A=1", "a=", "a=1=2", "a b=1", "=1"] {
        assert_eq!(state(&[broken]), None, "{broken}");
        assert_eq!(state(&["a=1", broken]).is_none(), !broken.trim_matches(',').is_empty(), "{broken}");
    }
    let many = |n: usize| (0..n).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    assert_eq!(state(&[&many(32)]), Some(many(32)));
    assert_eq!(state(&[&many(33)]), None);
    let fits = format!("a={},b={}", "x".repeat(253), "y".repeat(254));
    assert_eq!((fits.len(), state(&[&fits])), (512, Some(fits.clone())));
    // Too long: members that are long themselves go first, then the last ones.
    let long = format!("a=1,b={},c=3", "x".repeat(256));
    let members = (0..8).map(|n| format!("m{n}={}", "v".repeat(60))).collect::<Vec<_>>();
    let cut = state(&[&long, &members.join(",")]).unwrap();
    assert!(cut.starts_with("a=1,c=3,m0=") && cut.len() <= 512 && !cut.contains("b="), "{cut}");
    assert!(cut.ends_with(&members[6]) && !cut.contains("m7"), "{cut}");

    let orphan = headers(&[("traceparent", "00-0-0-0"), ("tracestate", "a=1")]);
    assert_eq!(Propagators::default().extract(&orphan), Extracted::Nothing);
    let mut map = orphan;
    Propagators::default().inject(&context(true, None), &mut map);
    assert_eq!(shown(&map), [format!("traceparent: {GOOD}")]);
}

const B3: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

#[test]
fn b3_is_read_from_one_header_and_from_several() {
    let parent = |sampled| Extracted::Parent(context(sampled, None));
    for propagators in [of("b3"), of("b3multi")] {
        let single = |line: &str| propagators.extract(&headers(&[("b3", line)]));
        assert_eq!(single(&format!("{B3}-1")), parent(true));
        assert_eq!(single(&format!("{B3}-0")), parent(false));
        assert_eq!(single(&format!("{B3}-d-05e3ac9a4f6e3b90")), parent(true));
        assert_eq!(single(B3), Extracted::Undecided(context(false, None)));
        assert_eq!(single("0"), Extracted::Decision { sampled: false });
        assert_eq!(single("d"), Extracted::Decision { sampled: true });
        let short = single("a3ce929d0e0e4736-00f067aa0ba902b7-1");
        assert_eq!(short.trace_id(), Some(TraceId::from(TRACE & u128::from(u64::MAX))));
        for bad in ["", "2", "x", "-", &format!("{B3}-x"), &B3.to_uppercase(), &B3[1..], "0-0-1"] {
            assert_eq!(single(bad), Extracted::Nothing, "{bad}");
        }
        let ids = [("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"), ("x-b3-spanid", "00f067aa0ba902b7")];
        let multi = |more: &[(&str, &str)]| propagators.extract(&headers(&[&ids, more].concat()));
        assert_eq!(multi(&[]), Extracted::Undecided(context(false, None)));
        for (word, sampled) in [("1", true), ("true", true), ("0", false), ("false", false)] {
            assert_eq!(multi(&[("x-b3-sampled", word)]), parent(sampled));
        }
        assert_eq!(multi(&[("x-b3-flags", "1")]), parent(true));
        // The single header counts, unless it is broken.
        assert_eq!(multi(&[("x-b3-sampled", "1"), ("b3", "0")]), Extracted::Decision { sampled: false });
        assert_eq!(multi(&[("x-b3-sampled", "1"), ("b3", "?")]), parent(true));
        let alone = propagators.extract(&headers(&[("x-b3-sampled", "0")]));
        assert_eq!(alone, Extracted::Decision { sampled: false });
    }
}

#[test]
fn b3_leaves_nothing_that_says_otherwise() {
    let before = [
        ("b3", "0"),
        ("x-b3-traceid", "1"),
        ("x-b3-spanid", "2"),
        ("x-b3-parentspanid", "3"),
        ("x-b3-sampled", "0"),
        ("other", "kept"),
    ];
    let after = |words: &str, more: &[(&str, &str)]| {
        let mut map = headers(&[&before, more].concat());
        of(words).inject(&context(true, None), &mut map);
        shown(&map)
    };
    let single = format!("b3: {B3}-1");
    let multi = [
        "x-b3-sampled: 1",
        "x-b3-spanid: 00f067aa0ba902b7",
        "x-b3-traceid: 4bf92f3577b34da6a3ce929d0e0e4736",
    ];
    assert_eq!(after("b3", &[]), [&single, "other: kept"]);
    assert_eq!(after("b3multi", &[]), [&["other: kept"], &multi[..]].concat());
    assert_eq!(after("b3,b3multi", &[]), [&[single.as_str(), "other: kept"], &multi[..]].concat());
    // Debug is handed on, as often as it is written anew.
    let mut map = headers(&[("x-b3-flags", "1")]);
    for words in ["b3", "b3multi", "b3", "b3"] {
        of(words).inject(&context(true, None), &mut map);
    }
    assert_eq!(shown(&map), [format!("b3: {B3}-d")]);
    of("b3").inject(&context(false, None), &mut map);
    assert_eq!(shown(&map), [format!("b3: {B3}-0")]);
}

const ROOT: &str = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736";

#[test]
fn x_ray_is_read_in_any_order() {
    let extract = |line: &str| of("xray").extract(&headers(&[("x-amzn-trace-id", line)]));
    let parent = "Parent=00f067aa0ba902b7";
    let trace_id = TraceId::from(TRACE);
    assert_eq!(extract(&format!("{ROOT};{parent};Sampled=1")), Extracted::Parent(context(true, None)));
    assert_eq!(extract(&format!("Sampled=0; {parent} ;{ROOT}")), Extracted::Parent(context(false, None)));
    assert_eq!(extract(&format!("{ROOT};{parent};Sampled=?")), Extracted::Undecided(context(false, None)));
    assert_eq!(extract(&format!("Self=1-1-1;{ROOT}")), Extracted::Trace { trace_id, sampled: None });
    assert_eq!(extract(&format!("{ROOT};Sampled=0")), Extracted::Trace { trace_id, sampled: Some(false) });
    let zero = "Root=1-00000000-000000000000000000000000";
    for bad in ["", ";;=", parent, "Root=2-4bf92f35-77b34da6a3ce929d0e0e4736", zero, &ROOT[..39]] {
        assert_eq!(extract(bad), Extracted::Nothing, "{bad}");
    }
}

#[test]
fn x_ray_keeps_the_fields_of_others() {
    let after = |lines: &[(&str, &str)]| {
        let mut map = headers(lines);
        for _ in 0..2 {
            of("xray").inject(&context(true, None), &mut map);
        }
        shown(&map)
    };
    let line = format!("x-amzn-trace-id: {ROOT};Parent=00f067aa0ba902b7;Sampled=1");
    assert_eq!(after(&[]), [line.as_str()]);
    let before = "Self=1-2-3;Root=1-5-6;Lineage=a:b;Parent=1;Sampled=0;CalledFrom=app";
    assert_eq!(after(&[("x-amzn-trace-id", before)]), [format!("{line};Lineage=a:b;CalledFrom=app")]);
    let long = format!("A=1;B={}", "x".repeat(400));
    assert_eq!(after(&[("x-amzn-trace-id", &long)]), [format!("{line};A=1")]);
}

#[test]
fn of_several_formats_the_last_that_says_as_much_wins() {
    let b3 = "a3ce929d0e0e47364bf92f3577b34da6-0000000000000001-0";
    let all = headers(&[("traceparent", GOOD), ("tracestate", "a=1"), ("b3", b3), ("x-amzn-trace-id", ROOT)]);
    let w3c = Extracted::Parent(context(true, Some("a=1")));
    assert_eq!(of("b3,tracecontext").extract(&all), w3c);
    assert_eq!(of("tracecontext,b3").extract(&all).parent().unwrap().span_id, SpanId::from(1));
    // A load balancer's trace id tears no trace.
    assert_eq!(of("tracecontext,xray").extract(&all), w3c);
    assert_eq!(of("xray").extract(&all).parent(), None);
    assert_eq!(Propagators::NONE.extract(&all), Extracted::Nothing);
    // The state belongs to the trace, whichever header names it.
    let same = headers(&[("traceparent", GOOD), ("tracestate", "a=1"), ("b3", &format!("{B3}-1"))]);
    assert_eq!(of("tracecontext,b3").extract(&same), w3c);
}

#[test]
fn formats_that_are_not_named_and_baggage_pass_through() {
    let before = headers(&[("b3", "0"), ("baggage", "user=1"), ("x-amzn-trace-id", "Root=1"), ("a", "b")]);
    let mut map = before.clone();
    Propagators::default().inject(&context(false, None), &mut map);
    let written = map.remove("traceparent").unwrap();
    assert_eq!(written, GOOD.replace("-01", "-00").as_str());
    assert_eq!(map, before);
    Propagators::NONE.inject(&context(true, None), &mut map);
    assert_eq!(map, before);
    let name = |name| HeaderName::from_static(name);
    assert!(is_trace_header(&name("b3")) && !is_trace_header(&name("baggage")));
    assert!(of("b3multi").owns(&name("b3")) && !of("b3").owns(&name("tracestate")));
}
