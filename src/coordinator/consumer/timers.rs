//! What is due when nobody asks: sessions and rebalances that took too long.

use super::ConsumerGroup;
use crate::coordinator::GroupContext;

impl ConsumerGroup {
    /// When something is due, in `now_ms`.
    pub fn next_deadline(&self) -> Option<i64> {
        self.members.values().map(|member| member.timers.next()).min()
    }

    /// Does what is due.
    pub fn on_time(&mut self, ctx: &mut GroupContext<'_>) {
        let now = ctx.now_ms;
        let mut fenced = Vec::new();
        for (id, member) in &mut self.members {
            let timers = &mut member.timers;
            let epoch = member.owned.epoch;
            let rebalance_failed = timers.rebalance.is_some_and(|(at, of)| at <= now && of == epoch);
            timers.rebalance = timers.rebalance.filter(|(at, _)| *at > now);
            let classic_gone = timers.join.is_some_and(|at| at <= now) || timers.sync.is_some_and(|at| at <= now);
            if timers.session <= now || rebalance_failed || classic_gone {
                fenced.push(id.clone());
            }
        }
        if !fenced.is_empty() {
            self.remove_members(&fenced, ctx);
        }
    }
}
