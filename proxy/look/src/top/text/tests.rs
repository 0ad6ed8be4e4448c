use super::*;

fn row(name: &str, rate: f64) -> Row {
    Row {
        name: name.to_owned(),
        rate,
        success: (rate > 0.0).then_some(100.0),
        p50: (rate > 0.0).then_some(Latency::Of(0.42)),
        p95: (rate > 0.0).then_some(Latency::Of(12.34)),
        p99: (rate > 0.0).then_some(Latency::Above(15_000.0)),
        ..Row::default()
    }
}

fn frame(services: Vec<Row>) -> Frame {
    Frame {
        seconds: 1.02,
        since_start: false,
        generation: 3.0,
        connections: 12.0,
        cpu_percent: 3.4,
        resident_bytes: 8_123_456.0,
        services,
    }
}

fn view(columns: usize, rows: usize) -> View {
    View { style: Style::plain(), size: Some(Size { columns, rows }), endpoints: false }
}

fn pipe() -> View {
    View { style: Style::plain(), size: None, endpoints: true }
}

#[test]
fn a_block_for_a_pipe() {
    let mut server = row("server", 1234.5);
    server.endpoints = vec![row("10.0.0.1:9001", 1200.0), Row { ejected: 1, ..row("10.0.0.2:9001", 0.0) }];
    (server.success, server.ejected, server.retries, server.in_flight) = (Some(99.996), 1, 0.5, 4.0);
    let lines =
        lines(&frame(vec![row("", 0.0), server, row("a\u{1b}[2Jb", 0.001)]), "127.0.0.1:15000", pipe());
    assert_eq!(
        lines,
        [
            "proxy 127.0.0.1:15000  last 1.0 s  mesh 3  12 connections  CPU 3 %  RSS 8.1 MB",
            "",
            "  SERVICE          REQ/S  SUCCESS  P50 MS  P95 MS  P99 MS  IN FLIGHT  RETRIES/S  SHED/S  EJECTED",
            "  (outside)            -        -       -       -       -          0          -       -",
            "  server            1234  99.99 %    0.42    12.3  >15000          4       0.50       -  1 of 2",
            "  └ 10.0.0.1:9001   1200    100 %    0.42    12.3  >15000          0",
            "  └ 10.0.0.2:9001      -        -       -       -       -          0                     ejected",
            "  a\u{fffd}[2Jb           <0.01    100 %    0.42    12.3  >15000          0          -       -",
        ]
    );
}

#[test]
fn totals_and_an_empty_mesh_are_said() {
    let frame = Frame { since_start: true, seconds: 200.0, ..frame(Vec::new()) };
    let lines = lines(&frame, "127.0.0.1:15000", pipe());
    assert!(lines[0].starts_with("proxy 127.0.0.1:15000  since its start  mesh 3  "), "{lines:?}");
    assert_eq!(lines[2], "  no services");
}

#[test]
fn of_five_hundred_services_the_busiest_and_those_in_trouble_are_shown() {
    let mut services: Vec<Row> =
        (0..500).map(|n| row(&format!("service-{n:03}"), f64::from(n % 100))).collect();
    services[100].ejected = 1;
    services[100].endpoints = vec![Row { ejected: 1, ..row("10.0.0.1:1", 0.0) }];
    let lines = lines(&frame(services), "127.0.0.1:15000", view(80, 24));
    assert_eq!(lines.len(), 23, "{lines:#?}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    let names: Vec<&str> = lines[3..22].iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(
        names.is_sorted() && names.contains(&"service-100") && names.contains(&"service-499"),
        "{names:?}"
    );
    assert!(!names.contains(&"service-000"), "{names:?}");
    assert!(lines[22].starts_with("  481 more of 500 services"), "{lines:#?}");
}

#[test]
fn endpoints_that_do_not_fit_are_cut() {
    let mut server = row("server", 10.0);
    server.endpoints = (0..100).map(|n| row(&format!("10.0.0.{n}:1"), 1.0)).collect();
    let view = View { endpoints: true, ..view(100, 20) };
    let lines = lines(&frame(vec![row("quiet", 0.0), server]), "127.0.0.1:15000", view);
    assert!(lines.len() < 20, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("└ 10.0.0.0:1")), "{lines:#?}");
}

#[test]
fn a_narrow_terminal_has_fewer_columns_and_whole_addresses() {
    let mut server = Row { retries: 2.0, ejected: 1, ..row("server", 1.0) };
    server.endpoints = vec![row("10.100.100.17:9001", 1.0)];
    let view = |columns| View { endpoints: true, ..view(columns, 24) };
    let shown = |columns| lines(&frame(vec![server.clone()]), "127.0.0.1:15000", view(columns));
    let titles =
        |columns| shown(columns)[2].split("  ").map(|title| title.trim().to_owned()).collect::<Vec<_>>();
    assert!(titles(120).contains(&"SHED/S".to_owned()));
    let narrow = titles(80);
    assert!(!narrow.contains(&"SHED/S".to_owned()) && !narrow.contains(&"P95 MS".to_owned()), "{narrow:?}");
    for title in ["RETRIES/S", "EJECTED", "P99 MS"] {
        assert!(narrow.contains(&title.to_owned()), "{narrow:?}");
    }
    assert!(shown(80)[4].starts_with("  └ 10.100.100.17:9001 "), "{:#?}", shown(80));
    assert!(shown(30).iter().skip(2).all(|line| line.chars().count() <= 30), "{:#?}", shown(30));
}

#[test]
fn one_failure_in_a_million_is_not_rounded_away() {
    assert_eq!((percent(99.9999).as_str(), percent(100.0).as_str()), ("99.99 %", "100 %"));
}
