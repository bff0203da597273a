//! What a load answers for is on the device: a power cut right behind it takes nothing of it back.

use super::super::super::fault::testing::power_cuts_behind;
use super::super::load_all;
use super::*;
use crate::runtime::fs::{self, OpenFlags};

fn options(root: &Path, count: usize) -> Vec<LoadOptions> {
    let like = Partition::new().options;
    (0..count)
        .map(|partition| LoadOptions {
            dir: root.join(format!("t-{partition}")),
            topic_partition: TopicPartition { topic: Arc::from("t"), partition: partition as i32 },
            ..like.clone()
        })
        .collect()
}

/// Few partitions sync their own files, many are synced together.
const COUNTS: [usize; 2] = [1, 17];

#[test]
fn what_a_recovery_accepts_and_cuts_is_flushed() {
    for count in COUNTS {
        // Several blocks are accepted, and a torn batch and batches of an earlier use lie behind them.
        let batches = some_batches(100);
        let accepted = batches.concat();
        let mut torn = batch(end_of(&batches).0, 1, 4, &[b't'; 300]);
        torn[200] ^= 1;
        let content = [&accepted[..], &torn, &batch(2, 1, 1, &[b's'; 9000])].concat();
        let before = |root: &Path| {
            for options in options(root, count) {
                fs::create_dir(&options.dir).unwrap();
                fs::sync_dir(root).unwrap();
                let file = fs::open(&names::log_file(&options.dir, Offset(0)), OpenFlags::CREATE).unwrap();
                fs::sync_dir(&options.dir).unwrap();
                fs::fallocate(&file, 0, content.len().next_multiple_of(4096) as u64, false).unwrap();
                fs::sync_all(&file).unwrap();
                // Of these only the process knows: it was killed, and then the power fails.
                fs::pwrite_all(&file, &content, 0).unwrap();
            }
        };
        let load = |root: &Path| {
            for loaded in load_all(&options(root, count), 1, |_| {}) {
                assert_eq!(loaded.unwrap().log_end_offset, end_of(&batches));
            }
        };
        power_cuts_behind(before, load, |left, seed| {
            for options in options(left, count) {
                let kept = std::fs::read(names::log_file(&options.dir, Offset(0))).unwrap();
                assert!(kept.starts_with(&accepted), "cut {seed}, {count} partitions: accepted batches are lost");
                let behind = kept.len() - accepted.len();
                assert!(behind == 0, "cut {seed}, {count} partitions: {behind} bytes behind the cut are back");
            }
        });
    }
}

#[test]
fn the_names_of_a_new_partition_are_durable() {
    for count in COUNTS {
        let load = |root: &Path| {
            for loaded in load_all(&options(root, count), 1, |_| {}) {
                loaded.unwrap();
            }
        };
        power_cuts_behind(
            |_| {},
            load,
            |left, seed| {
                for options in options(left, count) {
                    let found = names::log_file(&options.dir, Offset(0)).exists();
                    assert!(found, "cut {seed}, {count} partitions: the new segment's name is lost");
                }
            },
        );
    }
}

/// An empty partition is one whose directory was made by another run, and synced by nobody.
#[test]
fn the_names_of_a_partition_that_a_kill_left_are_durable() {
    let before = |root: &Path| {
        let dir = root.join("t-0");
        fs::create_dir(&dir).unwrap();
        let file = fs::open(&names::log_file(&dir, Offset(0)), OpenFlags::CREATE).unwrap();
        fs::pwrite_all(&file, &some_batches(3).concat(), 0).unwrap();
    };
    let load = |root: &Path| assert_eq!(load(&options(root, 1)[0]).unwrap().log_end_offset, end_of(&some_batches(3)));
    power_cuts_behind(before, load, |left, seed| {
        let kept = std::fs::read(names::log_file(&left.join("t-0"), Offset(0))).unwrap_or_default();
        assert!(kept == some_batches(3).concat(), "cut {seed}: what was accepted is lost");
    });
}
