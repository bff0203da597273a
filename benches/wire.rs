//! What does the wire format cost a shard: may a request be decoded afresh each time, or would keeping shapes pay?
//!
//! Decoding copies no records, so the time should not depend on their size, only on the count of partitions. At 100,000
//! requests a second, a microsecond here is a tenth of a core.

use bytes::BytesMut;
use corelane::protocol::{
    FetchRequest, FetchResponse, Message, ProduceRequest, ProduceResponse, Reader, Records, Str, Writer,
    fetch::{FetchPartition, FetchTopic, FetchableTopicResponse, PartitionData},
    produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData, TopicProduceResponse},
};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

const PRODUCE_VERSION: i16 = 12;
const FETCH_VERSION: i16 = 12;

fn encoded(message: &impl Message, version: i16) -> BytesMut {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("a message of this version");
    writer.into_bytes()
}

fn produce(partitions: i32, bytes: usize) -> ProduceRequest {
    let partition = |index| PartitionProduceData { index, records: Records::Inline(BytesMut::zeroed(bytes)) };
    let topic = TopicProduceData {
        name: Str::from("a-topic-of-usual-length"),
        partition_data: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

fn produce_answer(partitions: i32) -> ProduceResponse {
    let partition = |index| PartitionProduceResponse { index, base_offset: 1 << 40, ..Default::default() };
    let topic = TopicProduceResponse {
        name: Str::from("a-topic-of-usual-length"),
        partition_responses: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

fn fetch(partitions: i32) -> FetchRequest {
    let partition = |partition| FetchPartition { partition, fetch_offset: 1 << 40, ..Default::default() };
    let topic = FetchTopic {
        topic: Str::from("a-topic-of-usual-length"),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    FetchRequest { topics: vec![topic], ..Default::default() }
}

fn fetch_answer(partitions: i32) -> FetchResponse {
    let partition = |partition_index| PartitionData {
        partition_index,
        high_watermark: 1 << 40,
        records: Records::External { len: 65_536, slot: partition_index as u32 },
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        topic: Str::from("a-topic-of-usual-length"),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (partitions, bytes) in [(1, 1 << 10), (1, 64 << 10), (16, 64 << 10), (1000, 100)] {
        let frame = encoded(&produce(partitions, bytes), PRODUCE_VERSION);
        let name = BenchmarkId::new("produce", format!("{partitions}x{bytes}"));
        group.bench_function(name, |b| {
            let decode =
                |frame| ProduceRequest::decode(&mut Reader::new(frame), PRODUCE_VERSION).expect("it was encoded");
            b.iter_batched(|| frame.clone(), decode, BatchSize::SmallInput);
        });
    }
    for partitions in [1, 16, 1000] {
        let frame = encoded(&fetch(partitions), FETCH_VERSION);
        group.bench_function(BenchmarkId::new("fetch", partitions), |b| {
            let decode = |frame| FetchRequest::decode(&mut Reader::new(frame), FETCH_VERSION).expect("it was encoded");
            b.iter_batched(|| frame.clone(), decode, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for partitions in [1, 16, 1000] {
        let answer = produce_answer(partitions);
        group.bench_function(BenchmarkId::new("produce answer", partitions), |b| {
            b.iter(|| encoded(&answer, PRODUCE_VERSION));
        });
        let answer = fetch_answer(partitions);
        group.bench_function(BenchmarkId::new("fetch answer", partitions), |b| {
            b.iter(|| {
                let mut writer = Writer::new();
                answer.encode(&mut writer, FETCH_VERSION).expect("a message of this version");
                writer.into_parts()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
