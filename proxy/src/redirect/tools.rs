//! The programs by which the kernel is told: found, fed, and what they say when they fail put into words.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::rules::Family;

/// Where they live; images often have a `PATH` without these.
const SBIN: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// A program that we run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// `nft`.
    Nft,
    /// `iptables-restore` or `ip6tables-restore`.
    Restore(Family),
    /// `iptables-save` or `ip6tables-save`.
    Save(Family),
}

/// Why it could not be done.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is no such program.
    Missing(&'static str),
    /// There is neither nft nor iptables.
    Neither,
    /// It could not be run.
    NotRun(&'static str, std::io::Error),
    /// It ran, and refused.
    Refused(&'static str, String),
}

impl Failed {
    /// Whether the program is not there.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(self, Failed::Missing(_))
    }

    /// Whether we may not change the rules.
    pub(super) fn is_without_right(&self) -> bool {
        matches!(self, Failed::Refused(_, said) if ["not permitted", "ermission denied", "must be root"]
            .iter()
            .any(|words| said.contains(words)))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Missing("nft") => f.write_str("nft was not found: the image needs the package nftables"),
            Failed::Neither => f.write_str(
                "neither nft nor iptables-restore was found: the image needs one of the packages nftables or iptables",
            ),
            Failed::Missing(program) => {
                write!(f, "{program} was not found: the image needs the package iptables")
            }
            Failed::NotRun(program, error) => write!(f, "{program} can't be run: {error}"),
            Failed::Refused(program, said) if self.is_without_right() => write!(
                f,
                "{program}: {said}\nRules are for root with the capability NET_ADMIN: run it in an init container that \
                 has it (ECS on EC2: user 0 and linuxParameters.capabilities.add; docker: --cap-add NET_ADMIN). On \
                 Fargate it is not to be had: use VIP listeners with a private DNS zone, or HTTP_PROXY"
            ),
            Failed::Refused(program, said) => write!(f, "{program}: {said}"),
        }
    }
}

/// The program's path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

impl Tool {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Tool::Nft => "nft",
            Tool::Restore(Family::V4) => "iptables-restore",
            Tool::Restore(Family::V6) => "ip6tables-restore",
            Tool::Save(Family::V4) => "iptables-save",
            Tool::Save(Family::V6) => "ip6tables-save",
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Tool::Nft => &["-f", "-"],
            // Somebody else may be at it; the kernel lets one in at a time.
            Tool::Restore(_) => &["--noflush", "--wait=5"],
            Tool::Save(_) => &["-t", "nat"],
        }
    }

    /// Runs it with this as its input.
    ///
    /// # Errors
    /// It is not there, or refuses; then nothing has changed.
    pub(super) fn feed(self, text: &str) -> Result<(), Failed> {
        self.run(text).map(drop)
    }

    /// Runs it for what it prints.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub(super) fn ask(self) -> Result<String, Failed> {
        let output = self.run("")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run(self, input: &str) -> Result<Output, Failed> {
        let program = self.name();
        let path = find(program).ok_or(Failed::Missing(program))?;
        let not_run = |error| Failed::NotRun(program, error);
        let mut command = Command::new(path);
        command.args(self.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its messages are looked at.
        command.env("LC_ALL", "C");
        let mut child = command.spawn().map_err(not_run)?;
        if let Some(mut stdin) = child.stdin.take() {
            // Some kilobytes at most, which a pipe holds. One that has ended already says why on stderr.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(not_run)?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failed::Refused(program, if said.is_empty() { output.status.to_string() } else { said }))
    }
}
