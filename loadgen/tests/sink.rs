//! Bare sinks take what loadgen sends and serve what it reads: a figure divided by theirs has to be of the same requests.

use tempfile::TempDir;

use crate::broker::{Broker, loadgen, report, text};

fn run(sink: &Broker, arguments: &[&str]) -> serde_json::Value {
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the report");
    let times = ["--warm-up", "0.2", "--duration", "1"];
    let output = loadgen(sink.port, out.path(), &[arguments, &times[..]].concat()).output().expect("the binary starts");
    assert!(output.status.success(), "{}", text(&output));
    let report = report(out.path())["runs"][0].clone();
    assert_eq!(report["failed"], 0, "{}", text(&output));
    assert_eq!(report["unanswered"], 0, "{}", text(&output));
    report
}

#[test]
fn what_is_produced_is_on_the_device_before_it_is_answered() {
    // Records of 4000 bytes one by one share buffers, batches of 64 KiB have their own.
    for batch in ["1", "64K"] {
        let sink = Broker::sink(&[]);
        let shape = ["--partitions", "2", "--record-size", "4000", "--batch-size", batch, "--consumers", "0"];
        let report = run(&sink, &shape);
        let produced = report["produced"]["wire_mb_per_second"].as_f64().unwrap();
        assert!(produced > 0.1, "{report}");
        let written = report["broker_usage"]["written_bytes"].as_f64().unwrap() / 1e6;
        // On file systems without a device below them the kernel counts nothing, not even what made the files.
        if sink.written() > 0 {
            assert!(written > produced * 0.8, "{written} MB written, {produced} MB/s produced");
        }
        assert!(sink.leaves_nothing());
    }
}

#[test]
fn an_echo_answers_every_request_and_stores_a_block_for_many() {
    for flush in ["fdatasync", "none"] {
        let sink = Broker::sink(&["--mode", "echo", "--flush", flush]);
        let report = run(&sink, &["--consumers", "0", "--producers", "4"]);
        let produced = report["produced"]["wire_mb_per_second"].as_f64().unwrap();
        let written = report["broker_usage"]["written_bytes"].as_f64().unwrap() / 1e6;
        assert!(produced > 0.1 && written < produced, "{report}");
        if sink.written() > 0 {
            assert_eq!(written > 0.0, flush == "fdatasync", "{report}");
        }
    }
}

#[test]
fn fetches_are_served_from_memory_beside_producers() {
    let sink = Broker::sink(&["--mode", "send", "--produce", "write"]);
    let shape = ["--subscriptions", "3", "--partitions", "2", "--backlog", "10M"];
    let report = run(&sink, &shape);
    assert_eq!(report["backlog"]["read_completely"], true, "{report}");
    let report = run(&sink, &["--subscriptions", "3", "--reread", "1M", "--rate", "2000"]);
    let (read, produced) = (&report["consumed"]["records_per_second"], &report["produced"]["records_per_second"]);
    let (read, produced) = (read.as_f64().unwrap(), produced.as_f64().unwrap());
    assert!(produced > 1000.0 && read > 3.0 * produced, "{read} records/s read, {produced} produced");
}

#[test]
fn connections_that_come_at_once_are_all_served() {
    let sink = Broker::sink(&["--mode", "echo", "--flush", "none"]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(["produce", "--topic", "t", "--connections", "100", "--at-once", "--requests", "300", "--bootstrap"]);
    let output = command.arg(format!("127.0.0.1:{}", sink.port)).output().expect("the binary starts");
    assert!(output.status.success() && text(&output).contains("300 requests in"), "{}", text(&output));
}
