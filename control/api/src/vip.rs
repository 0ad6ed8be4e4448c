//! VIPs: which loopback address each dnsName gets.
//!
//! The rule is frozen, because an address must not change between releases: see [`hash`] and [`allocate`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How long the address of a name that vanished is not given to another, in seconds: clients may have it cached, and
/// must not reach a stranger.
pub const RESERVED_SECONDS: u64 = 86_400;

/// The addresses that VIPs are taken from: a network inside 127.0.0.0/8, default 127.255.0.0/16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VipRange {
    network: u32,
    prefix: u8,
}

impl VipRange {
    /// 127.255.0.0/16.
    pub const DEFAULT: Self = Self { network: u32::from_be_bytes([127, 255, 0, 0]), prefix: 16 };

    /// The network's first address, which is never given out.
    #[must_use]
    pub const fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }

    /// The length of the network prefix, 8 to 30.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The network's last address, which is never given out: the kernel takes 127.255.255.255 for a broadcast.
    #[must_use]
    pub const fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + (self.size() - 1))
    }

    /// Whether the address lies in the network.
    #[must_use]
    pub const fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() >> (32 - self.prefix) == self.network >> (32 - self.prefix)
    }

    /// Whether the address can be a VIP: inside the network, neither its first nor its last address, and not in
    /// 127.0.0.0/24, where localhost and the resolvers of Docker (127.0.0.11) and systemd (127.0.0.53) live.
    #[must_use]
    pub fn is_usable(&self, address: Ipv4Addr) -> bool {
        self.contains(address)
            && address != self.network()
            && address != self.broadcast()
            && address.octets()[..3] != [127, 0, 0]
    }

    const fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The addresses between first and last.
    const fn hosts(&self) -> u32 {
        self.size() - 2
    }
}

impl Default for VipRange {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for VipRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

impl FromStr for VipRange {
    type Err = VipRangeError;

    fn from_str(text: &str) -> Result<Self, VipRangeError> {
        let error = |why| VipRangeError { text: text.to_owned(), why };
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| error("expected ADDRESS/PREFIX, e.g. 127.255.0.0/16"))?;
        let address: Ipv4Addr = address.parse().map_err(|_| error("the address is not IPv4"))?;
        let prefix: u8 = prefix.parse().map_err(|_| error("the prefix is not a number from 8 to 30"))?;
        if !(8..=30).contains(&prefix) {
            return Err(error("the prefix is not a number from 8 to 30"));
        }
        if !address.is_loopback() {
            return Err(error(
                "it is not inside 127.0.0.0/8, and other addresses can't be bound without setup",
            ));
        }
        let range = Self { network: address.to_bits(), prefix };
        if address.to_bits() & (range.size() - 1) != 0 {
            return Err(error("the address has bits set beyond the prefix"));
        }
        if range.network().octets()[..3] == [127, 0, 0] && prefix >= 24 {
            return Err(error("127.0.0.0/24 is localhost's own"));
        }
        Ok(range)
    }
}

/// Why a text is no VIP range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipRangeError {
    text: String,
    why: &'static str,
}

impl fmt::Display for VipRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no VIP range: {}", self.text, self.why)
    }
}

impl std::error::Error for VipRangeError {}

/// An address as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The address.
    pub vip: Ipv4Addr,
    /// When the name was last in the mesh, in seconds since 1970.
    pub last_seen: u64,
}

/// What [`allocate`] decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// The address of every name.
    pub vips: BTreeMap<String, Ipv4Addr>,
    /// What to record for the next time: every name, and those that vanished less than a day ago.
    pub record: BTreeMap<String, Recorded>,
}

/// Why addresses could not be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VipError {
    /// More names than addresses.
    Full {
        /// The range.
        range: VipRange,
        /// The first name that got none.
        name: String,
        /// How many addresses of vanished names are kept back.
        reserved: usize,
    },
    /// A pinned address that can't be a VIP.
    Unusable {
        /// The name it was pinned for.
        name: String,
        /// The address.
        vip: Ipv4Addr,
        /// The range.
        range: VipRange,
    },
    /// One address pinned for two names.
    PinnedTwice {
        /// The address.
        vip: Ipv4Addr,
        /// The names, in order.
        names: [String; 2],
    },
}

impl fmt::Display for VipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { range, name, reserved } => {
                write!(f, "the VIP range {range} is full: no address for {name}")?;
                if *reserved > 0 {
                    write!(f, " ({reserved} are kept for a day for names that vanished)")?;
                }
                Ok(())
            }
            Self::Unusable { name, vip, range } => {
                write!(f, "{vip}, pinned for {name}, is not a usable address of the VIP range {range}")
            }
            Self::PinnedTwice { vip, names: [a, b] } => write!(f, "{vip} is pinned for both {a} and {b}"),
        }
    }
}

impl std::error::Error for VipError {}

/// Gives every name its address. `names` are lower-cased dnsNames with the address their `vip:` pins, if any; `now` is
/// in seconds since 1970.
///
/// 1. A pinned name gets its pin, even if another name had that address.
/// 2. A name with a recorded address keeps it, if it is still usable and not pinned for another.
/// 3. Any other name, in alphabetical order, gets the address at `1 + hash(name) % (size - 2)` in the range, or the next
///    after it (wrapping round) that is free. Not free are also the addresses of names that vanished less than a day
///    ago.
///
/// The outcome depends on nothing but the arguments.
///
/// # Errors
/// When the range is full, or pins are unusable or the same.
pub fn allocate(
    range: VipRange,
    names: &BTreeMap<String, Option<Ipv4Addr>>,
    recorded: &BTreeMap<String, Recorded>,
    now: u64,
) -> Result<Allocation, VipError> {
    let mut owners: BTreeMap<Ipv4Addr, &str> = BTreeMap::new();
    let mut vips = BTreeMap::new();
    for (name, pin) in names {
        let Some(vip) = *pin else { continue };
        if !range.is_usable(vip) {
            return Err(VipError::Unusable { name: name.clone(), vip, range });
        }
        if let Some(other) = owners.insert(vip, name) {
            return Err(VipError::PinnedTwice { vip, names: [other.to_owned(), name.clone()] });
        }
        vips.insert(name.clone(), vip);
    }
    for (name, entry) in recorded {
        let wanted = names.get(name).is_some_and(Option::is_none);
        if wanted && range.is_usable(entry.vip) && !owners.contains_key(&entry.vip) {
            owners.insert(entry.vip, name);
            vips.insert(name.clone(), entry.vip);
        }
    }
    // An entry from a clock that ran ahead counts as just seen; it can't be reserved for longer than a day from now.
    let vanished: BTreeMap<&String, &Recorded> = recorded
        .iter()
        .filter(|(name, entry)| {
            !names.contains_key(*name) && now.saturating_sub(entry.last_seen) < RESERVED_SECONDS
        })
        .collect();
    let mut taken: BTreeSet<Ipv4Addr> = owners.keys().copied().collect();
    taken.extend(vanished.values().map(|entry| entry.vip));
    for name in names.keys() {
        if vips.contains_key(name) {
            continue;
        }
        let Some(vip) = probe(range, name, &taken) else {
            return Err(VipError::Full { range, name: name.clone(), reserved: vanished.len() });
        };
        taken.insert(vip);
        vips.insert(name.clone(), vip);
    }
    let record = vips
        .iter()
        .map(|(name, vip)| (name.clone(), Recorded { vip: *vip, last_seen: now }))
        .chain(vanished.into_iter().map(|(name, entry)| {
            (name.clone(), Recorded { vip: entry.vip, last_seen: entry.last_seen.min(now) })
        }))
        .collect();
    Ok(Allocation { vips, record })
}

/// The first free address from the name's own on.
fn probe(range: VipRange, name: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let hosts = range.hosts();
    // The remainder is less than `hosts`, a u32.
    let start = u32::try_from(hash(name) % u64::from(hosts)).unwrap_or(0);
    (0..hosts)
        .map(|step| Ipv4Addr::from_bits(range.network + 1 + (start + step) % hosts))
        .find(|address| range.is_usable(*address) && !taken.contains(address))
}

/// FNV-1a, 64 bits, over the bytes of the name. Frozen: another hash would give every mesh other addresses.
#[must_use]
pub fn hash(name: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    name.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests;
