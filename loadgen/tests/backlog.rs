//! Reading what was written before: processor time has to be that of the reading, from its first fetch to its last.

use tempfile::TempDir;

use crate::broker::{Broker, loadgen, report, text};

#[test]
fn a_backlog_is_read_to_its_end_and_its_processor_time_is_that_of_all_of_it() {
    let broker = Broker::start(None);
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = loadgen(broker.port, out.path(), &["--backlog", "20M", "--partitions", "2"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let report = report(out.path());
    let run = &report["runs"][0];
    assert_eq!(run["backlog"]["read_completely"], true, "{}", text(&output));
    assert_eq!(run["backlog"]["records"], 20 << 10, "20 MiB in records of 1 KiB");
    let watched = run["broker_usage"]["seconds"].as_f64().unwrap();
    let measured = run["measured_seconds"].as_f64().unwrap();
    assert!(watched >= measured / 2.0, "the broker was watched for {watched} s of {measured} s");
}

#[test]
fn the_last_records_are_read_over_and_over_while_producers_pause() {
    let broker = Broker::start(None);
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let shape = ["--reread", "100K", "--partitions", "2", "--subscriptions", "2", "--warm-up", "0", "--duration", "3"];
    let output = loadgen(broker.port, out.path(), &shape).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = &report(out.path())["runs"][0];
    assert_eq!(run["produced"]["records_per_second"], 0.0, "{run}");
    let read = run["consumed"]["records_per_second"].as_f64().unwrap() * run["measured_seconds"].as_f64().unwrap();
    // Each of the two groups has 100 records before it: without going back no more than 200 could be read.
    assert!(read > 2.0 * 200.0, "{read} records read");
}
