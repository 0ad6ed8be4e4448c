//! The rules as `iptables-restore --noflush` takes them: in two chains of our own, which it makes or empties, and a jump
//! to each. A second jump would do no harm but be ugly, and one that is not there can't be deleted, so what there is has
//! to be known first: [`Present`], from what `iptables-save` says.

use std::fmt::Write as _;

use super::rules::{Match, Rule, Rules};

/// Most ports of one rule: with more, iptables refuses it.
const MULTIPORT: usize = 15;

/// One of our chains, and from where there is a jump to it.
struct Chain {
    name: &'static str,
    from: &'static str,
}

const OUTBOUND: Chain = Chain { name: "BOWLINE_OUTBOUND", from: "OUTPUT" };
const INBOUND: Chain = Chain { name: "BOWLINE_INBOUND", from: "PREROUTING" };

/// What there is of ours in a nat table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    outbound: Found,
    inbound: Found,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    chain: bool,
    jumps: usize,
}

impl Present {
    /// All that we ever install.
    pub const ALL: Present =
        Present { outbound: Found { chain: true, jumps: 1 }, inbound: Found { chain: true, jumps: 1 } };

    /// By the output of `iptables-save -t nat`.
    #[must_use]
    pub fn read(saved: &str) -> Self {
        let find = |chain: &Chain| Found {
            chain: saved.lines().any(|line| line.strip_prefix(':').is_some_and(|l| word(l) == chain.name)),
            jumps: saved.lines().filter(|line| *line == format!("-A {}", jump(chain))).count(),
        };
        Present { outbound: find(&OUTBOUND), inbound: find(&INBOUND) }
    }

    /// Whether there is anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Present::default()
    }
}

fn word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn jump(chain: &Chain) -> String {
    format!("{} -j {}", chain.from, chain.name)
}

/// Input for `iptables-restore --noflush` (or `ip6tables-restore`) after which these rules are in force and no others of
/// ours.
#[must_use]
pub fn install(rules: &Rules, present: Present) -> String {
    let mut text = String::from("*nat\n");
    for (chain, rules, found) in
        [(&OUTBOUND, &rules.outbound, present.outbound), (&INBOUND, &rules.inbound, present.inbound)]
    {
        if rules.is_empty() {
            take_away(&mut text, chain, found);
            continue;
        }
        // Makes the chain, or empties it.
        let _ = writeln!(text, ":{} - [0:0]", chain.name);
        for rule in rules {
            append(&mut text, chain, rule);
        }
        if found.jumps == 0 {
            // Before all others: the first redirection of a connection is its only one.
            let _ = writeln!(text, "-I {} 1 -j {}", chain.from, chain.name);
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// Input after which there is nothing of ours.
#[must_use]
pub fn remove(present: Present) -> String {
    install(&Rules::default(), present)
}

fn take_away(text: &mut String, chain: &Chain, found: Found) {
    for _ in 0..found.jumps {
        let _ = writeln!(text, "-D {}", jump(chain));
    }
    if found.chain {
        let _ = writeln!(text, "-F {0}\n-X {0}", chain.name);
    }
}

fn append(text: &mut String, chain: &Chain, rule: &Rule) {
    let to = match rule.to {
        Some(port) => format!("REDIRECT --to-ports {port}"),
        None => "RETURN".to_owned(),
    };
    for what in matching(&rule.what) {
        let _ = writeln!(text, "-A {} {what} -j {to}", chain.name);
    }
}

/// One or several: a rule of iptables takes only so many ports.
fn matching(what: &Match) -> Vec<String> {
    let by_ports = |ports: &[u16], before: &str| {
        ports
            .chunks(MULTIPORT)
            .map(|ports| {
                let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
                format!("-p tcp {before}-m multiport --dports {ports}")
            })
            .collect()
    };
    let one = match what {
        Match::Uid(uid) => format!("-m owner --uid-owner {uid}"),
        Match::Gid(gid) => format!("-m owner --gid-owner {gid}"),
        Match::To(cidr) => format!("-d {cidr}"),
        Match::ToLocal => "-m addrtype --dst-type LOCAL".to_owned(),
        Match::TcpTo(cidr) => format!("-d {cidr} -p tcp"),
        Match::UdpPort(port) => format!("-p udp -m udp --dport {port}"),
        Match::Tcp => "-p tcp".to_owned(),
        Match::TcpPorts(ports) => return by_ports(ports, ""),
        Match::TcpPortsFromElsewhere(ports) => return by_ports(ports, "-m addrtype ! --src-type LOCAL "),
    };
    vec![one]
}
