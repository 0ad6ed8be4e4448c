//! Flags as the query of `/tap`. What is wrong with a value is said by the page: it knows best.

use crate::args::TapArgs;
use crate::ask::in_query;

/// The path to ask for.
pub(super) fn path(args: &TapArgs) -> String {
    let flag = |set: bool| set.then(|| "true".to_owned());
    let number = |number: Option<u64>| number.map(|n| n.to_string());
    let pairs = [
        ("service", args.service.clone()),
        ("endpoint", args.endpoint.clone()),
        ("status", args.status.clone()),
        ("failed", flag(args.failed)),
        ("retried", flag(args.retried)),
        ("method", args.method.clone()),
        ("path", args.path.clone()),
        ("header", args.header.clone()),
        ("slower-than-ms", number(args.slower_than)),
        ("with-query", flag(args.with_query)),
        ("limit", number(args.limit)),
    ];
    let pairs: Vec<String> = pairs
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| format!("{key}={}", in_query(&value))))
        .collect();
    match pairs.is_empty() {
        true => "/tap".to_owned(),
        false => format!("/tap?{}", pairs.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Look;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        look: Look,
    }

    fn path_of(args: &[&str]) -> String {
        match Cli::try_parse_from([&["x", "tap"], args].concat()).unwrap().look {
            Look::Tap(args) => path(&args),
            _ => panic!("tap was asked for"),
        }
    }

    #[test]
    fn every_flag_is_a_key() {
        assert_eq!(path_of(&[]), "/tap");
        let most = ["--failed", "--retried", "--with-query", "--status", "400-499", "--limit", "3"];
        assert_eq!(path_of(&most), "/tap?status=400-499&failed=true&retried=true&with-query=true&limit=3");
        let rest =
            ["--service", "inbound:80", "--endpoint", "[::1]:80", "--method", "GET", "--path", "/a b&c"];
        assert_eq!(
            path_of(&rest),
            "/tap?service=inbound:80&endpoint=%5B::1%5D:80&method=GET&path=/a%20b%26c"
        );
        let last = ["--header", "x-user: ann=1", "--slower-than", "250"];
        assert_eq!(path_of(&last), "/tap?header=x-user:%20ann%3D1&slower-than-ms=250");
    }
}
