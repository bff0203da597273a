//! Who sends much takes turns with everybody else.
//!
//! The kernel copies what is sent, and on a loopback receives it too, while it takes the entries of a turn: some hundred
//! microseconds a megabyte, in which nothing else of the shard moves. A request that comes in several receives waits for as
//! many turns, so readers of much would starve producers, the more of them there are. Hence a turn sends so many bytes at
//! most, the sends that find no room wait for the next ones in their order, and a long send is cut into pieces that queue
//! anew. There is no timer: while somebody waits, the next turn follows at once.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// What one operation sends at most: what a consumer asks of a partition unless it is told otherwise. Pieces of a quarter of it,
/// measured with ten readers, move a quarter less, since both ends find less in their caches.
pub(super) const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// What a turn sends in pieces worth counting, the rest of the last of them aside.
const TURN_BYTES: usize = 1024 * 1024;

/// A send of less goes at once: it costs hardly more than the request that it answers.
const COUNTED_BYTES_MIN: usize = 16 * 1024;

/// A place in the queue for the next turns.
pub(super) struct Claim {
    bytes: usize,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Claim {
    /// Whether its turn has come; else the waker is told when it does.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.granted.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// What is left of this turn, and who waits for the next ones.
#[derive(Default)]
pub(super) struct SendShare {
    left: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Claim>>>,
}

impl SendShare {
    /// Room to send so many bytes in this turn: none if it is there, else the place to wait at. Dropping that gives it up.
    pub fn claim(&self, bytes: usize) -> Option<Rc<Claim>> {
        let mut waiting = self.waiting.borrow_mut();
        if bytes < COUNTED_BYTES_MIN || (waiting.is_empty() && self.left.get() > 0) {
            self.take(bytes);
            return None;
        }
        let claim = Rc::new(Claim { bytes, granted: Cell::new(false), waker: RefCell::default() });
        waiting.push_back(Rc::clone(&claim));
        Some(claim)
    }

    fn take(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes));
    }

    /// Waits for room to send so many bytes.
    pub fn room(&self, bytes: usize) -> impl Future<Output = ()> + use<> {
        let claim = self.claim(bytes);
        poll_fn(move |cx| claim.as_ref().map_or(Poll::Ready(()), |claim| claim.poll(cx)))
    }

    pub fn is_wanted(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// A new turn: lets go on who waited, as far as it has room.
    pub fn next_turn(&self) {
        self.left.set(TURN_BYTES);
        while self.left.get() > 0 {
            let Some(claim) = self.waiting.borrow_mut().pop_front() else { break };
            if Rc::strong_count(&claim) == 1 {
                // Nobody waits there any more.
                continue;
            }
            self.take(claim.bytes);
            claim.granted.set(true);
            let waker = claim.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_room_for_so_much_and_the_rest_waits_in_order() {
        let share = SendShare::default();
        let mut context = Context::from_waker(Waker::noop());
        share.next_turn();
        let piece = TURN_BYTES / 4;
        let claims: Vec<_> = (0..12).map(|_| share.claim(piece)).collect();
        let at_once = claims.iter().take_while(|claim| claim.is_none()).count();
        assert_eq!(at_once, 4);
        let mut waiting: Vec<_> = claims.into_iter().flatten().collect();
        assert_eq!(waiting.len(), 8, "who comes later does not overtake");
        assert!(share.claim(COUNTED_BYTES_MIN - 1).is_none(), "little goes at once");
        assert!(share.is_wanted());
        // Who gives up keeps nobody waiting.
        drop(waiting.remove(0));
        share.next_turn();
        let granted: Vec<bool> = waiting.iter().map(|claim| claim.poll(&mut context).is_ready()).collect();
        let expected: Vec<bool> = (0..waiting.len()).map(|at| at < at_once).collect();
        assert_eq!(granted, expected);
        share.next_turn();
        assert!(waiting.iter().all(|claim| claim.poll(&mut context).is_ready()));
        assert!(!share.is_wanted() && share.claim(piece).is_none(), "the turn had room left");
    }

    #[test]
    fn a_piece_larger_than_a_turn_goes_alone() {
        let share = SendShare::default();
        share.next_turn();
        assert!(share.claim(2 * TURN_BYTES).is_none());
        let next = share.claim(COUNTED_BYTES_MIN).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(next.poll(&mut context).is_pending());
        share.next_turn();
        assert!(next.poll(&mut context).is_ready());
    }
}
