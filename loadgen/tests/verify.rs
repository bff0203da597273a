//! `--verify`: exit code 2 for one wronged record among thousands, and 0 when there is none.

use std::sync::atomic::Ordering;

use tempfile::TempDir;

use crate::broker::{Broker, loadgen, report, text};
use crate::proxy::{Proxy, Wrong};

/// Runs through a proxy that does `wrong`; gives the exit code and what was found.
fn run(wrong: Wrong) -> (Option<i32>, serde_json::Value) {
    let proxy = Proxy::bind();
    let port = proxy.port;
    let broker = Broker::start(Some(port));
    let wronged = proxy.serve(broker.port, wrong);
    let out = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the report");
    let arguments = [
        "--verify",
        "--rate",
        "1000",
        "--linger",
        "20",
        "--warm-up",
        "0",
        "--duration",
        "2",
        "--record-size",
        "20..200",
        "--partitions",
        "3",
        "--producers",
        "2",
    ];
    let output = loadgen(port, out.path(), &arguments).output().expect("the binary runs");
    assert_eq!(wronged.load(Ordering::Relaxed), u32::from(wrong != Wrong::Nothing), "{}", text(&output));
    let report = report(out.path());
    let findings = report["runs"][0]["findings"].clone();
    assert!(findings["acknowledged"].as_u64() > Some(1500), "{}", text(&output));
    (output.status.code(), findings)
}

fn counts(findings: &serde_json::Value) -> [u64; 4] {
    ["lost", "duplicated", "reordered", "altered"].map(|what| findings[what].as_u64().expect("a count"))
}

#[test]
fn a_sound_broker_passes() {
    let (code, findings) = run(Wrong::Nothing);
    assert_eq!((code, counts(&findings)), (Some(0), [0, 0, 0, 0]), "{findings}");
    assert_eq!(findings["acknowledged"], findings["consumed"]);
}

#[test]
fn one_lost_record_is_noticed() {
    let (code, findings) = run(Wrong::Drop);
    assert_eq!((code, counts(&findings)), (Some(2), [1, 0, 0, 0]), "{findings}");
}

#[test]
fn one_doubled_record_is_noticed() {
    let (code, findings) = run(Wrong::Duplicate);
    assert_eq!((code, counts(&findings)), (Some(2), [0, 1, 0, 0]), "{findings}");
}

#[test]
fn one_record_out_of_order_is_noticed() {
    let (code, findings) = run(Wrong::Reorder);
    assert_eq!((code, counts(&findings)), (Some(2), [0, 0, 1, 0]), "{findings}");
}

#[test]
fn one_altered_record_is_noticed() {
    let (code, findings) = run(Wrong::Corrupt);
    assert_eq!((code, counts(&findings)), (Some(2), [0, 0, 0, 1]), "{findings}");
}
