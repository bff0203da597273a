//! Compaction against what a log means: the last value of each key, the offsets of what stays, on the device and for
//! readers.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::config::CleanupPolicy;
use super::super::live_tests::{MODES, Written, content, data_dir, loaded, options, run};
use super::super::log_shard::LogShard;
use super::super::read::Chunk;
use super::super::segment::AppendBatch;
use super::super::testing::write_segment;
use super::super::{LogConfig, LogScanner, names};
use super::filter::{Left, filter, note_latest};
use super::latest::LatestOffsets;
use super::transactions::{Outcomes, Seen};
use super::*;
use crate::log::fault::testing::power_cuts;
use crate::record::{BatchBuilder, BatchError, BatchHeader, BatchOptions, Codec, Producer, RecordIter};
use crate::types::{LeaderEpoch, ProducerId};

mod transactions;

const NOW: i64 = 1_000_000;
const KEYS_BYTES_MAX: usize = 1 << 20;

/// A record: key and value.
type Row = (Option<&'static str>, Option<&'static str>);

fn compact_options(now_ms: i64, keys_bytes_max: usize) -> CompactOptions {
    CompactOptions { now_ms, keys_bytes_max, bytes_per_second_max: f64::MAX }
}

fn batch(options: BatchOptions, base_offset: i64, rows: &[Row]) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: Offset(base_offset), ..options });
    for (at, (key, value)) in rows.iter().enumerate() {
        builder.append(NOW + at as i64, key.map(str::as_bytes), value.map(str::as_bytes), &[]);
    }
    builder.build()
}

fn rules(now_ms: i64) -> Rules {
    Rules { now_ms, delete_retention_ms: 100, last_of_producers: HashMap::new(), keep_end: Offset(-1) }
}

/// A batch without transactions.
fn plain(batch: &[u8], latest: &LatestOffsets, rules: &Rules) -> Result<Left, BatchError> {
    filter(batch, latest, &Outcomes::default(), &mut Seen::default(), rules)
}

fn latest(batches: &[&[u8]]) -> LatestOffsets {
    let mut latest = LatestOffsets::new(Offset(0), KEYS_BYTES_MAX);
    for batch in batches {
        note_latest(batch, &mut latest, &Outcomes::default()).unwrap();
    }
    latest
}

fn rows(batch: &[u8]) -> Vec<(i64, Option<String>, Option<String>, i64)> {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut rows = Vec::new();
    let mut records = RecordIter::new(batch).unwrap();
    while let Some(record) = records.next_record().unwrap() {
        rows.push((record.offset.0, text(record.key), text(record.value), record.timestamp));
    }
    rows
}

fn part(left: Left) -> BytesMut {
    match left {
        Left::Part(batch) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    for codec in [Codec::None, Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let options = BatchOptions { codec, leader_epoch: LeaderEpoch(4), ..BatchOptions::default() };
        let one = batch(
            options,
            10,
            &[(Some("a"), Some("1")), (Some("b"), Some("2")), (Some("a"), Some("3")), (None, Some("x"))],
        );
        let two = batch(options, 14, &[(Some("b"), Some("4"))]);
        let latest = latest(&[&one, &two]);
        assert_eq!(plain(&two, &latest, &rules(NOW)), Ok(Left::All));
        let left = part(plain(&one, &latest, &rules(NOW)).unwrap());
        crate::record::check_crc(&left).unwrap();
        assert_eq!(rows(&left), [(12, Some("a".to_owned()), Some("3".to_owned()), NOW + 2)]);
        let (header, before) = (BatchHeader::parse(&left).unwrap(), BatchHeader::parse(&one).unwrap());
        assert_eq!((header.base_offset, header.last_offset()), (before.base_offset, before.last_offset()));
        assert_eq!((header.leader_epoch, header.attributes.codec_id()), (LeaderEpoch(4), codec.id()));
        assert_eq!(header.max_timestamp, NOW + 2);
    }
}

#[test]
fn tombstones_stay_for_a_while() {
    let one = batch(BatchOptions::default(), 0, &[(Some("a"), Some("1")), (Some("b"), None)]);
    let two = batch(BatchOptions::default(), 2, &[(Some("a"), None), (Some("c"), Some("2"))]);
    let known = latest(&[&one, &two]);
    let (one, two) = (part(plain(&one, &known, &rules(NOW)).unwrap()), part(plain(&two, &known, &rules(NOW)).unwrap()));
    for batch in [&one, &two] {
        assert_eq!(BatchHeader::parse(batch).unwrap().delete_horizon_ms(), Some(NOW + 100));
    }
    assert_eq!(rows(&one), [(1, Some("b".to_owned()), None, NOW + 1)], "the time of a record stays its own");
    assert_eq!(rows(&two).len(), 2);
    // The time counts from the first compaction.
    assert_eq!(plain(&one, &known, &rules(NOW + 99)), Ok(Left::All));
    assert_eq!(plain(&one, &known, &rules(NOW + 100)), Ok(Left::Nothing));
    let two = part(plain(&two, &known, &rules(NOW + 100)).unwrap());
    assert_eq!(rows(&two), [(3, Some("c".to_owned()), Some("2".to_owned()), NOW + 1)]);
}

#[test]
fn what_was_not_looked_at_stays() {
    let one = batch(BatchOptions::default(), 0, &[(Some("a"), Some("1")), (None, Some("x"))]);
    let known = LatestOffsets::new(Offset(0), KEYS_BYTES_MAX);
    assert_eq!(plain(&one, &known, &rules(NOW)), Ok(Left::All));
}

async fn append_keys(log: &Rc<Log>, timestamp: i64, keys: &[&str]) {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: log.log_end_offset(), ..BatchOptions::default() });
    for key in keys {
        builder.append(timestamp, Some(key.as_bytes()), Some(&[7; 400]), &[]);
    }
    let batch = builder.build();
    let header = BatchHeader::parse(&batch).unwrap();
    log.append(AppendBatch {
        bytes: batch.freeze(),
        base_offset: header.base_offset,
        last_offset: header.last_offset(),
        leader_epoch: LeaderEpoch(0),
        max_timestamp: header.max_timestamp,
    })
    .unwrap();
    log.wait_flushed(log.log_end_offset()).await.unwrap();
}

#[test]
fn a_log_is_due_by_how_dirty_and_how_old_it_is() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(MODES[1]));
        let with = |change: fn(&mut LogConfig)| {
            let mut config = LogConfig { segment_bytes: 1000, min_cleanable_dirty_ratio: 0.5, ..config() };
            change(&mut config);
            Rc::new(config)
        };
        let log = Written::new(&shard, root.path(), 0, *with(|_| {})).log;
        append_keys(&log, NOW, &["a", "b"]).await;
        assert_eq!(log.compactable(NOW).await.unwrap(), None, "the active segment is never compacted");
        for time in 1..4 {
            append_keys(&log, NOW + time, &["a", "b"]).await;
        }
        while log.recovery_point() < Offset(6) {
            log.progress().listen().await;
        }
        let dirty = log.compactable(NOW).await.unwrap().unwrap();
        assert_eq!((dirty.dirty_ratio, dirty.is_due), (1.0, true));
        // The last record of the second segment is younger than the lag.
        log.set_config(with(|config| config.min_compaction_lag_ms = 9));
        assert_eq!(log.compactable(NOW + 8).await.unwrap(), None);
        let some = log.compactable(NOW + 10).await.unwrap().unwrap();
        assert!(some.dirty_bytes < dirty.dirty_bytes && some.dirty_bytes > 0);
        // What an open transaction may still take back.
        log.set_config(with(|_| {}));
        log.set_first_unstable(Some(Offset(3)));
        assert_eq!(log.compactable(NOW).await.unwrap().unwrap().dirty_bytes, dirty.dirty_bytes / 3);
        log.set_first_unstable(None);
        log.set_config(with(|config| config.cleanup_policy.compact = false));
        assert_eq!(log.compact(&compact_options(NOW, KEYS_BYTES_MAX)).await.unwrap(), None);
        log.set_config(with(|_| {}));
        let done = log.compact(&compact_options(NOW, KEYS_BYTES_MAX)).await.unwrap().unwrap();
        assert_eq!((done.end_offset, log.compacted_to()), (Offset(6), Some(Offset(6))));
        let left = content(&log, Offset(0), Offset(8), 1 << 20, true).await;
        assert_eq!(rows(&left), [], "what memory held is gone too");
        assert_eq!(log.compactable(NOW).await.unwrap(), None);
        append_keys(&log, NOW + 4, &["a", "b"]).await;
        while log.recovery_point() < Offset(8) {
            log.progress().listen().await;
        }
        log.set_config(with(|config| config.min_cleanable_dirty_ratio = 1.0));
        let more = log.compactable(NOW + 4).await.unwrap().unwrap();
        assert!(!more.is_due && more.dirty_ratio < 1.0 && more.delay_ms == 0);
        log.set_config(with(|config| {
            config.min_cleanable_dirty_ratio = 1.0;
            config.max_compaction_lag_ms = 10;
        }));
        assert!(!log.compactable(NOW + 13).await.unwrap().unwrap().is_due);
        let late = log.compactable(NOW + 14).await.unwrap().unwrap();
        assert_eq!((late.is_due, late.delay_ms), (true, 1), "its first record is of NOW + 3");
        log.close().await.unwrap();
    });
}

/// A reader's read-ahead is on its way when names are to be changed: none of the three waits for the others for ever.
#[test]
fn readers_and_a_change_of_names_do_not_wait_for_each_other() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(MODES[0]));
        let log = Written::new(&shard, root.path(), 0, config()).log;
        let reader = log.enter_files().await;
        let closing = crate::runtime::spawn({
            let log = Rc::clone(&log);
            async move { drop(log.close_files().await) }
        });
        crate::runtime::yield_now().await;
        assert!(log.gate.is_closed());
        let ahead = log.share_files();
        let late = crate::runtime::spawn({
            let log = Rc::clone(&log);
            async move { drop(log.enter_files().await) }
        });
        drop((reader, ahead));
        closing.await;
        late.await;
        // Who reads for long keeps nobody out.
        let hold = log.hold_files().await;
        let closing = crate::runtime::spawn({
            let log = Rc::clone(&log);
            async move { drop(log.close_files().await) }
        });
        crate::runtime::yield_now().await;
        assert!(!log.gate.is_closed());
        drop(log.enter_files().await);
        drop(hold);
        closing.await;
        log.close().await.unwrap();
    });
}

#[test]
fn the_last_batch_of_a_producer_leaves_its_header() {
    let producer = Producer { id: ProducerId(3), epoch: 2, base_sequence: 7 };
    let options = BatchOptions { producer, ..BatchOptions::default() };
    let one = batch(options, 0, &[(Some("a"), Some("1")), (Some("b"), Some("1"))]);
    let two = batch(BatchOptions::default(), 2, &[(Some("a"), Some("2")), (Some("b"), Some("2"))]);
    let known = latest(&[&one, &two]);
    let mut rules = rules(NOW);
    assert_eq!(plain(&one, &known, &rules), Ok(Left::Nothing));
    rules.last_of_producers.insert(ProducerId(3), LastOfProducer { data_offset: Some(Offset(1)), epoch: 2 });
    let left = part(plain(&one, &known, &rules).unwrap());
    crate::record::check_crc(&left).unwrap();
    let (header, before) = (BatchHeader::parse(&left).unwrap(), BatchHeader::parse(&one).unwrap());
    assert_eq!((header.count, header.last_offset()), (0, Offset(1)));
    assert_eq!((header.last_sequence(), header.producer_epoch), (before.last_sequence(), 2));
    assert_eq!(header.max_timestamp, before.max_timestamp);
    assert_eq!(plain(&left, &known, &rules), Ok(Left::All));
    rules.last_of_producers.clear();
    assert_eq!(plain(&left, &known, &rules), Ok(Left::Nothing));
    rules.keep_end = Offset(2);
    assert_eq!(plain(&left, &known, &rules), Ok(Left::All), "it says where the log goes on");
}

/// What a log means: the last value of each key, `None` for one that was deleted.
type Meaning = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn take_in(meaning: &mut Meaning, batch: &[u8]) {
    let mut records = RecordIter::new(batch).unwrap();
    while let Some(record) = records.next_record().unwrap() {
        meaning.insert(record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec));
    }
}

/// Deleted keys are as good as keys that never were.
fn live(meaning: &Meaning) -> Meaning {
    meaning.iter().filter(|(_, value)| value.is_some()).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn random_batch(random: &mut StdRng, base_offset: i64) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: Offset(base_offset), ..BatchOptions::default() });
    for at in 0..random.random_range(1..6) {
        let key = format!("key {}", random.random_range(0..12));
        let value = vec![random.random::<u8>(); random.random_range(0..200)];
        let value = (random.random_range(0..4) > 0).then_some(&value[..]);
        builder.append(NOW + base_offset + at, Some(key.as_bytes()), value, &[]);
    }
    builder.build()
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1500,
        index_interval_bytes: 200,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        delete_retention_ms: 100,
        min_cleanable_dirty_ratio: 0.0,
        retention_ms: -1,
        ..LogConfig::default()
    }
}

async fn read_meaning(log: &Rc<Log>, from: Offset) -> Meaning {
    let mut meaning = Meaning::new();
    let (mut offset, end) = (from, log.high_watermark());
    while offset < end {
        let read = log.read(offset, end, 700, true).await.unwrap();
        let mut bytes = Vec::new();
        for chunk in read.chunks {
            match chunk {
                Chunk::Mem(part) => bytes.extend_from_slice(&part),
                Chunk::File(range) => {
                    let start = bytes.len();
                    bytes.resize(start + range.len as usize, 0);
                    fs::pread(&range.file, &mut bytes[start..], range.position).unwrap();
                }
            }
        }
        if bytes.is_empty() {
            // Nothing is left from here to the end.
            break;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            assert!(header.last_offset() >= offset, "batch {} at {offset}", header.base_offset);
            take_in(&mut meaning, &rest[..header.size()]);
            offset = header.next_offset();
            rest = &rest[header.size()..];
        }
    }
    meaning
}

/// As a partition's log: a snapshot at a segment's end says that all before it is on the device.
fn with_snapshots(log: Rc<Log>) -> Rc<Log> {
    log.set_snapshot_source(Rc::new(|| Bytes::from(ProducerTable::new(Offset(0)).encode_snapshot())));
    log
}

/// Appends, compacts, reads and starts again, in any order: the log always means the same.
#[test]
fn a_compacted_log_means_what_it_meant() {
    for io in MODES {
        for seed in 0..12 {
            let mut random = StdRng::seed_from_u64(seed);
            let root = data_dir();
            run(async {
                let mut shard = LogShard::new(options(io));
                let mut log = with_snapshots(Written::new(&shard, root.path(), 0, config()).log);
                let mut meaning = Meaning::new();
                let mut now_ms = NOW;
                for step in 0..60 {
                    match random.random_range(0..10) {
                        0..=6 => {
                            let batch = random_batch(&mut random, log.log_end_offset().0);
                            take_in(&mut meaning, &batch);
                            let header = BatchHeader::parse(&batch).unwrap();
                            log.append(AppendBatch {
                                bytes: batch.freeze(),
                                base_offset: header.base_offset,
                                last_offset: header.last_offset(),
                                leader_epoch: LeaderEpoch(0),
                                max_timestamp: header.max_timestamp,
                            })
                            .unwrap();
                            log.wait_flushed(log.log_end_offset()).await.unwrap();
                        }
                        7 | 8 => {
                            let memory = if random.random() { KEYS_BYTES_MAX } else { 300 };
                            let before = log.compacted_to().unwrap_or_default();
                            let (segments, size) = (log.segment_count(), log.size_bytes());
                            if let Some(done) = log.compact(&compact_options(now_ms, memory)).await.unwrap() {
                                assert!(done.end_offset > before, "seed {seed}, step {step}: no progress");
                                assert_eq!(log.compacted_to(), Some(done.end_offset));
                                assert_eq!(log.size_bytes(), size + done.bytes_after - done.bytes_before);
                                assert_eq!(log.segment_count(), segments + done.segments_after - done.segments_before);
                            }
                        }
                        _ => {
                            log.close().await.unwrap();
                            shard = LogShard::new(options(io));
                            let end = log.log_end_offset();
                            let found = loaded(root.path(), 0, config(), random.random());
                            assert_eq!(
                                (found.log_end_offset, found.damage.clone()),
                                (end, None),
                                "seed {seed}, step {step}"
                            );
                            let compacted_to = log.compacted_to();
                            log = with_snapshots(Log::open(found, &shard, LeaderEpoch(0)));
                            log.set_compacted_to(compacted_to);
                        }
                    }
                    now_ms += random.random_range(0..60);
                    assert_eq!(live(&read_meaning(&log, Offset(0)).await), live(&meaning), "seed {seed}, step {step}");
                    let from = Offset(random.random_range(0..=log.log_end_offset().0));
                    let some = read_meaning(&log, from).await;
                    assert!(
                        some.iter().all(|(key, value)| meaning.get(key) == Some(value)),
                        "seed {seed}, step {step}"
                    );
                }
                log.close().await.unwrap();
            });
        }
    }
}

#[test]
fn a_log_does_not_grow_with_what_is_superseded() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(MODES[1]));
        let log = Written::new(&shard, root.path(), 0, config()).log;
        for round in 0..300_i64 {
            let mut builder =
                BatchBuilder::new(BatchOptions { base_offset: log.log_end_offset(), ..BatchOptions::default() });
            for key in 0..5 {
                builder.append(NOW + round, Some(format!("{key}").as_bytes()), Some(&[7; 20]), &[]);
            }
            let batch = builder.build();
            let header = BatchHeader::parse(&batch).unwrap();
            log.append(AppendBatch {
                bytes: Bytes::from(batch),
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                leader_epoch: LeaderEpoch(0),
                max_timestamp: header.max_timestamp,
            })
            .unwrap();
            log.wait_flushed(log.log_end_offset()).await.unwrap();
            if log.compactable(NOW).await.unwrap().is_some_and(|wish| wish.is_due) {
                log.compact(&compact_options(NOW, KEYS_BYTES_MAX)).await.unwrap();
            }
            assert!(log.size_bytes() < 12_000, "{} bytes in round {round}", log.size_bytes());
        }
        assert!(log.segment_count() < 6);
        log.close().await.unwrap();
        // A reader that asks for an offset that is gone is given the next one.
        let mut scanner = LogScanner::open(&log.dir(), Offset(0), log.log_end_offset()).unwrap();
        let first = scanner.next_batch().unwrap().unwrap().0;
        assert!(first.base_offset.0 > 1000, "{}", first.base_offset);
    });
}

#[test]
fn no_power_cut_changes_what_a_log_means() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut segments, mut meaning, mut end) = (Vec::new(), Meaning::new(), 0);
        for _ in 0..5 {
            let (base, mut bytes) = (end, Vec::new());
            for _ in 0..random.random_range(1..6) {
                let batch = random_batch(&mut random, end);
                take_in(&mut meaning, &batch);
                end = BatchHeader::parse(&batch).unwrap().next_offset().0;
                bytes.extend_from_slice(&batch);
            }
            segments.push((base, bytes));
        }
        let dir_of = |root: &Path| root.join("t-0");
        let before = |root: &Path| {
            let dir = dir_of(root);
            fs::create_dir(&dir).unwrap();
            fs::sync_dir(root).unwrap();
            for (base, bytes) in &segments {
                write_segment(&dir, *base, bytes);
                let snapshot = ProducerTable::new(Offset(*base)).encode_snapshot();
                fs::write_synced(&names::snapshot_file(&dir, Offset(*base)), &snapshot).unwrap();
            }
            let id = crate::types::KafkaUuid([7; 16]).to_string();
            fs::write_synced(&dir.join(names::PARTITION_METADATA), format!("version: 0\ntopic_id: {id}").as_bytes())
                .unwrap();
            fs::sync_dir(&dir).unwrap();
        };
        let body = |root: &Path| {
            let ends = segments.iter().skip(1).map(|(base, _)| *base).chain([end]);
            // The last one is the active one.
            let sources: Vec<Source> = segments
                .iter()
                .zip(ends)
                .map(|((base, bytes), end)| Source {
                    base_offset: Offset(*base),
                    size_bytes: bytes.len() as u64,
                    end_offset: Offset(end),
                })
                .take(4)
                .collect();
            let config = LogConfig { segment_bytes: 2500, ..config() };
            let mut job =
                Job::new(dir_of(root).into(), config, rules(NOW), (sources, Vec::new()), Offset(0), KEYS_BYTES_MAX);
            loop {
                match job.step().unwrap() {
                    Progress::More => {}
                    Progress::Done => break,
                    Progress::Ready(output) => {
                        let bases: Vec<Offset> = output.sources.iter().map(|it| it.base_offset).collect();
                        swap::swap_names(&dir_of(root), output.base_offset(), &bases).unwrap();
                    }
                }
            }
        };
        power_cuts(before, body, |left, done, cut| {
            let found = loaded(left, 0, config(), false);
            let what = format!("seed {seed}, cut {cut}, done {done}");
            assert_eq!((found.damage.clone(), found.log_end_offset), (None, Offset(end)), "{what}");
            let mut now = Meaning::new();
            let mut scanner = LogScanner::open(&found.dir, Offset(0), Offset(end)).unwrap();
            while let Some((_, batch)) = scanner.next_batch().unwrap() {
                take_in(&mut now, batch);
            }
            assert_eq!(live(&now), live(&meaning), "{what}");
            let left_over: Vec<String> = fs::list(&found.dir).unwrap().into_iter().map(|(name, _)| name).collect();
            let half_done = |name: &str| matches!(FileKind::of(name), FileKind::Swap(_) | FileKind::Cleaned(_));
            assert!(!left_over.iter().any(|name| half_done(name)), "{what}");
        });
    }
}
