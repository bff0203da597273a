//! Random logs: what was appended is what is loaded, with the indexes, epochs and producers it was appended with.

use proptest::prelude::*;

use super::super::super::index::{IndexedBatch, SegmentIndexes};
use super::super::super::names::FileKind;
use super::super::super::producers::ProducerTable;
use super::super::super::recovery::write_indexes;
use super::*;
use crate::record::{BatchBuilder, BatchHeader, BatchOptions, Codec, Producer};
use crate::types::ProducerId;

/// One append.
#[derive(Clone, Copy, Debug)]
struct Append {
    records: i32,
    value_bytes: usize,
    /// Rolls the segment first.
    roll: bool,
    /// Raises the leader epoch first.
    raise: bool,
    timestamp: i64,
    producer: Option<u8>,
    compressed: bool,
}

prop_compose! {
    fn append()(
        records in 1..5i32,
        value_bytes in 0..300usize,
        roll in prop::bool::weighted(0.08),
        raise in prop::bool::weighted(0.1),
        timestamp in 0..5000i64,
        producer in prop::option::of(0..4u8),
        compressed: bool,
    ) -> Append {
        Append { records, value_bytes, roll, raise, timestamp, producer, compressed }
    }
}

/// A log as the live one keeps it.
struct Model {
    batches: Vec<Vec<u8>>,
    end: Offset,
    epoch: i32,
    epochs: LeaderEpochCache,
    producers: ProducerTable,
    sequences: [i32; 4],
    /// Base offset, bytes and indexes of each segment.
    segments: Vec<(Offset, Vec<u8>, SegmentIndexes)>,
}

impl Model {
    fn new(config: &LogConfig) -> Model {
        Model {
            batches: Vec::new(),
            end: Offset(0),
            epoch: 0,
            epochs: epochs(&[(0, 0)]),
            producers: ProducerTable::new(Offset(0)),
            sequences: [0; 4],
            segments: vec![(Offset(0), Vec::new(), SegmentIndexes::new(Offset(0), config))],
        }
    }

    fn append(&mut self, append: Append, config: &LogConfig, partition: &Partition) {
        if append.raise {
            self.epoch += 1;
        }
        let (base, bytes, indexes) = self.segments.last_mut().unwrap();
        if append.roll && !bytes.is_empty() {
            indexes.seal();
            write_indexes(partition.dir(), *base, indexes, false).unwrap();
            let snapshot = names::snapshot_file(partition.dir(), self.end);
            std::fs::write(snapshot, self.producers.encode_snapshot()).unwrap();
            self.segments.push((self.end, Vec::new(), SegmentIndexes::new(self.end, config)));
        }
        let producer = append.producer.map_or(Producer::NONE, |id| {
            let sequence = &mut self.sequences[usize::from(id)];
            let base_sequence = *sequence;
            *sequence += append.records;
            Producer { id: ProducerId(i64::from(id)), epoch: 0, base_sequence }
        });
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: self.end,
            leader_epoch: LeaderEpoch(self.epoch),
            producer,
            codec: if append.compressed { Codec::Lz4 } else { Codec::None },
            ..BatchOptions::default()
        });
        for record in 0..append.records {
            builder.append(append.timestamp + i64::from(record % 2), None, Some(&vec![7; append.value_bytes]), &[]);
        }
        let batch = builder.build().to_vec();
        let header = BatchHeader::parse(&batch).unwrap();
        self.epochs.assign(header.leader_epoch, header.base_offset);
        self.producers.replay(&batch, NOW_MS).unwrap();
        self.end = header.next_offset();
        let (_, bytes, indexes) = self.segments.last_mut().unwrap();
        let noted = IndexedBatch {
            position: bytes.len() as u32,
            size: batch.len() as u32,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
        };
        indexes.note(noted, config.index_interval_bytes);
        bytes.extend_from_slice(&batch);
        self.batches.push(batch);
    }

    /// Compares a loaded log that holds all that was appended.
    fn check(&self, partition: &Partition, loaded: &LoadedLog) {
        assert_eq!(partition.batches(loaded), self.batches);
        assert_eq!(loaded.log_end_offset, self.end);
        let (base, bytes, indexes) = self.segments.last().unwrap();
        assert_eq!((loaded.active.base_offset, loaded.active.size_bytes), (*base, bytes.len() as u64));
        assert_eq!(&loaded.active.indexes, indexes);
        let sealed: Vec<_> = loaded.sealed.iter().map(|segment| (segment.base_offset, segment.size_bytes)).collect();
        let expected: Vec<_> =
            self.segments.iter().map(|(base, bytes, _)| (*base, bytes.len() as u64)).take(sealed.len()).collect();
        assert_eq!(sealed, expected);
        assert_eq!(sealed.len() + 1, self.segments.len());
        for (base, _, indexes) in &self.segments[..sealed.len()] {
            let read = |path| std::fs::read(path).unwrap();
            assert_eq!(read(names::offset_index_file(partition.dir(), *base)), indexes.offsets.encode());
            assert_eq!(read(names::time_index_file(partition.dir(), *base)), indexes.times.encode());
        }
        assert_eq!(producers(loaded), self.producers.encode_snapshot());
        if !self.batches.is_empty() {
            assert_eq!(loaded.epochs, self.epochs);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_log_is_loaded_as_it_was_appended(
        appends in prop::collection::vec(append(), 0..60),
        interval in prop::sample::select(vec![0u32, 300, 1000, 4096]),
        flushed in 0.0..=1.0f64,
        torn in 0..200usize,
        keep_indexes: bool,
    ) {
        let mut partition = Partition::new();
        partition.options.config.index_interval_bytes = interval;
        partition.options.leader_epoch = LeaderEpoch(i32::MAX);
        let config = partition.options.config;
        let mut model = Model::new(&config);
        for append in &appends {
            model.append(*append, &config, &partition);
        }
        for (base, bytes, _) in &model.segments {
            partition.write(base.0, bytes);
        }
        let (base, bytes, indexes) = model.segments.last().unwrap();
        write_indexes(partition.dir(), *base, indexes, false).unwrap();
        model.epochs.write(partition.dir()).unwrap();

        partition.options.clean = true;
        partition.options.recovery_point = model.end;
        model.check(&partition, &load_unsynced(&partition.options));

        // After a crash: room behind the data, and any of the small files missing.
        partition.options.clean = false;
        partition.options.recovery_point = end_of(&model.batches[..(flushed * model.batches.len() as f64) as usize]);
        let mut room = bytes.clone();
        room.resize(bytes.len() + 10_000, 0);
        partition.write(base.0, &room);
        if !keep_indexes {
            for (name, _) in partition.content() {
                if !matches!(FileKind::of(&name), FileKind::Log(_)) {
                    std::fs::remove_file(partition.path(&name)).unwrap();
                }
            }
        }
        model.check(&partition, &partition.load());

        // Torn somewhere in the last segment.
        let torn = torn.min(bytes.len());
        partition.write(base.0, &bytes[..bytes.len() - torn]);
        partition.options.recovery_point = Offset(0);
        let loaded = partition.load();
        let kept = partition.batches(&loaded);
        prop_assert_eq!(&kept[..], &model.batches[..kept.len()]);
        let lost: usize = model.batches[kept.len()..].iter().map(Vec::len).sum();
        prop_assert!(lost >= torn && kept.len() == model.batches.len() || model.batches[kept.len()].len() > lost - torn);
    }
}
