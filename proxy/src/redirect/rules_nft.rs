//! The rules as nft takes them. Each family has a table of its own, `bowline`, which is taken away and made anew in one
//! transaction: there is no moment without the rules, and never are there two of one.

use std::fmt::Write as _;

use super::rules::{Family, Match, Rule, Rules};

/// Just before the priority at which iptables and Docker have their rules (-100): the first redirection of a connection
/// is its only one.
const PRIORITY: i32 = -110;

const fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Input for `nft -f -` after which these rules are in force and no others of ours.
#[must_use]
pub fn install(rules: &[(Family, Rules)]) -> String {
    let families: Vec<_> = rules.iter().map(|(family, _)| *family).collect();
    let mut text = remove(&families);
    for (family, rules) in rules.iter().filter(|(_, rules)| !rules.is_empty()) {
        let _ = writeln!(text, "table {} bowline {{", word(*family));
        chain(&mut text, *family, "outbound", "output", &rules.outbound);
        chain(&mut text, *family, "inbound", "prerouting", &rules.inbound);
        text.push_str("}\n");
    }
    text
}

/// Input for `nft -f -` after which there is nothing of ours, whether or not there was.
#[must_use]
pub fn remove(families: &[Family]) -> String {
    families.iter().fold(String::new(), |mut text, family| {
        // To take away what is not there is an error; to make what is there is none.
        let family = word(*family);
        let _ = writeln!(text, "table {family} bowline\ndelete table {family} bowline");
        text
    })
}

fn chain(text: &mut String, family: Family, name: &str, hook: &str, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    let _ = writeln!(text, "  chain {name} {{");
    let _ = writeln!(text, "    type nat hook {hook} priority {PRIORITY}; policy accept;");
    for rule in rules {
        let what = matching(&rule.what, family);
        let _ = match rule.to {
            Some(port) => writeln!(text, "    {what} redirect to :{port}"),
            None => writeln!(text, "    {what} return"),
        };
    }
    text.push_str("  }\n");
}

fn matching(what: &Match, family: Family) -> String {
    let protocol = word(family);
    match what {
        Match::Uid(uid) => format!("meta skuid {uid}"),
        Match::Gid(gid) => format!("meta skgid {gid}"),
        Match::To(cidr) => format!("{protocol} daddr {cidr}"),
        Match::ToLocal => "fib daddr type local".to_owned(),
        Match::TcpTo(cidr) => format!("{protocol} daddr {cidr} meta l4proto tcp"),
        Match::TcpPorts(ports) => format!("tcp dport {{ {} }}", list(ports)),
        Match::UdpPort(port) => format!("udp dport {port}"),
        Match::TcpPortsFromElsewhere(ports) => {
            format!("fib saddr type != local tcp dport {{ {} }}", list(ports))
        }
        Match::Tcp => "meta l4proto tcp".to_owned(),
    }
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}
