//! A broker that stands still for a second: coordinated omission would hide that from nearly all percentiles.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::broker::{Broker, loadgen, report, text};

const RATE: f64 = 1000.0;
const PAUSE: Duration = Duration::from_secs(1);

/// How many records took longer than `ms`, by the latencies' curve.
fn slower_than(latencies: &serde_json::Value, ms: f64) -> u64 {
    let count = latencies["count"].as_u64().expect("a count");
    let curve = latencies["curve"].as_array().expect("a curve");
    let point = |point: &serde_json::Value| (point[1].as_f64().expect("a value"), point[2].as_u64().expect("a count"));
    let below = curve.iter().map(point).filter(|(value, _)| *value <= ms).map(|(_, below)| below).max();
    count - below.unwrap_or(0)
}

#[test]
fn a_pause_of_the_broker_shows_in_every_record_that_was_due_in_it() {
    let broker = Broker::start(None);
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arguments = ["--rate", "1000", "--linger", "0", "--warm-up", "0", "--duration", "8", "--record-size", "100"];
    let mut child =
        loadgen(broker.port, out.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its first line of progress says that records are flowing.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("running, ")), "no line of progress");
    broker.signal("STOP");
    thread::sleep(PAUSE);
    broker.signal("CONT");
    let rest = thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output), rest.join().unwrap());

    let report = report(out.path());
    for name in ["publish", "end_to_end"] {
        let latencies = &report["runs"][0][name];
        let (p999, max) = (latencies["p999"].as_f64().unwrap(), latencies["max"].as_f64().unwrap());
        // The first record of the pause waited for all of it, and the others for what was left of it: 1,000 records with
        // 0 to 1,000 ms. A busy machine makes it more, never less; a tenth is left for the curve's steps.
        assert!(max >= 990.0 && p999 >= 900.0, "{name}: p99.9 {p999} ms, max {max} ms");
        for ms in [100.0, 500.0, 800.0] {
            let due = RATE * (PAUSE.as_secs_f64() - ms / 1000.0);
            let slow = slower_than(latencies, ms) as f64;
            assert!(slow >= due * 0.9, "{name}: {due} records were due {ms} ms or more before its end, {slow} show it");
        }
    }
    let run = &report["runs"][0];
    assert_eq!(run["unanswered"], 0, "they were answered late, not never");
    assert_eq!(run["publish"]["count"], 8 * RATE as u64, "every record that was due was sent in the end, and counts");
}

#[test]
fn a_broker_that_dies_is_one_clear_sentence() {
    let broker = Broker::start(None);
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arguments = ["--rate", "200", "--warm-up", "0", "--duration", "60"];
    let mut child =
        loadgen(broker.port, out.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("running, ")), "no line of progress");
    broker.signal("KILL");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let last = rest.last().cloned().unwrap_or_default();
    assert!(last.starts_with("loadgen: the broker") && last.contains("into the run"), "{rest:?}");
}

#[test]
fn a_broker_that_is_not_there_is_one_clear_sentence() {
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = loadgen(free, out.path(), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("no broker answers at 127.0.0.1:{free}")), "{said}");
}
