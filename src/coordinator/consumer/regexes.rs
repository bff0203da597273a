//! Subscriptions by regular expression (KIP-848; `TopicRegexResolver`).
//!
//! Kafka takes RE2's syntax, whose matching takes time linear in the text whatever the expression. The crate `regex` gives the
//! same promise for nearly the same syntax. An expression stands for a topic if it matches the whole name.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use super::records::{ConsumerGroupRegularExpressionValue, REGULAR_EXPRESSION, encode_value};
use super::{ConsumerGroup, Refusal};
use crate::coordinator::{GroupContext, GroupWorld};
use crate::error_code::ErrorCode;
use crate::protocol::Str;

/// How often all expressions of a group are matched again at most, when topics keep changing
/// (`REGEX_BATCH_REFRESH_MIN_INTERVAL_MS`).
const REFRESH_INTERVAL_MIN_MS: i64 = 10_000;
/// The most that one compiled expression may take.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// The topics that an expression stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResolvedRegex {
    pub topics: BTreeSet<Box<str>>,
    pub version: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

impl ResolvedRegex {
    pub fn to_record(&self) -> ConsumerGroupRegularExpressionValue {
        ConsumerGroupRegularExpressionValue {
            topics: self.topics.iter().map(|topic| Str::from(&**topic)).collect(),
            version: self.version,
            timestamp: self.timestamp,
        }
    }

    pub fn from_record(record: &ConsumerGroupRegularExpressionValue) -> ResolvedRegex {
        ResolvedRegex {
            topics: record.topics.iter().map(|topic| topic.as_str().into()).collect(),
            version: record.version,
            timestamp: record.timestamp,
        }
    }
}

fn compile(regex: &str) -> Result<Regex, regex::Error> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(PROGRAM_BYTES_MAX).build();
    // By itself first: `a)|(b` would be none, and yet one between the parentheses.
    build(regex)?;
    build(&format!(r"\A(?:{regex})\z"))
}

/// Whether a new expression can be read.
pub fn check(regex: &str) -> Result<(), Refusal> {
    compile(regex).map(drop).map_err(|error| {
        let message = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}.");
        Refusal::new(ErrorCode::InvalidRegularExpression, message)
    })
}

fn matching(regex: &str, world: &dyn GroupWorld) -> BTreeSet<Box<str>> {
    // One that a Kafka took and we cannot read stands for no topic.
    let Ok(regex) = compile(regex) else { return BTreeSet::new() };
    world.topic_names().into_iter().filter(|topic| regex.is_match(topic)).map(Box::from).collect()
}

impl ConsumerGroup {
    pub(super) fn regex_subscribers(&self, regex: &str) -> usize {
        self.members.values().filter(|member| member.subscription.regex() == Some(regex)).count()
    }

    /// Matches expressions that are new to the group, and all of them if topics have changed or the last time is long ago.
    /// Returns whether one stands for other topics now.
    pub(super) fn match_regexes(&mut self, ctx: &mut GroupContext<'_>) -> bool {
        let wanted: BTreeSet<Box<str>> =
            self.members.values().filter_map(|member| member.subscription.regex()).map(Box::from).collect();
        if wanted.is_empty() {
            return false;
        }
        let since = self.regexes_matched_at.map_or(i64::MAX, |at| ctx.now_ms - at);
        let all = (self.regexes_are_old && since >= REFRESH_INTERVAL_MIN_MS)
            || since >= ctx.config.consumer.regex_refresh_interval_ms;
        let mut changed = false;
        for regex in wanted {
            let before = self.regexes.get(&regex);
            if before.is_some() && !all {
                continue;
            }
            let topics = matching(&regex, ctx.world);
            if before.is_some_and(|before| before.topics == topics) {
                continue;
            }
            let version = before.map_or(0, |before| before.version) + 1;
            let resolved = ResolvedRegex { topics, version, timestamp: ctx.wall_ms };
            let value = encode_value(&resolved.to_record());
            ctx.append(self.key(REGULAR_EXPRESSION, Some(&regex)), Some(value));
            self.regexes.insert(regex, resolved);
            changed = true;
        }
        if all {
            self.regexes_are_old = false;
            self.regexes_matched_at = Some(ctx.now_ms);
        }
        changed
    }

    /// Forgets an expression that no member subscribes to any more.
    pub(super) fn drop_regex(&mut self, regex: &str, ctx: &mut GroupContext<'_>) {
        if self.regex_subscribers(regex) == 0 && self.regexes.remove(regex).is_some() {
            ctx.append(self.key(REGULAR_EXPRESSION, Some(regex)), None);
        }
    }
}
