use clap::Parser as _;

use super::rules::{Family, Rules};
use super::rules_iptables::{self, Present};
use super::{printed, rules_nft};
use crate::config::redirect::SetupRedirect;
use crate::config::{Cli, Command};

fn config(flags: &str) -> SetupRedirect {
    let args = ["bowline-proxy", "setup-redirect"].into_iter().chain(flags.split_whitespace());
    match Cli::try_parse_from(args).unwrap_or_else(|error| panic!("{error}")).command {
        Command::SetupRedirect(config) => *config,
        _ => unreachable!(),
    }
}

fn rules(flags: &str) -> Vec<(Family, Rules)> {
    let config = config(flags);
    config.check().unwrap();
    [Family::V4, Family::V6].map(|family| (family, Rules::new(&config, family))).into()
}

#[track_caller]
fn same(made: &str, expected: &str) {
    let trimmed = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| line.to_owned() + "\n")
            .collect::<String>()
    };
    let (made, expected) = (trimmed(made), trimmed(expected));
    assert!(made == expected, "made:\n{made}\nexpected:\n{expected}");
}

const CLEAN_SLATE: &str = "
    table ip bowline
    delete table ip bowline
    table ip6 bowline
    delete table ip6 bowline
";

#[test]
fn without_flags_only_the_vip_range_is_redirected() {
    let expected = "
        table ip bowline {
          chain outbound {
            type nat hook output priority -110; policy accept;
            ip daddr 169.254.170.2/32 return
            ip daddr 169.254.169.254/32 return
            ip daddr 127.255.0.0/16 meta l4proto tcp redirect to :15001
          }
        }";
    same(&rules_nft::install(&rules("")), &format!("{CLEAN_SLATE}{expected}"));
    let [(_, v4), (_, v6)] = &rules("")[..] else { unreachable!() };
    assert!(v6.is_empty());
    let expected = "
        *nat
        :BOWLINE_OUTBOUND - [0:0]
        -A BOWLINE_OUTBOUND -d 169.254.170.2/32 -j RETURN
        -A BOWLINE_OUTBOUND -d 169.254.169.254/32 -j RETURN
        -A BOWLINE_OUTBOUND -d 127.255.0.0/16 -p tcp -j REDIRECT --to-ports 15001
        -I OUTPUT 1 -j BOWLINE_OUTBOUND
        COMMIT";
    same(&rules_iptables::install(v4, Present::default()), expected);
}

const EVERYTHING: &str = "--vip-range 127.7.0.0/24 --outbound 0.0.0.0:1 --all-outbound --uid 20000 --gid 0 --exclude-cidrs \
                          10.1.0.0/16,fd01::/64 --exclude-ports 22,3306 --inbound-ports 9001,9002 --inbound-port 2 \
                          --dns --dns-port 3";

#[test]
fn all_flags_for_nft() {
    let expected = "
        table ip bowline {
          chain outbound {
            type nat hook output priority -110; policy accept;
            ip daddr 169.254.170.2/32 return
            ip daddr 169.254.169.254/32 return
            meta skuid 20000 return
            meta skgid 0 return
            udp dport 53 redirect to :3
            tcp dport { 53 } redirect to :3
            ip daddr 127.7.0.0/24 meta l4proto tcp redirect to :1
            ip daddr 10.1.0.0/16 return
            tcp dport { 22, 3306 } return
            fib daddr type local return
            meta l4proto tcp redirect to :1
          }
          chain inbound {
            type nat hook prerouting priority -110; policy accept;
            fib saddr type != local tcp dport { 9001, 9002 } redirect to :2
          }
        }
        table ip6 bowline {
          chain outbound {
            type nat hook output priority -110; policy accept;
            ip6 daddr fd00:ec2::254/128 return
            meta skuid 20000 return
            meta skgid 0 return
            udp dport 53 redirect to :3
            tcp dport { 53 } redirect to :3
            ip6 daddr fd01::/64 return
            tcp dport { 22, 3306 } return
            fib daddr type local return
            meta l4proto tcp redirect to :1
          }
          chain inbound {
            type nat hook prerouting priority -110; policy accept;
            fib saddr type != local tcp dport { 9001, 9002 } redirect to :2
          }
        }";
    same(&rules_nft::install(&rules(EVERYTHING)), &format!("{CLEAN_SLATE}{expected}"));
}

#[test]
fn all_flags_for_iptables() {
    let [(_, v4), (_, v6)] = &rules(EVERYTHING)[..] else { unreachable!() };
    let expected = "
        *nat
        :BOWLINE_OUTBOUND - [0:0]
        -A BOWLINE_OUTBOUND -d 169.254.170.2/32 -j RETURN
        -A BOWLINE_OUTBOUND -d 169.254.169.254/32 -j RETURN
        -A BOWLINE_OUTBOUND -m owner --uid-owner 20000 -j RETURN
        -A BOWLINE_OUTBOUND -m owner --gid-owner 0 -j RETURN
        -A BOWLINE_OUTBOUND -p udp -m udp --dport 53 -j REDIRECT --to-ports 3
        -A BOWLINE_OUTBOUND -p tcp -m multiport --dports 53 -j REDIRECT --to-ports 3
        -A BOWLINE_OUTBOUND -d 127.7.0.0/24 -p tcp -j REDIRECT --to-ports 1
        -A BOWLINE_OUTBOUND -d 10.1.0.0/16 -j RETURN
        -A BOWLINE_OUTBOUND -p tcp -m multiport --dports 22,3306 -j RETURN
        -A BOWLINE_OUTBOUND -m addrtype --dst-type LOCAL -j RETURN
        -A BOWLINE_OUTBOUND -p tcp -j REDIRECT --to-ports 1
        -I OUTPUT 1 -j BOWLINE_OUTBOUND
        :BOWLINE_INBOUND - [0:0]
        -A BOWLINE_INBOUND -p tcp -m addrtype ! --src-type LOCAL -m multiport --dports 9001,9002 -j REDIRECT --to-ports 2
        -I PREROUTING 1 -j BOWLINE_INBOUND
        COMMIT";
    same(&rules_iptables::install(v4, Present::default()), expected);
    let v6 = rules_iptables::install(v6, Present::default());
    assert!(v6.contains("-d fd00:ec2::254/128 -j RETURN") && v6.contains("-d fd01::/64 -j RETURN"), "{v6}");
    assert!(!v6.contains("127.") && !v6.contains("169.254"), "{v6}");
}

/// Sixteen: the rule that iptables would refuse is two.
#[test]
fn many_ports_take_several_rules_of_iptables() {
    let ports: Vec<_> = (9001..=9016).map(|port: u16| port.to_string()).collect();
    let [(_, v4), _] = &rules(&format!("--inbound-ports {}", ports.join(",")))[..] else { unreachable!() };
    let text = rules_iptables::install(v4, Present::default());
    let lines: Vec<_> = text.lines().filter(|line| line.contains("multiport")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("9001,") && lines[0].contains(",9015 "), "{text}");
    assert!(lines[1].contains("--dports 9016 "), "{text}");
}

#[test]
fn what_iptables_has_already_is_not_added_again_and_what_it_has_not_is_not_removed() {
    let [(_, v4), _] = &rules("")[..] else { unreachable!() };
    let saved = "# by somebody\n*nat\n:PREROUTING ACCEPT [1:2]\n:OUTPUT ACCEPT [0:0]\n:BOWLINE_OUTBOUND - [3:4]\n\
                 -A OUTPUT -j BOWLINE_OUTBOUND\n-A BOWLINE_OUTBOUND -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n";
    let present = Present::read(saved);
    assert!(!present.is_empty());
    let again = rules_iptables::install(v4, present);
    assert!(again.contains(":BOWLINE_OUTBOUND - [0:0]") && !again.contains("OUTPUT 1"), "{again}");
    same(
        &rules_iptables::remove(present),
        "*nat
        -D OUTPUT -j BOWLINE_OUTBOUND
        -F BOWLINE_OUTBOUND
        -X BOWLINE_OUTBOUND
        COMMIT",
    );
    let other = "*nat\n:BOWLINE_OUTBOUNDS - [0:0]\n-A OUTPUT -j BOWLINE_OUTBOUNDS\nCOMMIT\n";
    assert!(Present::read(other).is_empty(), "somebody else's");
    same(&rules_iptables::remove(Present::default()), "*nat\nCOMMIT");
    let twice = saved.replace("-A OUTPUT", "-A OUTPUT -j BOWLINE_OUTBOUND\n-A OUTPUT");
    assert_eq!(rules_iptables::remove(Present::read(&twice)).matches("-D OUTPUT").count(), 2);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (flags, word) in [
        ("--all-outbound", "--uid"),
        ("--dns --gid 1", "--uid"),
        ("--outbound 127.0.0.1:0", "port"),
        ("--outbound 10.0.0.1:15001", "127.0.0.1"),
        ("--outbound [::1]:15001", "127.0.0.1"),
    ] {
        let why = config(flags).check().expect_err(flags);
        assert!(why.contains(word), "{flags}: {why}");
        config(&format!("{flags} --remove")).check().expect("nothing is needed to remove them");
    }
    for flags in
        ["--exclude-ports 22", "--exclude-cidrs 10.0.0.0/8", "--inbound-ports 0", "--vip-range 10.0.0.0/8"]
    {
        let args = ["bowline-proxy", "setup-redirect"].into_iter().chain(flags.split_whitespace());
        assert!(Cli::try_parse_from(args).is_err(), "{flags}");
    }
    config("--all-outbound --gid 1").check().unwrap();
}

#[test]
fn what_is_printed_is_what_would_be_done() {
    let families = [Family::V4, Family::V6];
    let print = |flags: &str| printed(&config(flags), &families, &rules(flags));
    assert_eq!(print("--backend nft"), rules_nft::install(&rules("")));
    assert_eq!(print("--backend nft --remove"), rules_nft::remove(&families));
    let iptables = print("--backend iptables");
    assert!(iptables.starts_with("# iptables-restore --noflush\n*nat\n"), "{iptables}");
    assert!(!iptables.contains("ip6tables"), "{iptables}");
    let both = print("--backend iptables --remove");
    assert_eq!(both.matches("-X BOWLINE_").count(), 4, "{both}");
}
