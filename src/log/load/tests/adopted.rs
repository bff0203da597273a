//! Directories that Apache Kafka wrote.

use super::super::super::partition_metadata;
use super::*;

/// A compacted log as Kafka leaves it: gaps everywhere, index files with preallocated room, a stray `.swap`.
fn kafkas(partition: &Partition) -> Vec<Vec<u8>> {
    let batches = vec![batch(2, 1, 0, b"a"), batch(7, 3, 0, b"b"), batch(12, 1, 2, b"c"), batch(20, 2, 2, b"d")];
    partition.write(0, &batches[..2].concat());
    partition.write(11, &batches[2..].concat());
    for name in ["00000000000000000000", "00000000000000000011"] {
        std::fs::write(partition.path(&format!("{name}.index")), [0; 8 * 100]).unwrap();
        std::fs::write(partition.path(&format!("{name}.timeindex")), [0; 12 * 100]).unwrap();
    }
    std::fs::write(partition.path("leader-epoch-checkpoint"), "0\n2\n0 0\n2 12\n").unwrap();
    batches
}

#[test]
fn the_active_segment_of_another_broker_is_sealed() {
    for clean in [true, false] {
        let mut partition = Partition::new();
        let batches = kafkas(&partition);
        partition.options.adopted = true;
        partition.options.clean = clean;
        partition.options.commit_reach_bytes = u64::MAX;
        let loaded = partition.load();
        assert_eq!(loaded.log_end_offset, Offset(22));
        let sealed: Vec<i64> = loaded.sealed.iter().map(|segment| segment.base_offset.0).collect();
        assert_eq!(sealed, [0, 11]);
        assert_eq!((loaded.active.base_offset, loaded.active.size_bytes), (Offset(22), 0));
        assert_eq!(partition.batches(&loaded), batches);
        assert_eq!(loaded.epochs, epochs(&[(0, 0), (2, 12)]));
        let times = std::fs::read(partition.path("00000000000000000011.timeindex")).unwrap();
        assert_eq!(times.len(), 12, "its last entry is the greatest timestamp");
        assert_eq!(times[..8], 1_000_020i64.to_be_bytes());
        assert_eq!(times[8..], 10u32.to_be_bytes());
    }
}

#[test]
fn its_empty_segment_is_continued() {
    let mut partition = Partition::new();
    let batches = kafkas(&partition);
    partition.write(22, b"");
    partition.options.adopted = true;
    partition.options.clean = true;
    let loaded = partition.load();
    assert_eq!((loaded.active.base_offset, loaded.sealed.len()), (Offset(22), 2));
    assert_eq!(partition.batches(&loaded), batches);
}

#[test]
fn a_crash_of_another_broker_is_recovered_from() {
    let mut partition = Partition::new();
    let batches = kafkas(&partition);
    let mut bytes = partition.read(11);
    bytes.truncate(bytes.len() - 1);
    bytes.resize(4096, 0);
    partition.write(11, &bytes);
    partition.options.adopted = true;
    partition.options.recovery_point = Offset(11);
    partition.options.commit_reach_bytes = u64::MAX;
    let loaded = partition.load();
    // The batch's last byte is the zero that the room begins with.
    assert_eq!(partition.batches(&loaded), batches);
    bytes[batches[2].len() + 70] ^= 1;
    partition.write(11, &bytes);
    let loaded = partition.load();
    assert_eq!(partition.batches(&loaded), &batches[..3]);
    assert_eq!(loaded.log_end_offset, Offset(13));
}

/// A partition that Apache Kafka 4.3.1 wrote, with `index.interval.bytes=200`, and stopped.
fn golden(dir: &Path) {
    let files: [(&str, &[u8]); 6] = [
        ("00000000000000000000.log", include_bytes!("golden/00000000000000000000.log")),
        ("00000000000000000000.index", include_bytes!("golden/00000000000000000000.index")),
        ("00000000000000000000.timeindex", include_bytes!("golden/00000000000000000000.timeindex")),
        ("00000000000000000090.snapshot", include_bytes!("golden/00000000000000000090.snapshot")),
        ("leader-epoch-checkpoint", include_bytes!("golden/leader-epoch-checkpoint")),
        ("partition.metadata", include_bytes!("golden/partition.metadata")),
    ];
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn index_files_made_anew_equal_kafkas() {
    let mut partition = Partition::new();
    partition.options.topic_id = partition_metadata::parse(include_bytes!("golden/partition.metadata")).unwrap();
    partition.options.config.index_interval_bytes = 200;
    partition.options.adopted = true;
    partition.options.recovery_point = Offset(90);
    golden(partition.dir());
    let kafkas = partition.content();
    for clean in [true, false] {
        for lost in [
            &[][..],
            &["00000000000000000000.index"],
            &["00000000000000000000.timeindex", "00000000000000000090.snapshot", "leader-epoch-checkpoint"],
        ] {
            golden(partition.dir());
            for name in lost {
                std::fs::remove_file(partition.path(name)).unwrap();
            }
            let snapshot_lost = lost.len() > 1;
            partition.options.clean = clean;
            let loaded = load_unsynced(&partition.options);
            assert_eq!(loaded.log_end_offset, Offset(90));
            assert_eq!((loaded.sealed.len(), loaded.active.base_offset), (1, Offset(90)));
            assert_eq!(loaded.epochs, epochs(&[(0, 0)]));
            assert_eq!(loaded.producers.encode_snapshot(), include_bytes!("golden/00000000000000000090.snapshot"));
            for (name, bytes) in &kafkas {
                if !(snapshot_lost && name.ends_with("snapshot")) {
                    assert_eq!(
                        &std::fs::read(partition.path(name)).unwrap(),
                        bytes,
                        "{name}, clean: {clean}, {lost:?}"
                    );
                }
            }
            std::fs::remove_file(partition.path("00000000000000000090.log")).unwrap();
        }
    }
}
