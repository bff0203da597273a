//! A producer: takes what is due by its schedule (or as much as the broker takes), fills batches, and sends them over a
//! connection to each leader.
//!
//! The schedule never waits. When too many requests are in flight, records that are due fill the batches behind them, as
//! in Kafka's own producers, and their latency counts from when they were due.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use corelane::{
    protocol::{
        ApiKey, Message, ProduceRequest, ProduceResponse, Reader, Records, RequestHeader, ResponseHeader, Str, Writer,
        produce::{PartitionProduceData, TopicProduceData},
    },
    record::{self, BATCH_HEADER_BYTES, increment_sequence},
    runtime::{self, sync::Event},
};
use rand::{SeedableRng, rngs::SmallRng};

use super::{
    context::Context,
    measure::{Due, SentBatch},
    pipe::{Frames, Pipe},
    schedule::Schedule,
    template,
    verify::Acknowledged,
};
use crate::{
    client::Client,
    cluster,
    error::{Error, code_name},
};

const REQUEST_TIMEOUT_MS: i32 = 30_000;
/// With keys nobody knows when a batch will be full, so what is due is looked at this often.
const KEYED_TICK_NS: u64 = 500_000;
/// However far away the next record is, the end may come sooner.
const WAIT_NS_MAX: u64 = 50_000_000;

pub struct Producer {
    context: Rc<Context>,
    number: u32,
    topic: Str,
    idempotent: Option<record::Producer>,
    links: Vec<Link>,
    lanes: RefCell<Vec<Lane>>,
    /// The partition that records without keys go to now.
    current: Cell<usize>,
    /// Something was answered, or went wrong.
    news: Event,
    failure: RefCell<Option<Error>>,
}

/// A connection to one leader.
struct Link {
    pipe: Rc<Pipe<Request>>,
    in_flight: Cell<usize>,
    lanes: Vec<usize>,
    /// Which of them comes first in the next request.
    turn: Cell<usize>,
    correlation_id: Cell<i32>,
}

struct Request {
    correlation_id: i32,
    batches: Vec<SentBatch>,
}

/// One partition of the topic.
struct Lane {
    partition: i32,
    global: u32,
    queue: VecDeque<Open>,
    sequence: i32,
    /// The number of its next record, and of its next batch.
    record: u64,
    batch: u64,
}

/// A batch that is being filled, or waits to be sent.
struct Open {
    template: usize,
    count: u32,
    count_max: u32,
    due: Due,
}

impl Open {
    fn is_full(&self) -> bool {
        self.count >= self.count_max
    }
}

impl Producer {
    /// Connects to the leaders of the topic's partitions.
    pub async fn open(context: Rc<Context>, number: u32) -> Result<Rc<Producer>, Error> {
        let plan = Rc::clone(&context);
        let workload = &plan.plan.workload;
        let topic_index = (number / workload.producers) as usize;
        let topic = &plan.plan.cluster.topics[topic_index];
        let first_global =
            plan.plan.cluster.topics[..topic_index].iter().map(|t| t.leaders.len()).sum::<usize>() as u32;
        let mut idempotent = None;
        if workload.idempotence {
            let mut client = Client::connect(topic.leaders[0]).await?;
            idempotent = Some(cluster::producer_id(&mut client, plan.plan.cluster.versions).await?);
        }
        let mut by_leader: Vec<(SocketAddr, Vec<usize>)> = Vec::new();
        for (lane, leader) in topic.leaders.iter().enumerate() {
            match by_leader.iter_mut().find(|(address, _)| address == leader) {
                Some((_, lanes)) => lanes.push(lane),
                None => by_leader.push((*leader, vec![lane])),
            }
        }
        let mut links = Vec::new();
        for (address, lanes) in by_leader {
            let pipe = Pipe::connect(address).await?;
            let turn = Cell::new(number as usize % lanes.len());
            links.push(Link { pipe, in_flight: Cell::new(0), lanes, turn, correlation_id: Cell::new(0) });
        }
        let lane = |partition: usize| Lane {
            partition: partition as i32,
            global: first_global + partition as u32,
            queue: VecDeque::new(),
            sequence: 0,
            record: 0,
            batch: u64::from(number),
        };
        let count = topic.leaders.len();
        Ok(Rc::new(Producer {
            number,
            topic: Str::from(&topic.name),
            idempotent,
            links,
            lanes: RefCell::new((0..count).map(lane).collect()),
            current: Cell::new(number as usize % count),
            news: Event::new(),
            failure: RefCell::default(),
            context,
        }))
    }

    /// Sends until the schedule, the measured time or the count of records ends, then waits for the answers.
    pub async fn run(self: Rc<Self>) -> Result<(), Error> {
        let mut tasks = Vec::new();
        for link in 0..self.links.len() {
            let this = Rc::clone(&self);
            tasks.push(runtime::spawn(async move { this.watch(this.read_answers(link).await) }));
            let this = Rc::clone(&self);
            tasks.push(runtime::spawn(async move { this.watch(this.write(link).await) }));
        }
        let produce = self.context.plan.produce;
        let outcome = match produce {
            Some(produce) if produce.rate > 0.0 => self.open_loop(produce.rate).await,
            Some(produce) => self.closed_loop(produce.records_max).await,
            None => Ok(()),
        };
        for task in tasks {
            task.cancel().await;
        }
        let now = self.context.now_ns();
        for link in &self.links {
            for batch in link.pipe.take_waiting().iter().flat_map(|request| &request.batches) {
                self.context.recorder.unanswered(&batch.due, batch.count, now);
            }
        }
        for open in self.lanes.borrow().iter().flat_map(|lane| &lane.queue) {
            self.context.recorder.unanswered(&open.due, open.count, now);
        }
        outcome
    }

    async fn open_loop(&self, rate: f64) -> Result<(), Error> {
        let (workload, times) = (&self.context.plan.workload, self.context.times());
        let producers = workload.producers_total();
        let mut schedule = Schedule::new(rate, producers, self.number, times.start_ns, times.measure_to_ns);
        let linger_ns = (workload.linger_ms * 1e6) as u64;
        let mut random = SmallRng::seed_from_u64(workload.seed ^ (u64::from(self.number) << 20));
        let mut next = 0;
        loop {
            let news = self.news.listen();
            self.check()?;
            let now = self.context.now_ns();
            schedule.end_ns = self.context.measure_to_ns();
            next = self.take_due(&schedule, next, now, &mut random);
            // Nothing comes any more that would be worth waiting for.
            let last = !schedule.has(next);
            let mut wake_ns = now + WAIT_NS_MAX;
            for link in &self.links {
                wake_ns = wake_ns.min(self.send_due(link, now, linger_ns, last)?);
            }
            if (last && self.is_idle()) || now >= times.drain_to_ns || self.context.stop.stops_all() {
                return Ok(());
            }
            if !last {
                wake_ns = wake_ns.min(self.next_look(&schedule, next, now, linger_ns));
            }
            let wait = Duration::from_nanos(wake_ns.saturating_sub(self.context.now_ns()));
            if wait.is_zero() {
                runtime::yield_now().await;
            } else {
                let _ = runtime::timeout(wait, news).await;
            }
        }
    }

    /// When there is something to do again, if no answer comes: with nothing in hand, when the next record's batch has
    /// to leave; sooner if it will be full before.
    fn next_look(&self, schedule: &Schedule, next: u64, now: u64, linger_ns: u64) -> u64 {
        if self.context.plan.templates.keys().is_some() {
            return (now + KEYED_TICK_NS).max(schedule.due_ns(next));
        }
        let lanes = self.lanes.borrow();
        let lane = &lanes[self.current.get()];
        let filling = lane.queue.back().filter(|open| !open.is_full());
        let room = filling.map_or_else(|| self.count_max(lane), |open| open.count_max - open.count);
        let full_ns = schedule.due_ns(next + u64::from(room.max(1)) - 1);
        // What is in hand already has its own time, which `send_due` told.
        if filling.is_some() { full_ns } else { full_ns.min(schedule.due_ns(next) + linger_ns) }
    }

    /// Puts the records that are due into batches; gives the number of the first that is not.
    fn take_due(&self, schedule: &Schedule, mut next: u64, now: u64, random: &mut SmallRng) -> u64 {
        let due = schedule.due_by(now);
        let mut lanes = self.lanes.borrow_mut();
        if let Some(keys) = self.context.plan.templates.keys() {
            while next < due {
                let open = self.filling(&mut lanes[keys.partition(random)]);
                let due_ns = schedule.due_ns(next);
                match &mut open.due {
                    Due::Each(each) => each.push(due_ns),
                    even @ Due::Even { .. } => *even = Due::Each(vec![due_ns]),
                }
                open.count += 1;
                next += 1;
            }
            return next;
        }
        while next < due {
            let current = self.current.get();
            let open = self.filling(&mut lanes[current]);
            if open.count == 0 {
                open.due = Due::Even { first_ns: schedule.due_ns(next), step_ns: schedule.step_ns };
            }
            let taken = (due - next).min(u64::from(open.count_max - open.count));
            open.count += taken as u32;
            next += taken;
            if open.is_full() {
                self.current.set((current + 1) % lanes.len());
            }
        }
        next
    }

    /// The batch of a partition that takes the next record.
    fn filling<'a>(&self, lane: &'a mut Lane) -> &'a mut Open {
        if lane.queue.back().is_none_or(Open::is_full) {
            let open = self.open_batch(lane, Due::Even { first_ns: 0, step_ns: 0.0 });
            lane.queue.push_back(open);
        }
        lane.queue.back_mut().expect("one was just added")
    }

    fn open_batch(&self, lane: &mut Lane, due: Due) -> Open {
        let template = self.context.plan.templates.pick(lane.partition as usize, lane.batch);
        let open = Open { template, count: 0, count_max: self.count_max(lane), due };
        lane.batch += 1;
        open
    }

    fn count_max(&self, lane: &Lane) -> u32 {
        let plan = &self.context.plan;
        match &plan.identities {
            Some(identities) => identities.records_per_batch(plan.workload.batch_bytes),
            None => plan.templates.get(plan.templates.pick(lane.partition as usize, lane.batch)).count(),
        }
    }

    /// Sends the batches that are full or have waited long enough, as far as requests may be in flight. Gives the time
    /// at which the next one will have waited long enough.
    fn send_due(&self, link: &Link, now: u64, linger_ns: u64, last: bool) -> Result<u64, Error> {
        let in_flight_max = self.context.plan.workload.in_flight;
        loop {
            let mut next_ns = u64::MAX;
            let mut ready = Vec::new();
            {
                let lanes = self.lanes.borrow();
                for &lane in &link.lanes {
                    let Some(front) = lanes[lane].queue.front() else { continue };
                    let leaves_ns = front.due.first_ns() + linger_ns;
                    if front.is_full() || last || leaves_ns <= now {
                        ready.push(lane);
                    } else {
                        next_ns = next_ns.min(leaves_ns);
                    }
                }
            }
            if ready.is_empty() {
                return Ok(next_ns);
            }
            if link.in_flight.get() >= in_flight_max {
                // An answer will wake us.
                return Ok(u64::MAX);
            }
            let turn = link.turn.get() % ready.len();
            ready.rotate_left(turn);
            let mut batches = Vec::new();
            let mut bytes = 0;
            let mut lanes = self.lanes.borrow_mut();
            for lane in ready {
                let open = lanes[lane].queue.pop_front().expect("it was ready");
                if lane == self.current.get() && lanes[lane].queue.is_empty() {
                    self.current.set((lane + 1) % lanes.len());
                }
                let batch = self.make(&mut lanes[lane], open);
                bytes += batch.sent.wire_bytes as usize;
                batches.push(batch);
                if bytes >= self.context.plan.workload.request_bytes {
                    break;
                }
            }
            link.turn.set(link.turn.get() + batches.len());
            drop(lanes);
            self.send(link, batches)?;
        }
    }

    async fn closed_loop(&self, records_max: Option<u64>) -> Result<(), Error> {
        let (workload, times) = (&self.context.plan.workload, self.context.times());
        let producers = u64::from(workload.producers_total());
        let share = |all: u64| all / producers + u64::from(u64::from(self.number) < all % producers);
        let mut left = records_max.map_or(u64::MAX, share);
        loop {
            let news = self.news.listen();
            self.check()?;
            let now = self.context.now_ns();
            let over = left == 0 || now >= self.context.measure_to_ns();
            if (over && self.is_idle()) || now >= times.drain_to_ns || self.context.stop.stops_all() {
                return Ok(());
            }
            if !over {
                for link in &self.links {
                    while left > 0 && link.in_flight.get() < workload.in_flight {
                        left -= self.send_full(link, left)?;
                    }
                }
            }
            let _ = runtime::timeout(Duration::from_nanos(WAIT_NS_MAX), news).await;
        }
    }

    /// Sends one request of full batches, of at most `left` records; gives how many it has.
    fn send_full(&self, link: &Link, left: u64) -> Result<u64, Error> {
        let workload = &self.context.plan.workload;
        let (mut batches, mut bytes, mut sent) = (Vec::new(), 0, 0);
        let mut lanes = self.lanes.borrow_mut();
        for _ in 0..link.lanes.len() {
            let turn = link.turn.get();
            link.turn.set((turn + 1) % link.lanes.len());
            let lane = &mut lanes[link.lanes[turn]];
            let due = Due::Even { first_ns: self.context.now_ns(), step_ns: 0.0 };
            let mut open = self.open_batch(lane, due);
            open.count = u64::from(open.count_max).min(left - sent) as u32;
            sent += u64::from(open.count);
            let batch = self.make(lane, open);
            bytes += batch.sent.wire_bytes as usize;
            batches.push(batch);
            if sent == left || bytes + workload.batch_bytes > workload.request_bytes {
                break;
            }
        }
        drop(lanes);
        self.send(link, batches)?;
        Ok(sent)
    }

    /// Makes the bytes of a batch.
    fn make(&self, lane: &mut Lane, open: Open) -> Made {
        let plan = &self.context.plan;
        let age_ms = self.context.now_ns().saturating_sub(open.due.first_ns()) / 1_000_000;
        let timestamp_ms = runtime::wall_ms() - age_ms as i64;
        let mut producer = record::Producer::NONE;
        if let Some(idempotent) = self.idempotent {
            producer = record::Producer { base_sequence: lane.sequence, ..idempotent };
            lane.sequence = increment_sequence(lane.sequence, open.count as i32);
        }
        let (header, records, value_bytes, identity);
        if let Some(identities) = &plan.identities {
            let of = Acknowledged {
                partition: lane.global,
                producer: self.number as u16,
                first: lane.record,
                count: open.count,
            };
            let (batch, bytes) = identities.batch(of, timestamp_ms, producer);
            (header, records) = template::whole(batch);
            (value_bytes, identity) = (bytes, Some(of));
        } else {
            let prepared = self.context.partials.borrow_mut().records(&plan.templates, open.template, open.count);
            header = prepared.header(plan.templates.codec(), open.count, timestamp_ms, producer);
            value_bytes = plan.templates.get(open.template).value_bytes(open.count);
            (records, identity) = (prepared.bytes, None);
        }
        lane.record += u64::from(open.count);
        let wire_bytes = (header.len() + records.len()) as u64;
        let (partition, count, due) = (lane.global, open.count, open.due);
        let sent = SentBatch { partition, count, value_bytes, wire_bytes, due, identity };
        Made { partition: lane.partition, header, records, sent }
    }

    fn send(&self, link: &Link, made: Vec<Made>) -> Result<(), Error> {
        let correlation_id = link.correlation_id.get();
        link.correlation_id.set(correlation_id.wrapping_add(1));
        let plan = &self.context.plan;
        let parts = encode(&self.topic, plan.cluster.versions.produce, plan.workload.acks, correlation_id, &made)?;
        let now = self.context.now_ns();
        let batches: Vec<SentBatch> = made.into_iter().map(|made| made.sent).collect();
        for batch in &batches {
            self.context.recorder.sent(batch, now);
        }
        link.in_flight.set(link.in_flight.get() + 1);
        let request = Request { correlation_id, batches };
        if plan.workload.acks == 0 {
            link.pipe.send_silent(parts, request);
        } else {
            link.pipe.send(parts, request);
        }
        Ok(())
    }

    async fn write(&self, link: usize) -> Result<(), Error> {
        let link = &self.links[link];
        let taken = |requests: Vec<Request>| {
            let now = self.context.now_ns();
            for request in requests {
                self.context.recorder.request(now);
                for batch in request.batches {
                    self.context.recorder.acked(batch, now, -1);
                }
                link.in_flight.set(link.in_flight.get() - 1);
            }
            self.news.notify_all();
        };
        link.pipe.write(taken).await
    }

    async fn read_answers(&self, link: usize) -> Result<(), Error> {
        let link = &self.links[link];
        let mut frames = Frames::default();
        loop {
            let (request, frame) = link.pipe.answer(&mut frames).await?;
            link.in_flight.set(link.in_flight.get() - 1);
            self.news.notify_all();
            self.take_answer(request, frame)?;
        }
    }

    fn take_answer(&self, request: Request, frame: BytesMut) -> Result<(), Error> {
        let now = self.context.now_ns();
        let version = self.context.plan.cluster.versions.produce;
        let mut reader = Reader::new(frame);
        let header = ResponseHeader::decode(&mut reader, ApiKey::Produce, version)?;
        if header.correlation_id != request.correlation_id {
            let what = format!("request {} was answered as {}", request.correlation_id, header.correlation_id);
            return Err(Error::Answer(what));
        }
        let response = ProduceResponse::decode(&mut reader, version)?;
        self.context.recorder.request(now);
        let first_global = self.lanes.borrow()[0].global;
        for batch in request.batches {
            let partition = (batch.partition - first_global) as i32;
            let mut answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            match answers.find(|answer| answer.index == partition) {
                Some(answer) if answer.error_code == 0 => self.context.recorder.acked(batch, now, answer.base_offset),
                answer => {
                    let code = answer.map_or_else(|| "nothing".to_owned(), |answer| code_name(answer.error_code));
                    let why = answer.and_then(|answer| answer.error_message.as_deref()).unwrap_or_default();
                    let topic = self.topic.as_str();
                    let what = || format!("producing to {topic}-{partition}: the broker answers {code} {why}");
                    if self.idempotent.is_some() {
                        return Err(Error::Answer(what()));
                    }
                    self.context.recorder.failed(&batch, what);
                }
            }
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.links.iter().all(|link| link.in_flight.get() == 0)
            && self.lanes.borrow().iter().all(|lane| lane.queue.is_empty())
    }

    fn watch(&self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.failure.borrow_mut().get_or_insert(error);
            self.news.notify_all();
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }
}

/// A batch that is ready to go.
struct Made {
    partition: i32,
    header: Bytes,
    records: Bytes,
    sent: SentBatch,
}

/// A produce request, whose records are sent from where they are.
fn encode(topic: &Str, version: i16, acks: i16, correlation_id: i32, made: &[Made]) -> Result<Vec<Bytes>, Error> {
    let data = |(slot, made): (usize, &Made)| PartitionProduceData {
        index: made.partition,
        records: Records::External { len: (BATCH_HEADER_BYTES + made.records.len()) as u32, slot: slot as u32 },
    };
    let partition_data = made.iter().enumerate().map(data).collect();
    let topic = TopicProduceData { name: topic.clone(), partition_data, ..Default::default() };
    let request =
        ProduceRequest { acks, timeout_ms: REQUEST_TIMEOUT_MS, topic_data: vec![topic], ..Default::default() };
    let mut writer = Writer::frame();
    let header = RequestHeader {
        request_api_key: ProduceRequest::KEY,
        request_api_version: version,
        correlation_id,
        client_id: Some(Str::from_static("loadgen")),
    };
    header.encode(&mut writer)?;
    request.encode(&mut writer, version)?;
    let (frame, externals) = writer.finish_frame()?;
    let mut frame = frame.freeze();
    let (mut parts, mut taken) = (Vec::with_capacity(3 * made.len() + 1), 0);
    for external in externals {
        parts.push(frame.split_to(external.position - taken));
        taken = external.position;
        let made = &made[external.slot as usize];
        parts.push(made.header.clone());
        parts.push(made.records.clone());
    }
    if !frame.is_empty() {
        parts.push(frame);
    }
    Ok(parts)
}
