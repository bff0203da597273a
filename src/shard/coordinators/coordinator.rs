//! One partition of `__consumer_offsets` and its groups: what a call changes is appended as one batch, and what it
//! answers leaves when everything appended so far is as durable as `acks=all`. State that could not be stored is thrown
//! away and loaded again; who waits is told NOT_COORDINATOR, on which clients look for their coordinator and try again.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::coordinator::{
    Effects, GroupAnswer, GroupContext, GroupsPartition, RequestKind, Ticket, one_batch, several_batches,
};
use crate::error_code::ErrorCode;
use crate::log::{Claim, FULL_TRIES_MAX, LogError, OffsetReached, wait_for_room};
use crate::partition::{AppendError, Origin, Partition};
use crate::record::BatchError;
use crate::runtime;
use crate::runtime::sync::{Event, oneshot};
use crate::shard::Shard;
use crate::types::{KafkaUuid, Offset};

use super::world::World;

/// Groups that are looked at in one turn of the loop.
const LOOKS_PER_TURN: usize = 16;
/// How long what could not be stored of the groups' own accord waits to be tried again, as Kafka's timers do.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

pub(in crate::shard) struct Coordinator {
    pub partition: Rc<Partition>,
    phase: RefCell<Phase>,
    /// Counts the states this partition has had: what belongs to an earlier one ends by itself.
    run: Cell<u64>,
    /// Members' requests that have no answer yet.
    asked: RefCell<HashMap<Ticket, RequestKind>>,
    /// What is appended, or is to be, and not yet durable, in the order of the log.
    in_flight: RefCell<VecDeque<InFlight>>,
    pumping: Cell<bool>,
    /// On a full disk batches wait here until the first of them can be appended again.
    stalled: Cell<bool>,
    phase_changed: Event,
    /// The next look at a group has moved to an earlier time.
    look_moved: Event,
}

enum Phase {
    Loading,
    Active(Box<GroupsPartition>),
    /// Nothing can be stored any more: what is committed is shown, and that is all.
    ReadOnly(Box<GroupsPartition>),
    /// Nothing is answered here any more.
    Over(ErrorCode),
}

struct InFlight {
    /// As it was made, to be appended again where a full disk took it back.
    batch: Bytes,
    record_count: i64,
    /// Of the log behind it; a guess while it waits to be appended.
    end_offset: Offset,
    reached: Option<OffsetReached>,
    answers: Vec<(Ticket, GroupAnswer)>,
    done: Vec<oneshot::Sender<()>>,
}

/// How the records of a call go into the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::shard) enum Together {
    /// As one batch: after a crash all of them are there, or none.
    Yes,
    /// As batches of the usual size: each record stands for itself.
    No,
}

/// Whose call it is: who hears of what cannot be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Member(Ticket),
    Request,
    /// Nobody asked.
    Time,
}

/// Resolves when all that was appended until it was made is durable.
pub(in crate::shard) struct Durable(Option<oneshot::Receiver<()>>);

impl Durable {
    pub async fn wait(self) -> Result<(), ErrorCode> {
        match self.0 {
            None => Ok(()),
            Some(done) => done.await.map_err(|_| ErrorCode::NotCoordinator),
        }
    }

    /// Waits at most so long (`offsets.commit.timeout.ms`). What was appended can become durable all the same.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE when the time is over, as Kafka has it, on which clients try again.
    pub async fn wait_for(self, at_most: Duration) -> Result<(), ErrorCode> {
        runtime::timeout(at_most, self.wait()).await.unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))
    }
}

impl Coordinator {
    /// Coordinates nothing until it is [activated](Coordinator::activate).
    pub fn new(partition: Rc<Partition>) -> Rc<Coordinator> {
        Rc::new(Coordinator {
            partition,
            phase: RefCell::new(Phase::Loading),
            run: Cell::new(0),
            asked: RefCell::default(),
            in_flight: RefCell::default(),
            pumping: Cell::new(false),
            stalled: Cell::new(false),
            phase_changed: Event::new(),
            look_moved: Event::new(),
        })
    }

    /// Why it does not answer now.
    pub fn refusal(&self) -> Option<ErrorCode> {
        match &*self.phase.borrow() {
            Phase::Active(_) | Phase::ReadOnly(_) => None,
            Phase::Loading => Some(ErrorCode::CoordinatorLoadInProgress),
            Phase::Over(code) => Some(*code),
        }
    }

    /// Waits until its loading is over, at most so long. Says why it does not answer then.
    pub async fn wait_loaded(&self, at_most: Duration) -> Option<ErrorCode> {
        let changed = self.phase_changed.listen();
        let refusal = self.refusal();
        if refusal != Some(ErrorCode::CoordinatorLoadInProgress) {
            return refusal;
        }
        let _ = runtime::timeout(at_most, changed).await;
        self.refusal()
    }

    /// Counts up with each state that is thrown away.
    pub fn run(&self) -> u64 {
        self.run.get()
    }

    /// Begins to answer from loaded groups.
    pub fn activate(self: &Rc<Self>, shard: &Rc<Shard>, groups: GroupsPartition) {
        *self.phase.borrow_mut() = Phase::Active(Box::new(groups));
        if self.call_by(shard, By::Time, Together::Yes, |groups, _, ctx| groups.loaded(ctx)).is_err() {
            return;
        }
        self.phase_changed.notify_all();
        drop(runtime::spawn(Rc::clone(self).keep_time(Rc::clone(shard))));
    }

    /// Shows from now on what was loaded from a log that takes no more appends.
    pub fn show_only(&self, groups: GroupsPartition) {
        *self.phase.borrow_mut() = Phase::ReadOnly(Box::new(groups));
        self.phase_changed.notify_all();
    }

    /// Ends it for good: who waits is told `code`, and who comes later.
    pub fn end(&self, shard: &Rc<Shard>, code: ErrorCode) {
        *self.phase.borrow_mut() = Phase::Over(code);
        self.forget(shard);
    }

    /// A look at the groups that changes nothing.
    pub fn look<R>(&self, look: impl FnOnce(&GroupsPartition) -> R) -> Result<R, ErrorCode> {
        match &*self.phase.borrow() {
            Phase::Active(groups) | Phase::ReadOnly(groups) => Ok(look(groups)),
            Phase::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Over(code) => Err(*code),
        }
    }

    /// Has the groups answer a member, now or later.
    pub fn ask(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        ticket: Ticket,
        kind: RequestKind,
        call: impl FnOnce(&mut GroupsPartition, &mut GroupContext<'_>),
    ) {
        self.asked.borrow_mut().insert(ticket, kind);
        if let Err(code) = self.call_by(shard, By::Member(ticket), Together::Yes, |groups, _, ctx| call(groups, ctx))
            && self.asked.borrow_mut().remove(&ticket).is_some()
        {
            shard.answer_member(ticket, kind.refused(code));
        }
    }

    /// Calls the groups. Their records are appended when this returns; [`when_durable`](Self::when_durable) waits for
    /// the disk. The call is also given the offset at which its first record will stand.
    ///
    /// # Errors
    /// Why it does not answer now. UNKNOWN_SERVER_ERROR, as Kafka has it, if what came of the call is more than
    /// `max.message.bytes` of the topic allow.
    pub fn call<R>(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        together: Together,
        call: impl FnOnce(&mut GroupsPartition, i64, &mut GroupContext<'_>) -> R,
    ) -> Result<R, ErrorCode> {
        self.call_by(shard, By::Request, together, call)
    }

    fn call_by<R>(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        by: By,
        together: Together,
        call: impl FnOnce(&mut GroupsPartition, i64, &mut GroupContext<'_>) -> R,
    ) -> Result<R, ErrorCode> {
        let mut effects = Effects::default();
        let wall_ms = runtime::wall_ms();
        let run = self.run.get();
        let returned = {
            let mut phase = self.phase.borrow_mut();
            let groups = match &mut *phase {
                Phase::Active(groups) => groups,
                Phase::ReadOnly(_) => return Err(ErrorCode::NotCoordinator),
                Phase::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
                Phase::Over(code) => return Err(*code),
            };
            let view = shard.view();
            let look = groups.next_look();
            let mut ctx = GroupContext {
                now_ms: shard.coordinators.now_ms(),
                wall_ms,
                config: &view.config().groups,
                world: &World(&view),
                new_uuid: &mut KafkaUuid::random,
                effects: &mut effects,
            };
            let returned = call(groups, self.next_offset().0, &mut ctx);
            if let Some(next) = groups.next_look()
                && look.is_none_or(|look| next < look)
            {
                self.look_moved.notify_all();
            }
            returned
        };
        if let Err(error) = self.store(shard, &effects, together, wall_ms) {
            self.refuse(shard, by, &effects, &error);
            return Err(ErrorCode::UnknownServerError);
        }
        self.hand_out(shard, effects.answers);
        if self.run.get() == run { Ok(returned) } else { Err(ErrorCode::NotCoordinator) }
    }

    /// Waits for all that is appended by now.
    pub fn when_durable(&self) -> Durable {
        Durable(self.in_flight.borrow_mut().back_mut().map(|last| {
            let (sender, receiver) = oneshot::channel();
            last.done.push(sender);
            receiver
        }))
    }

    /// Where the next record will stand.
    fn next_offset(&self) -> Offset {
        match self.in_flight.borrow().back() {
            Some(last) => last.end_offset,
            None => self.partition.log.log_end_offset(),
        }
    }

    /// # Errors
    /// If it is too large; none of it is appended then.
    fn store(
        self: &Rc<Self>,
        shard: &Rc<Shard>,
        effects: &Effects,
        together: Together,
        wall_ms: i64,
    ) -> Result<(), BatchError> {
        if effects.records.is_empty() {
            return Ok(());
        }
        let max = self.partition.config().max_message_bytes as usize;
        let batches = match together {
            Together::Yes => vec![(one_batch(&effects.records, wall_ms), effects.records.len())],
            Together::No => several_batches(&effects.records, wall_ms, max),
        };
        if let Some((batch, _)) = batches.iter().find(|(batch, _)| batch.len() > max) {
            return Err(BatchError::TooLarge { size: batch.len() as u64, max: max as u64 });
        }
        for (batch, record_count) in batches {
            let mut entry = InFlight {
                batch: batch.freeze(),
                record_count: record_count as i64,
                end_offset: self.next_offset().plus(record_count as i64),
                reached: None,
                answers: Vec::new(),
                done: Vec::new(),
            };
            // What a full disk took back goes before what came later.
            let taken_back = self
                .in_flight
                .borrow()
                .back()
                .is_some_and(|last| last.end_offset != self.partition.log.log_end_offset());
            if self.stalled.get() || taken_back {
                self.stalled.set(true);
            } else if let Err(error) = self.append(&mut entry) {
                if matches!(error, LogError::DiskFull) {
                    self.stalled.set(true);
                } else {
                    self.fail(shard, &error);
                    return Ok(());
                }
            }
            self.in_flight.borrow_mut().push_back(entry);
        }
        if !self.pumping.replace(true) {
            drop(runtime::spawn(Rc::clone(self).pump(Rc::clone(shard))));
        }
        Ok(())
    }

    /// Nothing of a call was stored, but the groups go by it: they are loaded again. Who asked is told
    /// UNKNOWN_SERVER_ERROR (`CoordinatorOperationExceptionHelper`), for it would come to the same if it tried again.
    fn refuse(self: &Rc<Self>, shard: &Rc<Shard>, by: By, effects: &Effects, error: &BatchError) {
        if shard.log_shard.may_tell() {
            tracing::error!(
                partition = %self.partition.name,
                "what became of a group cannot be stored: {error}"
            );
        }
        let asking = if let By::Member(ticket) = by { Some(ticket) } else { None };
        for ticket in effects.answers.iter().map(|(ticket, _)| *ticket).chain(asking) {
            let kind = self.asked.borrow_mut().remove(&ticket);
            if let Some(kind) = kind {
                shard.answer_member(ticket, kind.refused(ErrorCode::UnknownServerError));
            }
        }
        *self.phase.borrow_mut() = Phase::Loading;
        self.forget(shard);
        let pause = if by == By::Time { RETRY_PAUSE } else { Duration::ZERO };
        drop(runtime::spawn(Rc::clone(self).load_again(Rc::clone(shard), pause)));
    }

    fn append(&self, entry: &mut InFlight) -> Result<(), LogError> {
        // Offsets are stamped into the batch, so the log is given a copy.
        let batch = BytesMut::from(&*entry.batch);
        match self.partition.append(batch, Origin::Coordinator, runtime::wall_ms()) {
            Ok(appended) => {
                entry.end_offset = appended.end_offset;
                entry.reached = Some(self.partition.wait_acknowledged(appended.end_offset, -1));
                Ok(())
            }
            Err(AppendError::Log(error)) => Err(error),
            Err(error) => Err(LogError::Corrupt { what: error.to_string().into() }),
        }
    }

    fn hand_out(&self, shard: &Rc<Shard>, answers: Vec<(Ticket, GroupAnswer)>) {
        if answers.is_empty() {
            return;
        }
        if let Some(last) = self.in_flight.borrow_mut().back_mut() {
            last.answers.extend(answers);
            return;
        }
        for (ticket, answer) in answers {
            // One that is not there any more was told of a failure.
            if self.asked.borrow_mut().remove(&ticket).is_some() {
                shard.answer_member(ticket, answer);
            }
        }
    }

    /// Hands out what waits for batches in flight, in their order.
    async fn pump(self: Rc<Self>, shard: Rc<Shard>) {
        let run = self.run.get();
        let mut tries = 0;
        loop {
            let reached = match self.in_flight.borrow_mut().front_mut() {
                None => break,
                Some(first) => first.reached.take(),
            };
            let result = match reached {
                Some(reached) => reached.await,
                None => Err(LogError::DiskFull),
            };
            if self.run.get() != run {
                return;
            }
            match result {
                Ok(()) => {
                    tries = 0;
                    let first = self.in_flight.borrow_mut().pop_front();
                    if let Some(InFlight { answers, done, .. }) = first {
                        for sender in done {
                            let _ = sender.send(());
                        }
                        for (ticket, answer) in answers {
                            if self.asked.borrow_mut().remove(&ticket).is_some() {
                                shard.answer_member(ticket, answer);
                            }
                        }
                    }
                }
                // A full disk keeps some room back for coordinators, and just now it is being released.
                Err(LogError::DiskFull)
                    if tries < FULL_TRIES_MAX && shard.log_shard.options().room.allows(Claim::Coordinator) =>
                {
                    tries += 1;
                    self.stalled.set(true);
                    wait_for_room().await;
                    if self.run.get() != run {
                        return;
                    }
                    if let Err(error) = self.append_again() {
                        return self.fail(&shard, &error);
                    }
                }
                Err(error) => return self.fail(&shard, &error),
            }
        }
        self.pumping.set(false);
    }

    /// Appends what a full disk took back, as far as there is room now.
    fn append_again(&self) -> Result<(), LogError> {
        let mut end_offset = self.partition.log.log_end_offset();
        let mut in_flight = self.in_flight.borrow_mut();
        let mut full = false;
        for entry in in_flight.iter_mut() {
            entry.end_offset = end_offset.plus(entry.record_count);
            entry.reached = None;
            if !full {
                match self.append(entry) {
                    Err(LogError::DiskFull) => full = true,
                    other => other?,
                }
            }
            end_offset = entry.end_offset;
        }
        self.stalled.set(full);
        Ok(())
    }

    /// What was to be stored could not be: the state says more than the log, and is loaded again.
    fn fail(self: &Rc<Self>, shard: &Rc<Shard>, error: &LogError) {
        if shard.log_shard.may_tell() {
            tracing::error!(partition = %self.partition.name, "what groups and offsets became could not be stored: {error}");
        }
        let is_over = matches!(error, LogError::Closed);
        *self.phase.borrow_mut() = if is_over { Phase::Over(ErrorCode::NotCoordinator) } else { Phase::Loading };
        self.forget(shard);
        if !is_over {
            drop(runtime::spawn(Rc::clone(self).load_again(Rc::clone(shard), Duration::ZERO)));
        }
    }

    /// Whatever belonged to the state until now ends.
    fn forget(&self, shard: &Rc<Shard>) {
        self.run.set(self.run.get() + 1);
        self.pumping.set(false);
        self.stalled.set(false);
        self.in_flight.borrow_mut().clear();
        let asked = std::mem::take(&mut *self.asked.borrow_mut());
        for (ticket, kind) in asked {
            shard.answer_member(ticket, kind.refused(ErrorCode::NotCoordinator));
        }
        self.phase_changed.notify_all();
        self.look_moved.notify_all();
    }

    async fn load_again(self: Rc<Self>, shard: Rc<Shard>, pause: Duration) {
        if !pause.is_zero() {
            let run = self.run.get();
            runtime::sleep(pause).await;
            if self.run.get() != run {
                return;
            }
        }
        let mut tries = 0;
        while tries < FULL_TRIES_MAX && !shard.log_shard.options().room.allows(Claim::Coordinator) {
            tries += 1;
            wait_for_room().await;
        }
        shard.load_coordinator(self).await;
    }

    /// Lets groups do what their time has come for.
    async fn keep_time(self: Rc<Self>, shard: Rc<Shard>) {
        let run = self.run.get();
        let mut looks = 0;
        loop {
            let moved = self.look_moved.listen();
            if self.run.get() != run {
                return;
            }
            let Ok(next) = self.look(GroupsPartition::next_look) else { return };
            let wait_ms = next.map(|at| at - shard.coordinators.now_ms());
            match wait_ms {
                None => moved.await,
                Some(wait_ms) if wait_ms > 0 => {
                    let _ = runtime::timeout(Duration::from_millis(wait_ms.unsigned_abs()), moved).await;
                }
                Some(_) => {
                    looks += 1;
                    if looks % LOOKS_PER_TURN == 0 {
                        runtime::yield_now().await;
                    }
                    if self.run.get() != run
                        || self.call_by(&shard, By::Time, Together::Yes, |groups, _, ctx| groups.on_time(ctx)).is_err()
                    {
                        return;
                    }
                }
            }
        }
    }
}
