//! Members' requests: from the shard of their connection to that of their group, and the answers back.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use crate::coordinator::{Caller, GroupAnswer, GroupRequest, RequestKind, Ticket};
use crate::error_code::ErrorCode;
use crate::runtime;
use crate::runtime::sync::oneshot;
use crate::shard::Shard;
use crate::shard::message::{GroupCall, ShardReply, ShardRequest};
use crate::types::ShardId;

/// A ticket is the asking shard and that shard's own number for the request.
const TOKEN_BITS: u32 = 48;

fn ticket(from: ShardId, token: u64) -> Ticket {
    Ticket(u64::from(from.0) << TOKEN_BITS | token)
}

fn asker(ticket: Ticket) -> (ShardId, u64) {
    (ShardId((ticket.0 >> TOKEN_BITS) as u16), ticket.0 & ((1 << TOKEN_BITS) - 1))
}

/// Who asks, as groups keep it of their members.
pub struct MemberClient {
    pub client_id: String,
    pub address: IpAddr,
    pub api_version: i16,
}

/// A request whose asker may go away before its answer is there.
struct Asked {
    shard: Rc<Shard>,
    token: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shard.coordinators.asked.borrow_mut().remove(&self.token);
    }
}

impl Shard {
    /// Has the shard of a group answer a member, which may take as long as a rebalance. Dropping the future leaves the
    /// answer to nobody; that the member asked stays.
    pub async fn ask_group(
        self: &Rc<Self>,
        owner: ShardId,
        request: GroupRequest,
        client: MemberClient,
    ) -> GroupAnswer {
        let kind = request.kind();
        let token = self.coordinators.next_token.get();
        self.coordinators.next_token.set(token + 1);
        let (sender, receiver) = oneshot::channel();
        self.coordinators.asked.borrow_mut().insert(token, sender);
        let asked = Asked { shard: Rc::clone(self), token };
        let MemberClient { client_id, address, api_version } = client;
        let call = GroupCall { token, request, client_id, client_address: address, api_version };
        let _: ShardReply = self.call(owner, ShardRequest::Group(Box::new(call))).await;
        let answer = receiver.await;
        drop(asked);
        answer.unwrap_or_else(|_| kind.refused(ErrorCode::NotCoordinator))
    }

    /// Takes a member's request for a group of this shard.
    pub(in crate::shard) fn take_group_call(self: &Rc<Self>, from: ShardId, call: Box<GroupCall>) {
        let ticket = ticket(from, call.token);
        match self.coordinator_of(call.request.group_id()) {
            Err(code) => self.answer_member(ticket, call.request.kind().refused(code)),
            Ok(coordinator) if coordinator.refusal() == Some(ErrorCode::CoordinatorLoadInProgress) => {
                let shard = Rc::clone(self);
                drop(runtime::spawn(async move {
                    match shard.loaded_coordinator_of(call.request.group_id()).await {
                        Ok(_) => shard.take_group_call(from, call),
                        Err(code) => shard.answer_member(ticket, while_loading(call.request.kind(), code)),
                    }
                }));
            }
            Ok(coordinator) => {
                let client_host = java_address(call.client_address);
                let caller =
                    Caller { client_id: &call.client_id, client_host: &client_host, api_version: call.api_version };
                let request = &call.request;
                coordinator.ask(self, ticket, request.kind(), |groups, ctx| {
                    groups.handle(ticket, request, caller, ctx);
                });
            }
        }
    }

    /// Sends an answer to the shard that asked.
    pub(super) fn answer_member(self: &Rc<Self>, ticket: Ticket, answer: GroupAnswer) {
        let (shard, token) = asker(ticket);
        if shard == self.id {
            self.take_answer(token, answer);
        } else {
            let sent = self.call(shard, ShardRequest::Answered(token, Box::new(answer)));
            drop(runtime::spawn(async move { drop(sent.await) }));
        }
    }

    /// Takes the answer to a request of this shard's; its asker may be gone with its connection.
    pub(in crate::shard) fn take_answer(&self, token: u64, answer: GroupAnswer) {
        let sender = self.coordinators.asked.borrow_mut().remove(&token);
        if let Some(sender) = sender {
            let _ = sender.send(answer);
        }
    }
}

/// A member that only says it is there is told that all is well: it is as good as any (`GroupCoordinatorService.heartbeat`).
fn while_loading(kind: RequestKind, code: ErrorCode) -> GroupAnswer {
    let is_well = kind == RequestKind::Heartbeat && code == ErrorCode::CoordinatorLoadInProgress;
    kind.refused(if is_well { ErrorCode::None } else { code })
}

/// An address as Java prints it (`InetAddress.toString`), which shortens no zeros of IPv6.
fn java_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => java_v6(address),
    }
}

fn java_v6(address: Ipv6Addr) -> String {
    let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:x}")).collect();
    format!("/{}", groups.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_its_asker() {
        for (shard, token) in [(0, 0), (3, 7), (u16::MAX, (1 << TOKEN_BITS) - 1)] {
            assert_eq!(asker(ticket(ShardId(shard), token)), (ShardId(shard), token));
        }
    }

    #[test]
    fn addresses_look_as_java_prints_them() {
        for (address, printed) in
            [("127.0.0.1", "/127.0.0.1"), ("::ffff:10.1.2.3", "/10.1.2.3"), ("::1", "/0:0:0:0:0:0:0:1")]
        {
            assert_eq!(java_address(address.parse().unwrap()), printed);
        }
    }
}
