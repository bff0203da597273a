//! Bare sinks take what loadgen sends and serve what it reads: a figure divided by theirs has to be of the same requests.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use bytes::BytesMut;
use corelane::{
    protocol::{
        CreateTopicsRequest, FetchRequest, Message, ProduceRequest, Reader, Records, Request, RequestHeader,
        ResponseHeader, Str, Writer,
        create_topics::CreatableTopic,
        fetch::{FetchPartition, FetchTopic},
        produce::{PartitionProduceData, TopicProduceData},
    },
    record::{BatchBuilder, BatchHeader, BatchOptions, check_crc},
};
use tempfile::TempDir;

use crate::broker::{Broker, loadgen, report, text};

/// Sends a request by hand; none when the connection was closed instead.
fn call<R: Request>(stream: &mut TcpStream, request: &R, version: i16) -> Option<R::Response> {
    let mut writer = Writer::frame();
    let header = RequestHeader {
        request_api_key: R::KEY,
        request_api_version: version,
        correlation_id: 7,
        client_id: Some(Str::from_static("test")),
    };
    header.encode(&mut writer).expect("a header");
    request.encode(&mut writer, version).expect("a request");
    let (frame, _) = writer.finish_frame().expect("a frame");
    stream.write_all(&frame).expect("it is sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let mut frame = BytesMut::zeroed(u32::from_be_bytes(size) as usize);
    stream.read_exact(&mut frame).expect("the rest of an answer");
    let mut reader = Reader::new(frame);
    assert_eq!(ResponseHeader::decode(&mut reader, R::KEY, version).expect("a header").correlation_id, 7);
    let response = R::Response::decode(&mut reader, version).expect("an answer");
    assert!(reader.is_empty(), "{} bytes more than an answer", reader.remaining());
    Some(response)
}

fn with_topics(sink: &Broker) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", sink.port)).expect("it listens");
    let topic = |name| CreatableTopic { name: Str::from_static(name), num_partitions: 2, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic("a"), topic("b")], ..Default::default() };
    let created = call(&mut stream, &request, 7).expect("an answer");
    assert!(created.topics.iter().all(|topic| topic.error_code == 0), "{created:?}");
    stream
}

fn batch(records: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.append(1, None, Some(&[7; 1000]), &[]);
    }
    builder.build()
}

fn produce(of: &[(&'static str, i32, BytesMut)]) -> ProduceRequest {
    let topic = |(name, index, batch): &(&'static str, i32, BytesMut)| TopicProduceData {
        name: Str::from_static(name),
        partition_data: vec![PartitionProduceData { index: *index, records: Records::Inline(batch.clone()) }],
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: of.iter().map(topic).collect(), ..Default::default() }
}

#[test]
fn each_batch_is_answered_by_its_partition_and_one_whose_crc_is_wrong_ends_the_connection() {
    let sink = Broker::sink(&[]);
    let mut stream = with_topics(&sink);
    for round in 0..2 {
        for version in [9, 12] {
            // Both sides of the size from which a batch has a buffer of its own.
            let request =
                produce(&[("b", 1, batch(3)), ("a", 0, batch(50)), ("none", 0, batch(1)), ("a", 9, batch(1))]);
            let response = call(&mut stream, &request, version).expect("an answer");
            let found: Vec<_> = response
                .responses
                .iter()
                .flat_map(|topic| topic.partition_responses.iter().map(|p| (&*topic.name, p)))
                .map(|(name, p)| (name, p.index, p.error_code, p.base_offset))
                .collect();
            let times = 2 * round + i64::from(version == 12);
            let expected = [("b", 1, 0, 3 * times), ("a", 0, 0, 50 * times), ("none", 0, 3, -1), ("a", 9, 3, -1)];
            assert_eq!(found, expected);
        }
    }
    for records in [3, 50] {
        let mut altered = batch(records);
        altered[500] ^= 1;
        let mut stream = TcpStream::connect(("127.0.0.1", sink.port)).expect("it listens");
        assert_eq!(call(&mut stream, &produce(&[("a", 0, altered)]), 12), None, "{records} records");
    }
}

#[test]
fn what_is_served_are_whole_batches_from_the_offset_asked_for() {
    let sink = Broker::sink(&["--mode", "send", "--record-bytes", "100", "--batch-bytes", "10K"]);
    let mut stream = with_topics(&sink);
    let mut offset = 12_345_678;
    for _ in 0..3 {
        let asked = |partition| FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 50_000,
            ..Default::default()
        };
        let topic =
            FetchTopic { topic: Str::from_static("a"), partitions: vec![asked(0), asked(1)], ..Default::default() };
        let request = FetchRequest { max_bytes: 60_000, topics: vec![topic], ..Default::default() };
        let response = call(&mut stream, &request, 12).expect("an answer");
        let sizes: Vec<_> = response.responses[0].partitions.iter().map(|of| of.records.len()).collect();
        assert!(sizes[0] > 30_000 && sizes[0] <= 50_000 && sizes[0] + sizes[1] <= 60_000 + 10_240, "{sizes:?}");
        let Records::Inline(bytes) = &response.responses[0].partitions[0].records else { panic!("{response:?}") };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).expect("a whole batch");
            check_crc(&rest[..header.size()]).expect("its CRC");
            assert_eq!(header.base_offset.0, offset);
            offset = header.next_offset().0;
            rest = &rest[header.size()..];
        }
    }
}

/// What the reports of such a run say of it.
fn run(sink: &Broker, arguments: &[&str]) -> serde_json::Value {
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the report");
    let output = loadgen(sink.port, out.path(), &[arguments, &["--warm-up", "0"]].concat()).output();
    let output = output.expect("the binary starts");
    assert!(output.status.success(), "{}", text(&output));
    let report = report(out.path())["runs"][0].clone();
    assert_eq!(report["failed"], 0, "{}", text(&output));
    report
}

/// Bytes of batches that were answered in the measured time.
fn produced(report: &serde_json::Value) -> f64 {
    let rate = report["produced"]["wire_mb_per_second"].as_f64().expect("a rate");
    rate * 1e6 * report["measured_seconds"].as_f64().expect("a time")
}

#[test]
fn what_is_produced_is_on_the_device_before_it_is_answered() {
    // Records of 4000 bytes one by one share buffers, batches of 64 KiB have their own.
    for batch in ["1", "64K"] {
        let sink = Broker::sink(&[]);
        let shape = ["--partitions", "2", "--record-size", "4000", "--batch-size", batch, "--consumers", "0"];
        let report = run(&sink, &[&shape[..], &["--duration", "1"]].concat());
        assert!(produced(&report) > 0.0, "{report}");
        // On file systems without a device below them the kernel counts nothing, not even what made the files.
        if sink.written() > 0 {
            let files = f64::from(80 << 20);
            assert!(sink.written() as f64 - files >= produced(&report), "{} written, {report}", sink.written());
        }
        assert!(sink.leaves_nothing());
    }
}

#[test]
fn an_echo_answers_every_request_and_stores_a_block_for_many() {
    for flush in ["fdatasync", "none"] {
        let sink = Broker::sink(&["--mode", "echo", "--flush", flush]);
        let before = sink.written();
        let report = run(&sink, &["--consumers", "0", "--producers", "4", "--duration", "1"]);
        let written = (sink.written() - before) as f64;
        assert!(produced(&report) > 0.0 && written < produced(&report), "{written} bytes written, {report}");
        if before > 0 {
            assert_eq!(written > 0.0, flush == "fdatasync", "{written} bytes written, {report}");
        }
    }
}

#[test]
fn fetches_are_served_from_memory_beside_producers() {
    let sink = Broker::sink(&["--mode", "send", "--produce", "write"]);
    let shape = ["--subscriptions", "3", "--partitions", "2"];
    // It ends when all is read.
    let report = run(&sink, &[&shape[..], &["--backlog", "10M", "--duration", "60"]].concat());
    assert_eq!(report["backlog"]["read_completely"], true, "{report}");
    let report = run(&sink, &[&shape[..], &["--reread", "1M", "--rate", "2000", "--duration", "2"]].concat());
    assert!(produced(&report) > 0.0 && report["consumed"]["records_per_second"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn connections_that_come_at_once_are_all_served() {
    let sink = Broker::sink(&["--mode", "echo", "--flush", "none"]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(["produce", "--topic", "t", "--connections", "100", "--at-once", "--requests", "300", "--bootstrap"]);
    let output = command.arg(format!("127.0.0.1:{}", sink.port)).output().expect("the binary starts");
    assert!(output.status.success() && text(&output).contains("300 requests in"), "{}", text(&output));
}
