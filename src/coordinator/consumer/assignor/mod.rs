//! Who is to own what: the assignors of the broker (`group.consumer.assignors`).

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use super::member::Partitions;
use crate::types::TopicId;

/// A member, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct MemberSpec<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    /// Topics that exist, each in `GroupSpec::topics`.
    pub topics: BTreeSet<TopicId>,
    /// What it was to own up to now.
    pub target: Option<&'a Partitions>,
}

/// A group, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct GroupSpec<'a> {
    pub members: Vec<MemberSpec<'a>>,
    /// The count of partitions of each topic.
    pub topics: BTreeMap<TopicId, i32>,
}

impl GroupSpec<'_> {
    /// Whether all members are subscribed to the same topics.
    fn is_homogeneous(&self) -> bool {
        self.members.windows(2).all(|pair| matches!(pair, [a, b] if a.topics == b.topics))
    }
}

/// An assignor of the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assignor {
    /// Equal shares, and as few moves as possible (`UniformAssignor`).
    Uniform,
    /// Consecutive partitions of each topic (`RangeAssignor`), so that equally partitioned topics go together.
    Range,
}

impl Assignor {
    pub fn by_name(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// What each member is to own, in the order of `spec.members`.
    pub fn assign(self, spec: &GroupSpec<'_>) -> Vec<Partitions> {
        match self {
            Assignor::Uniform => uniform::assign(spec),
            Assignor::Range => range::assign(spec),
        }
    }
}
