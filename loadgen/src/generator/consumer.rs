//! A consumer: reads the partitions assigned to it, one fetch after the other from each leader.
//!
//! It takes batches as they are, without decompressing them: what is measured is the broker, not this side. With
//! `--verify` it reads every record.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, time::Duration};

use bytes::BytesMut;
use corelane::{
    error_code::ErrorCode,
    protocol::{
        ApiKey, FetchRequest, FetchResponse, Message, Reader, Records, RequestHeader, ResponseHeader, Str, Writer,
        fetch::{FetchPartition, FetchTopic},
    },
    record::BatchHeader,
    runtime::{self, Task},
};

use super::{
    context::Context,
    measure::{Counts, Seen},
    pipe::{Frames, Pipe},
    verify::Checker,
};
use crate::error::Error;

/// Who reads the last records over and over goes on among them when producers are faster than it reads.
const WINDOWS_BEHIND_MAX: i64 = 4;

/// Before a fetch is tried again that a broker could not answer yet.
const RETRY: Duration = Duration::from_millis(20);

pub struct Consumer {
    context: Rc<Context>,
    topic: Str,
    readers: Vec<(Rc<Pipe<()>>, Lanes)>,
}

type Lanes = Rc<RefCell<Vec<Lane>>>;

/// A partition that is read.
struct Lane {
    partition: i32,
    global: u32,
    next: i64,
    until: i64,
    /// How far it goes back at the end; 0 where it waits for more.
    window: i64,
    checker: Option<Checker>,
}

impl Consumer {
    /// Connects to the leaders of consumer `number`'s partitions: every so many-th of its topic.
    pub async fn open(context: Rc<Context>, number: u32) -> Result<Option<Consumer>, Error> {
        let shared = Rc::clone(&context);
        let plan = &shared.plan;
        let workload = &plan.workload;
        let per_topic = workload.subscriptions * workload.consumers;
        let topic_index = (number / per_topic) as usize;
        let place = number % workload.consumers;
        let topic = &plan.cluster.topics[topic_index];
        let first_global = plan.cluster.topics[..topic_index].iter().map(|t| t.leaders.len()).sum::<usize>();
        let Some(consume) = &plan.consume else { return Ok(None) };
        let mut by_leader: HashMap<SocketAddr, Vec<Lane>> = HashMap::new();
        for (partition, leader) in topic.leaders.iter().enumerate() {
            if partition as u32 % workload.consumers != place {
                continue;
            }
            let global = first_global + partition;
            by_leader.entry(*leader).or_default().push(Lane {
                partition: partition as i32,
                global: global as u32,
                next: consume.from[global],
                until: consume.until.as_ref().map_or(i64::MAX, |until| until[global]),
                window: consume.window.as_ref().map_or(0, |window| window[global]),
                checker: plan.identities.as_ref().map(|identities| Checker::new(identities, consume.from[global])),
            });
        }
        let mut readers = Vec::new();
        for (leader, lanes) in by_leader {
            readers.push((Pipe::connect(leader).await?, Rc::new(RefCell::new(lanes))));
        }
        let topic = Str::from(&topic.name);
        Ok(Some(Consumer { context, topic, readers }))
    }

    /// Starts to read. The tasks end when all is read that is to be.
    pub fn start(&self) -> Vec<Task<Result<(), Error>>> {
        let mut tasks = Vec::new();
        for (pipe, lanes) in &self.readers {
            let writer = Rc::clone(pipe);
            // Reading sees the end of the connection too, and says so.
            runtime::spawn(async move { writer.write(|_| ()).await.ok() });
            let (context, topic) = (Rc::clone(&self.context), self.topic.clone());
            let (pipe, lanes) = (Rc::clone(pipe), Rc::clone(lanes));
            tasks.push(runtime::spawn(async move { read(&context, &topic, &pipe, &lanes).await }));
        }
        tasks
    }

    /// Hands in what was checked.
    pub fn finish(self) {
        let mut checked = HashMap::new();
        for (_, lanes) in &self.readers {
            for lane in lanes.borrow_mut().iter_mut() {
                if let Some(checker) = lane.checker.take() {
                    checked.insert(lane.global, checker);
                }
            }
        }
        if !checked.is_empty() {
            self.context.recorder.checked(checked);
        }
    }
}

async fn read(context: &Rc<Context>, topic: &Str, pipe: &Pipe<()>, lanes: &RefCell<Vec<Lane>>) -> Result<(), Error> {
    let mut frames = Frames::default();
    let mut correlation_id = 0;
    let version = context.plan.cluster.versions.fetch;
    loop {
        let Some(request) = request(context, topic, &lanes.borrow()) else { return Ok(()) };
        correlation_id += 1;
        pipe.send(vec![encode(&request, version, correlation_id)?.freeze()], ());
        let ((), frame) = pipe.answer(&mut frames).await?;
        let at_ns = context.now_ns();
        let mut reader = Reader::new(frame);
        let header = ResponseHeader::decode(&mut reader, ApiKey::Fetch, version)?;
        if header.correlation_id != correlation_id {
            return Err(Error::Answer(format!("fetch {correlation_id} was answered as {}", header.correlation_id)));
        }
        let response = FetchResponse::decode(&mut reader, version)?;
        if response.error_code != 0 {
            return Err(Error::code("fetching", response.error_code));
        }
        if !take(context, topic, &response, &mut lanes.borrow_mut(), at_ns)? {
            runtime::sleep(RETRY).await;
        }
    }
}

/// The next fetch; none when all is read.
fn request(context: &Context, topic: &Str, lanes: &[Lane]) -> Option<FetchRequest> {
    let workload = &context.plan.workload;
    let partition = |lane: &Lane| FetchPartition {
        partition: lane.partition,
        fetch_offset: lane.next,
        partition_max_bytes: workload.partition_fetch_bytes,
        ..Default::default()
    };
    let partitions: Vec<_> = lanes.iter().filter(|lane| lane.next < lane.until).map(partition).collect();
    if partitions.is_empty() {
        return None;
    }
    let topic = FetchTopic { topic: topic.clone(), partitions, ..Default::default() };
    Some(FetchRequest {
        max_wait_ms: workload.fetch_wait_ms,
        min_bytes: workload.fetch_min_bytes,
        max_bytes: workload.fetch_bytes,
        topics: vec![topic],
        ..Default::default()
    })
}

fn encode(request: &FetchRequest, version: i16, correlation_id: i32) -> Result<BytesMut, Error> {
    let mut writer = Writer::frame();
    let header = RequestHeader {
        request_api_key: FetchRequest::KEY,
        request_api_version: version,
        correlation_id,
        client_id: Some(Str::from_static("loadgen")),
    };
    header.encode(&mut writer)?;
    request.encode(&mut writer, version)?;
    Ok(writer.finish_frame()?.0)
}

/// Takes what came; false if a partition could not be read just now.
fn take(
    context: &Context,
    topic: &Str,
    response: &FetchResponse,
    lanes: &mut [Lane],
    at_ns: u64,
) -> Result<bool, Error> {
    let mut readable = true;
    let mut requests = 1;
    let mut served = 0;
    for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
        let Some(lane) = lanes.iter_mut().find(|lane| lane.partition == data.partition_index) else { continue };
        match ErrorCode::from_code(data.error_code) {
            Some(ErrorCode::None) => {}
            Some(
                ErrorCode::NotLeaderOrFollower | ErrorCode::LeaderNotAvailable | ErrorCode::UnknownTopicOrPartition,
            ) => {
                readable = false;
                continue;
            }
            _ => return Err(Error::code(&format!("reading {}-{}", topic.as_str(), lane.partition), data.error_code)),
        }
        let Records::Inline(bytes) = &data.records else { continue };
        served += usize::from(!bytes.is_empty());
        let mut rest: &[u8] = bytes;
        // The last batch may be cut off; the next fetch begins with it.
        while let Ok(header) = BatchHeader::parse(rest) {
            let (batch, behind) = rest.split_at(header.size());
            rest = behind;
            let next = header.next_offset().0;
            if next <= lane.next {
                continue;
            }
            let records = header.count.max(0) as u64;
            let counts = Counts {
                records,
                bytes: (records as f64 * context.plan.workload.record_bytes_mean()) as u64,
                wire_bytes: batch.len() as u64,
                requests: std::mem::take(&mut requests),
            };
            let base_offset = header.base_offset.0;
            if let Some(checker) = &mut lane.checker {
                checker.batch(lane.global, base_offset, next, batch);
            }
            context.recorder.consumed(Seen { partition: lane.global, base_offset, at_ns }, counts);
            lane.next = next;
        }
        let behind = data.high_watermark - lane.next;
        if lane.window > 0 && (behind <= 0 || behind > WINDOWS_BEHIND_MAX * lane.window) {
            lane.next = (data.high_watermark - lane.window).max(0);
        }
    }
    // Those that were served come last in the next fetch, which may not have room for all.
    if !lanes.is_empty() {
        let count = lanes.len();
        lanes.rotate_left(served % count);
    }
    Ok(readable)
}
