//! `setup-redirect`: rules in the kernel that lead an app's connections to the proxy, and their removal. Everything that
//! is installed is text first ([`rules`], [`rules_nft`], [`rules_iptables`]), so that it can be looked at (`--print`) and
//! tested without a kernel; [`tools`] runs the programs that the kernel is told by.

pub mod rules;
pub mod rules_iptables;
pub mod rules_nft;
mod tools;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use self::rules::{Family, Rules};
use self::rules_iptables::Present;
use self::tools::{Failed, Tool};
use crate::config::redirect::{Backend, Cidr, SetupRedirect};

/// There is such a folder where the kernel has IPv6 and it has not been switched off at boot.
const IPV6: &str = "/proc/sys/net/ipv6";

/// Does what the flags ask for. What was done, or why not, is told on stderr.
#[must_use]
pub fn run(config: &SetupRedirect) -> ExitCode {
    if let Err(why) = config.check() {
        eprintln!("bowline-proxy: {why}");
        return ExitCode::from(2);
    }
    let families: &[Family] = match Path::new(IPV6).exists() {
        true => &[Family::V4, Family::V6],
        false => &[Family::V4],
    };
    let rules: Vec<_> = families.iter().map(|family| (*family, Rules::new(config, *family))).collect();
    if config.print {
        print!("{}", printed(config, families, &rules));
        return ExitCode::SUCCESS;
    }
    let outcome = match config.remove {
        true => remove(config.backend, families),
        false => install(config.backend, &rules),
    };
    match outcome {
        Ok(by) if config.remove => eprintln!("bowline-proxy: no rules of ours are left ({by})"),
        Ok(by) => {
            eprintln!("bowline-proxy: {} ({by})", told(config));
            if families.len() == 1 && (config.all_outbound || config.dns || !config.inbound_ports.is_empty())
            {
                eprintln!("bowline-proxy: IPv6 is left out: the kernel has none");
            }
        }
        Err(why) => {
            eprintln!("bowline-proxy: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What is redirected, for a person.
fn told(config: &SetupRedirect) -> String {
    let mut parts = Vec::new();
    let port = config.outbound.port();
    parts.push(match config.all_outbound {
        true => format!("all outbound TCP connections are redirected to port {port}"),
        false => {
            format!("TCP connections to {} are redirected to port {port}", Cidr::from(config.vip_range))
        }
    });
    if config.dns {
        parts.push(format!("DNS queries to port {}", config.dns_port));
    }
    if !config.inbound_ports.is_empty() {
        let ports = config.inbound_ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        parts.push(format!("what comes in for {ports} to port {}", config.inbound_port));
    }
    parts.join("; ")
}

fn printed(config: &SetupRedirect, families: &[Family], rules: &[(Family, Rules)]) -> String {
    let by_iptables = match config.backend {
        Backend::Iptables => true,
        Backend::Nft => false,
        Backend::Auto => tools::find("nft").is_none() && tools::find("iptables-restore").is_some(),
    };
    if !by_iptables {
        return match config.remove {
            true => rules_nft::remove(families),
            false => rules_nft::install(rules),
        };
    }
    rules
        .iter()
        .filter(|(_, rules)| config.remove || !rules.is_empty())
        .map(|(family, rules)| {
            let text = match config.remove {
                true => rules_iptables::remove(Present::ALL),
                false => rules_iptables::install(rules, Present::default()),
            };
            format!("# {} --noflush\n{text}", Tool::Restore(*family).name())
        })
        .collect()
}

/// Returns what it was done by.
fn install(backend: Backend, rules: &[(Family, Rules)]) -> Result<&'static str, Failed> {
    match backend {
        Backend::Nft => nft(&rules_nft::install(rules)),
        Backend::Iptables => iptables(rules),
        Backend::Auto => match nft(&rules_nft::install(rules)) {
            Ok(by) => Ok(by),
            Err(failed) if failed.is_without_right() => Err(failed),
            // A kernel may have no nf_tables, and an old one no redirection in it.
            Err(failed) => match iptables(rules) {
                Err(other) if other.is_missing() => match failed.is_missing() {
                    true => Err(Failed::Neither),
                    false => Err(failed),
                },
                Ok(by) => {
                    if !failed.is_missing() {
                        eprintln!("bowline-proxy: {failed}; iptables was used instead");
                    }
                    Ok(by)
                }
                Err(other) => Err(other),
            },
        },
    }
}

/// By whatever they may have been installed: `auto` looks at both.
fn remove(backend: Backend, families: &[Family]) -> Result<&'static str, Failed> {
    let by_nft = || nft(&rules_nft::remove(families));
    let none: Vec<_> = families.iter().map(|family| (*family, Rules::default())).collect();
    match backend {
        Backend::Nft => by_nft(),
        Backend::Iptables => iptables(&none),
        Backend::Auto => match (by_nft(), iptables(&none)) {
            (Ok(_), Ok(_)) => Ok("nft, iptables"),
            (Err(nft), Err(iptables)) if nft.is_missing() && iptables.is_missing() => Err(Failed::Neither),
            (Ok(by), Err(failed)) | (Err(failed), Ok(by)) if failed.is_missing() => Ok(by),
            (Err(failed), _) | (_, Err(failed)) => Err(failed),
        },
    }
}

fn nft(text: &str) -> Result<&'static str, Failed> {
    Tool::Nft.feed(text)?;
    Ok("nft")
}

fn iptables(rules: &[(Family, Rules)]) -> Result<&'static str, Failed> {
    for (family, rules) in rules {
        let done = || -> Result<(), Failed> {
            let present = Present::read(&Tool::Save(*family).ask()?);
            if rules.is_empty() && present.is_empty() {
                return Ok(());
            }
            Tool::Restore(*family).feed(&rules_iptables::install(rules, present))
        };
        match done() {
            Ok(()) => {}
            Err(failed) if *family == Family::V6 && failed.is_missing() => {
                if !rules.is_empty() {
                    eprintln!("bowline-proxy: {} is left out: {failed}", family.as_str());
                }
            }
            Err(failed) => return Err(failed),
        }
    }
    Ok("iptables")
}
