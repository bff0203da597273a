//! The members of a classic group (Kafka's `ClassicGroupMember`), and what is kept about all of them together.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::coordinator::Ticket;
use crate::protocol::{JoinGroupRequest, Str};

/// A member of a classic group. Its texts and bytes are its own: none shares the buffer of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassicMember {
    pub member_id: Str,
    /// Of a static member (KIP-345).
    pub group_instance_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The protocols it offers with its metadata for each, the one it likes best first. No name comes twice.
    pub protocols: Vec<(Str, Bytes)>,
    /// What the leader gave it; empty if nothing.
    pub assignment: Bytes,
    /// Its JoinGroup that waits for the rebalance.
    pub(super) joining: Option<Joining>,
    /// Its SyncGroup that waits for the leader's.
    pub(super) syncing: Option<Ticket>,
    /// It has not seen a generation yet: its session counts even while it waits.
    pub(super) is_new: bool,
    /// When its session ends; `None` once that passed while it waited for an answer.
    pub(super) session_deadline: Option<i64>,
}

/// A JoinGroup that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Joining {
    pub ticket: Ticket,
    /// Of the request: what its answer looks like depends on it.
    pub version: i16,
}

impl ClassicMember {
    /// A member as another protocol knew it: with nothing assigned, and waiting for nothing.
    pub fn new(member_id: &str, group_instance_id: Option<&str>, client_id: &str, client_host: &str) -> ClassicMember {
        ClassicMember {
            member_id: member_id.into(),
            group_instance_id: group_instance_id.map(Str::from),
            client_id: client_id.into(),
            client_host: client_host.into(),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: false,
            session_deadline: None,
        }
    }

    /// What it said for a protocol; empty for one it does not offer.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    pub fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    /// Offers the same as before, in the same order.
    pub(super) fn matches(&self, protocols: &[(Str, Bytes)]) -> bool {
        self.protocols == protocols
    }

    /// Whoever waits for a rebalance cannot send heartbeats; only new members, which may be gone for good, are not
    /// trusted that far.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }
}

/// The protocols of a request, in buffers of their own. Of a name that comes twice the first counts.
pub(super) fn offered(request: &JoinGroupRequest) -> Vec<(Str, Bytes)> {
    let mut protocols: Vec<(Str, Bytes)> = Vec::with_capacity(request.protocols.len().min(16));
    for protocol in &request.protocols {
        if protocols.iter().all(|(name, _)| *name != protocol.name) {
            protocols.push((protocol.name.detached(), Bytes::copy_from_slice(&protocol.metadata)));
        }
    }
    protocols
}

/// All members, with what follows from them: who is which static member, how many offer each protocol, how many wait
/// in JoinGroup. In the order of their ids, so that the same requests always have the same outcome.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<Str, ClassicMember>,
    /// The member id of each static member.
    static_ids: HashMap<Str, Str>,
    /// How many members offer a protocol.
    offers: HashMap<Str, usize>,
    joining: usize,
}

impl Members {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many wait in JoinGroup.
    pub fn joining(&self) -> usize {
        self.joining
    }

    pub fn contains(&self, member_id: &str) -> bool {
        self.by_id.contains_key(member_id)
    }

    pub fn get(&self, member_id: &str) -> Option<&ClassicMember> {
        self.by_id.get(member_id)
    }

    /// For what nothing else follows from: timeouts, assignment, SyncGroup.
    pub fn get_mut(&mut self, member_id: &str) -> Option<&mut ClassicMember> {
        self.by_id.get_mut(member_id)
    }

    pub fn static_id(&self, group_instance_id: &str) -> Option<&Str> {
        self.static_ids.get(group_instance_id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ClassicMember> {
        self.by_id.values()
    }

    /// As [`Members::get_mut`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut ClassicMember> {
        self.by_id.values_mut()
    }

    pub fn insert(&mut self, member: ClassicMember) {
        debug_assert!(!self.contains(&member.member_id));
        if let Some(instance) = &member.group_instance_id {
            self.static_ids.insert(instance.clone(), member.member_id.clone());
        }
        self.count_offers(&member.protocols, 1);
        self.joining += usize::from(member.joining.is_some());
        self.by_id.insert(member.member_id.clone(), member);
    }

    pub fn remove(&mut self, member_id: &str) -> Option<ClassicMember> {
        let member = self.by_id.remove(member_id)?;
        self.count_offers(&member.protocols, -1);
        self.joining -= usize::from(member.joining.is_some());
        if let Some(instance) = &member.group_instance_id
            && self.static_ids.get(instance).is_some_and(|id| *id == member.member_id)
        {
            self.static_ids.remove(instance);
        }
        Some(member)
    }

    /// Takes the waiting JoinGroup of a member.
    pub fn take_joining(&mut self, member_id: &str) -> Option<Joining> {
        let joining = self.by_id.get_mut(member_id)?.joining.take();
        self.joining -= usize::from(joining.is_some());
        joining
    }

    /// Lets a member wait, with what its JoinGroup says; gives back the one that waited before.
    pub fn rejoin(&mut self, member_id: &str, rejoin: Rejoin) -> Option<Joining> {
        let member = self.by_id.get_mut(member_id)?;
        let old = std::mem::replace(&mut member.protocols, rejoin.protocols);
        let new = member.protocols.clone();
        member.rebalance_timeout_ms = rejoin.rebalance_timeout_ms;
        member.session_timeout_ms = rejoin.session_timeout_ms;
        let superseded = member.joining.replace(rejoin.joining);
        self.joining += usize::from(superseded.is_none());
        self.count_offers(&old, -1);
        self.count_offers(&new, 1);
        superseded
    }

    /// Every member offers it.
    pub fn all_offer(&self, protocol: &str) -> bool {
        self.offers.get(protocol).copied().unwrap_or(0) == self.len()
    }

    /// The protocol that most members like best of those that all offer. `None` without members.
    pub fn most_wanted(&self) -> Option<Str> {
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.by_id.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| self.all_offer(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        // Of equals, the first by name: the choice must not depend on who asks when.
        let best = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == best).map(|(name, _)| name.clone())
    }

    fn count_offers(&mut self, protocols: &[(Str, Bytes)], by: isize) {
        for (name, _) in protocols {
            let count = self.offers.get(name).copied().unwrap_or(0).saturating_add_signed(by);
            if count == 0 {
                self.offers.remove(name);
            } else {
                self.offers.insert(name.clone(), count);
            }
        }
    }
}

/// What a JoinGroup changes about a member.
pub(super) struct Rejoin {
    pub protocols: Vec<(Str, Bytes)>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub joining: Joining,
}
