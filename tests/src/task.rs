//! A task as ECS makes them: a network namespace of its own with an address, and the world at the other end of a cable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netns::Netns;

/// Two namespaces joined by a cable. What the task knows no other way for goes to the world.
#[derive(Debug)]
pub struct Task {
    /// Where app and proxy live.
    pub inside: Netns,
    /// Where everybody else does.
    pub world: Netns,
}

impl Task {
    /// The task's own address.
    pub const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
    /// The world's address.
    pub const WORLD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
    /// The same over IPv6.
    pub const WORLD6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));

    /// Makes one.
    ///
    /// # Errors
    /// This machine doesn't let us.
    pub fn new() -> Result<Self, String> {
        let (inside, world) = (Netns::new()?, Netns::new()?);
        let pid = world.keeper().to_string();
        let ip = |netns: &Netns, line: &str| {
            netns.exec("ip", &line.split_whitespace().collect::<Vec<_>>()).map(drop)
        };
        ip(&inside, &format!("link add eth0 type veth peer name eth0 netns {pid}"))?;
        for (netns, host) in [(&inside, "2"), (&world, "1")] {
            ip(netns, &format!("address add 10.77.0.{host}/24 dev eth0"))?;
            // Without a look for others who have it, which takes a second or two.
            ip(netns, &format!("address add fd77::{host}/64 dev eth0 nodad"))?;
            ip(netns, "link set eth0 up")?;
        }
        ip(&inside, "route add default via 10.77.0.1")?;
        ip(&inside, "route add default via fd77::1")?;
        Ok(Task { inside, world })
    }

    /// Makes one, or says that the test is skipped because this machine doesn't let us, or lacks one of these programs.
    ///
    /// # Panics
    /// There is none, and `BOWLINE_REQUIRE_INTEROP` is set.
    #[must_use]
    pub fn or_skip(programs: &[&str]) -> Option<Self> {
        let made = Task::new().and_then(|task| {
            for program in programs {
                task.inside.exec(program, &["--version"])?;
            }
            Ok(task)
        });
        match made {
            Ok(task) => Some(task),
            Err(why) => {
                assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "{why}");
                eprintln!("SKIPPED: no task: {why}");
                None
            }
        }
    }

    /// Gives the world one more address.
    ///
    /// # Panics
    /// It can't have it.
    pub fn also(&self, ip: &str) {
        let mut line = vec!["address", "add", ip, "dev", "lo"];
        if ip.contains(':') {
            // Else it can't be bound for a moment.
            line.push("nodad");
        }
        self.world.exec("ip", &line).expect("an address");
    }
}
