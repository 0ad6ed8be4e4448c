//! The book-keeping of one type of resource on one stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{MAX_NAME_BYTES, MAX_NAMES, MESSAGE_BYTES, Nack, SessionError, TypeState};
use crate::kind::ClientKind;
use crate::resource::{Resource, ResourceType};
use crate::resources::Resources;

/// What a response may have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// What is new, and what is gone.
    Everything,
    /// Only what is new: what is gone is still named by something that the client has.
    KeepRemoved,
}

/// One type on one stream.
#[derive(Debug)]
pub(super) struct Typed {
    resource_type: ResourceType,
    pub(super) wildcard: bool,
    /// The client has asked for something, be it nothing.
    pub(super) begun: bool,
    /// Who asks for something by name is never taken to ask for everything by silence again.
    pub(super) by_name: bool,
    /// What it has asked for by name, and what it has.
    pub(super) slots: BTreeMap<Arc<str>, Slot>,
    /// What is to be looked at: it may have changed, or is asked for.
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// Names have come into it since it was looked through, or the world has changed.
    unchecked: bool,
    /// Names that need an answer even if there is nothing of that name.
    pub(super) asked: BTreeSet<Arc<str>>,
    /// Names of which the client waits for the resource, even if it has it.
    pub(super) repeat: BTreeSet<Arc<str>>,
    /// Names that were refused together with others: each is sent alone, to see which it was.
    pub(super) alone: BTreeSet<Arc<str>>,
    /// An answer is due even if it is empty.
    pub(super) owed: bool,
    /// State of the world only: what was in the last list.
    pub(super) listed: BTreeMap<Arc<str>, Arc<Resource>>,
    /// Everything is to be looked at.
    all: bool,
    outstanding: Option<Outstanding>,
    acknowledged: u64,
    /// How many slots there were when they were packed last.
    packed: usize,
    pushes: u64,
    nacks: u64,
    last_nack: Option<String>,
}

/// From so many slots on it is worth the work to pack them.
const PACK_FROM: usize = 32;

/// A name that the client has asked for, or has something of. In one word, as there is one for each resource of each
/// client: the upper 63 bits of the version's hash, and whether it was asked for by name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot(u64);

impl Slot {
    const NAMED: u64 = 1;

    /// What of a hash is kept: never 0, which is no version.
    pub(super) const fn kept(hash: u64) -> u64 {
        match hash & !Self::NAMED {
            0 if hash != 0 => 2,
            kept => kept,
        }
    }

    /// The version that the client has, or has been sent, as [`Self::kept`]; 0: none. One that it refused is as good as
    /// had: it isn't sent again.
    pub(super) const fn hash(self) -> u64 {
        self.0 & !Self::NAMED
    }

    /// Asked for by name.
    pub(super) const fn named(self) -> bool {
        self.0 & Self::NAMED != 0
    }

    pub(super) const fn set_hash(&mut self, hash: u64) {
        *self = self.with_hash(hash);
    }

    const fn with_hash(self, hash: u64) -> Self {
        Slot(Self::kept(hash) | self.0 & Self::NAMED)
    }

    pub(super) const fn set_named(&mut self) {
        self.0 |= Self::NAMED;
    }
}

/// A version that no resource has: the client has one, and it isn't known which.
pub(super) const SOME_VERSION: u64 = u64::MAX;

#[derive(Debug)]
struct Outstanding {
    nonce: u64,
    revision: u64,
    /// With it the client has everything of that revision.
    complete: bool,
    names: Vec<Arc<str>>,
}

impl Typed {
    pub(super) fn new(resource_type: ResourceType) -> Self {
        Typed {
            resource_type,
            wildcard: false,
            begun: false,
            by_name: false,
            slots: BTreeMap::new(),
            dirty: BTreeSet::new(),
            unchecked: false,
            asked: BTreeSet::new(),
            repeat: BTreeSet::new(),
            alone: BTreeSet::new(),
            owed: false,
            listed: BTreeMap::new(),
            all: false,
            outstanding: None,
            acknowledged: 0,
            packed: 0,
            pushes: 0,
            nacks: 0,
            last_nack: None,
        }
    }

    pub(super) fn resource_type(&self) -> ResourceType {
        self.resource_type
    }

    pub(super) fn wildcard(&self) -> bool {
        self.wildcard
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.slots.iter().filter(|(_, slot)| slot.named()).map(|(name, _)| name)
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.begun
    }

    pub(super) fn outstanding(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Something of this type is under way, or is to be sent.
    pub(super) fn is_busy(&self) -> bool {
        self.outstanding() || !self.dirty.is_empty() || self.owed
    }

    pub(super) fn has_something_to_add(&self, resources: &Resources) -> bool {
        self.dirty.iter().any(|name| resources.get(self.resource_type, name).is_some())
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.slots.get(name).is_some_and(|slot| slot.named())
    }

    /// Whether a first request without names means everything: it does for these two, by an old rule.
    pub(super) fn silence_is_all(&self) -> bool {
        matches!(self.resource_type, ResourceType::Cluster | ResourceType::Listener)
    }

    /// The world has changed here.
    pub(super) fn changed(&mut self, name: &Arc<str>) {
        if !self.all && self.begun && self.wants(name) {
            self.look_at(name.clone());
        }
    }

    fn look_at(&mut self, name: Arc<str>) {
        self.unchecked = true;
        self.dirty.insert(name);
    }

    /// The world is another one: what was still to be sent may not be any more.
    pub(super) fn check_again(&mut self) {
        self.unchecked = true;
    }

    /// Nobody knows what has changed.
    pub(super) fn look_at_all(&mut self) {
        self.all = self.begun;
    }

    /// The client wants everything from now on.
    pub(super) fn want_all(&mut self) {
        self.wildcard = true;
        self.owed = true;
        self.all = true;
    }

    /// The client asks for a name: it gets an answer, whatever it had.
    pub(super) fn want(&mut self, name: String) -> Result<(), SessionError> {
        let resource_type = self.resource_type;
        if name.len() > MAX_NAME_BYTES {
            return Err(SessionError::LongName { resource_type });
        }
        let name: Arc<str> = name.into();
        let slot = self.slots.entry(name.clone()).or_default();
        slot.set_named();
        slot.set_hash(0);
        self.look_at(name.clone());
        self.asked.insert(name);
        Ok(())
    }

    /// Checks how many names it asks for.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        if self.slots.len() > MAX_NAMES && self.names().count() > MAX_NAMES {
            return Err(SessionError::TooMany { resource_type: self.resource_type, most: MAX_NAMES });
        }
        Ok(())
    }

    /// The client doesn't ask for a name any more. Who wants all still gets it, and is told what it is.
    pub(super) fn leave(&mut self, name: &str) {
        self.asked.remove(name);
        self.repeat.remove(name);
        self.alone.remove(name);
        if let Some((name, _)) = self.slots.remove_entry(name)
            && self.wildcard
        {
            self.look_at(name);
        } else {
            self.dirty.remove(name);
        }
    }

    /// The client doesn't want all any more, only what it has named.
    pub(super) fn leave_all(&mut self) {
        self.wildcard = false;
        self.slots.retain(|_, slot| slot.named());
        let slots = &self.slots;
        self.dirty.retain(|name| slots.contains_key(name));
    }

    /// Makes "everything" a list of names.
    pub(super) fn expand(&mut self, resources: &Resources) {
        if !self.all {
            return;
        }
        self.all = false;
        self.unchecked = true;
        self.dirty.extend(
            self.slots
                .iter()
                .filter(|(_, slot)| slot.named() || slot.hash() != 0)
                .map(|(name, _)| name.clone()),
        );
        if self.wildcard {
            self.dirty.extend(resources.all(self.resource_type).map(|resource| resource.name.clone()));
        }
    }

    /// Takes the names out for which there is nothing to say.
    pub(super) fn forget_what_is_unchanged(&mut self, kind: ClientKind, resources: &Resources) {
        // A large first answer goes out in many parts, and is looked through once.
        if !std::mem::take(&mut self.unchecked) || self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|name| {
            let slot = self.slots.get(name).copied().unwrap_or_default();
            let wanted = self.wildcard || slot.named();
            match resources.get(self.resource_type, name) {
                _ if !wanted => false,
                // Who has a list keeps it until the new one is whole; our own proxies put the two together.
                Some(resource) if resource.partial && kind != ClientKind::Bowline && slot.hash() != 0 => {
                    false
                }
                Some(resource) => Slot::kept(resource.hash) != slot.hash() || self.repeat.contains(name),
                None => slot.hash() != 0 || self.asked.contains(name),
            }
        });
        self.dirty = dirty;
        let dirty = &self.dirty;
        self.asked.retain(|name| dirty.contains(name));
    }

    /// What is up to date without any answer is as good as acknowledged.
    pub(super) fn note_acknowledged(&mut self, revision: u64) {
        if self.begun && !self.is_busy() {
            self.acknowledged = revision;
        }
    }

    pub(super) fn acknowledged(&self, revision: u64) -> u64 {
        if self.is_busy() { self.acknowledged } else { revision }
    }

    /// The client waits for the resource of that name: to be sent now if it has asked for it, else when it does.
    pub(super) fn repeat(&mut self, name: &Arc<str>) {
        self.repeat.insert(name.clone());
        if self.wants(name) {
            self.look_at(name.clone());
        }
    }

    /// The client has been sent this one. `true`: it had another version of it.
    pub(super) fn sent(&mut self, resource: &Arc<Resource>) -> bool {
        self.asked.remove(&resource.name);
        self.repeat.remove(&resource.name);
        self.alone.remove(&resource.name);
        match self.slots.get_mut(&resource.name) {
            Some(slot) if slot.hash() != 0 => {
                let before = std::mem::replace(slot, slot.with_hash(resource.hash));
                before.hash() != slot.hash()
            }
            _ => {
                // With the name that all share, and not the one that the request brought.
                let slot = self.slots.remove(&resource.name).unwrap_or_default();
                self.slots.insert(resource.name.clone(), slot.with_hash(resource.hash));
                false
            }
        }
    }

    /// The client has been told that there is none of that name.
    pub(super) fn gone(&mut self, name: &str) {
        self.asked.remove(name);
        self.repeat.remove(name);
        self.alone.remove(name);
        match self.slots.get_mut(name) {
            Some(slot) if slot.named() => slot.set_hash(0),
            _ => drop(self.slots.remove(name)),
        }
    }

    /// A response goes out.
    pub(super) fn push(&mut self, nonce: u64, revision: u64, names: Vec<Arc<str>>) {
        self.owed = false;
        self.pushes += 1;
        let complete = self.dirty.is_empty();
        self.outstanding = Some(Outstanding { nonce, revision, complete, names });
    }

    /// The client answers a response. `None`: one that is not the last. `apart`: it may have refused good ones together
    /// with a bad one, so that each is sent again, alone.
    pub(super) fn answered(
        &mut self,
        nonce: &str,
        error: Option<String>,
        apart: bool,
    ) -> Option<Result<u64, Nack>> {
        let named = |outstanding: &mut Outstanding| nonce.parse() == Ok(outstanding.nonce);
        let outstanding = self.outstanding.take_if(named)?;
        let Some(message) = error else {
            if outstanding.complete {
                self.acknowledged = self.acknowledged.max(outstanding.revision);
                self.pack();
            }
            return Some(Ok(self.acknowledged));
        };
        self.nacks += 1;
        if apart && outstanding.names.len() > 1 {
            for name in &outstanding.names {
                match self.slots.get_mut(name) {
                    Some(slot) => slot.set_hash(0),
                    None => drop(self.asked.insert(name.clone())),
                }
                self.unchecked = true;
                self.dirty.insert(name.clone());
                self.alone.insert(name.clone());
            }
        }
        let names = match outstanding.names {
            only if only.len() == 1 => only,
            several => several.into_iter().filter(|name| mentions(&message, name)).collect(),
        };
        let message = shortened(message);
        self.last_nack = Some(message.clone());
        Some(Err(Nack { resource_type: self.resource_type, names, message }))
    }

    /// A map that has grown name by name is little more than half full. Once the client has everything, it grows no more
    /// for long: made anew it is full.
    fn pack(&mut self) {
        if self.slots.len() >= PACK_FROM.max(2 * self.packed) {
            self.packed = self.slots.len();
            self.slots = std::mem::take(&mut self.slots).into_iter().collect();
        }
    }

    pub(super) fn state(&self) -> TypeState {
        TypeState {
            resource_type: self.resource_type,
            wildcard: self.wildcard,
            names: self.names().count(),
            acknowledged: self.acknowledged,
            outstanding: self.outstanding(),
            pushes: self.pushes,
            nacks: self.nacks,
            last_nack: self.last_nack.clone(),
        }
    }
}

/// Whether a name stands in a text by itself, and not as a part of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        // A full stop behind it ends a sentence.
        let after = after.strip_prefix('.').filter(|rest| !rest.starts_with(part)).unwrap_or(after);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

/// Envoy puts the reason at the end, behind the whole resource; we put it first.
fn shortened(message: String) -> String {
    if message.len() <= MESSAGE_BYTES {
        return message;
    }
    let (mut first, mut last) = (MESSAGE_BYTES / 4, message.len() - MESSAGE_BYTES * 3 / 4);
    while !message.is_char_boundary(first) {
        first -= 1;
    }
    while !message.is_char_boundary(last) {
        last += 1;
    }
    format!("{} … {}", &message[..first], &message[last..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_only_by_itself() {
        assert!(mentions("cluster \"server\": duplicate", "server"));
        assert!(mentions("there is no server.", "server"));
        assert!(!mentions("cluster \"server-v2\": duplicate", "server"));
        assert!(!mentions("api.server", "server"));
        assert!(mentions("server-v2 and server", "server"));
    }

    #[test]
    fn a_slot_keeps_version_and_name_apart() {
        let mut slot = Slot::default();
        assert_eq!((slot.hash(), slot.named()), (0, false));
        for hash in [1, 2, 0x1234_5678_9abc_def1, SOME_VERSION] {
            slot.set_hash(hash);
            assert_eq!((slot.hash(), slot.named()), (Slot::kept(hash), false));
            assert_ne!(slot.hash(), 0, "{hash} is a version");
        }
        slot.set_named();
        slot.set_hash(0);
        assert_eq!((slot.hash(), slot.named()), (0, true));
        slot.set_hash(4);
        assert_eq!((slot.hash(), slot.named()), (4, true));
    }

    #[test]
    fn packing_loses_nothing() {
        let mut typed = Typed::new(ResourceType::Cluster);
        for n in 0..100_u64 {
            typed.want(format!("service-{n}")).unwrap();
            typed.slots.values_mut().last().unwrap().set_hash(n);
        }
        let before: Vec<_> = typed.slots.iter().map(|(name, slot)| (name.clone(), slot.0)).collect();
        typed.pack();
        assert_eq!(typed.packed, 100);
        let after: Vec<_> = typed.slots.iter().map(|(name, slot)| (name.clone(), slot.0)).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn long_reasons_keep_both_ends() {
        let long = format!("first{}last", "ü".repeat(5000));
        let short = shortened(long);
        assert!(short.starts_with("first") && short.ends_with("last") && short.len() < MESSAGE_BYTES + 20);
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
