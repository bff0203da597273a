//! What one shard counts.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::Histogram;

/// A number that only grows. Written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        // One writer, so load and store lose nothing, and cost no locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls. Written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, by: i64) {
        self.set(self.get().wrapping_add(by));
    }

    pub fn sub(&self, by: i64) {
        self.set(self.get().wrapping_sub(by));
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a field is shown. Rows with the same name are one family and stand together.
pub struct Row<T: ?Sized + 'static> {
    pub name: &'static str,
    help: &'static str,
    pub label: Option<(&'static str, &'static str)>,
    pub read: fn(&ShardMetrics) -> T,
}

impl<T> Row<T> {
    pub fn help(&self) -> &'static str {
        self.help.trim_start().trim_end_matches('.')
    }
}

/// How a histogram is shown.
pub struct HistogramRow {
    pub name: &'static str,
    help: &'static str,
    pub read: fn(&ShardMetrics) -> &Histogram,
}

impl HistogramRow {
    pub fn help(&self) -> &'static str {
        self.help.trim_start().trim_end_matches('.')
    }
}

/// API keys that are counted one by one; higher ones are not.
const API_KEYS: usize = 96;

/// The requests of one API.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    pub errors: Counter,
    /// From a request's last byte to its answer's last byte.
    pub duration: Histogram,
}

/// Declares the fields of [`ShardMetrics`] and the tables they are shown by: a doc comment, then
/// `field = "name"[, label = "value"];`.
macro_rules! shard_metrics {
    (
        counters { $($(#[doc = $chelp:literal])+ $counter:ident = $cname:literal $(, $clabel:ident = $cvalue:literal)?;)* }
        gauges { $($(#[doc = $ghelp:literal])+ $gauge:ident = $gname:literal $(, $glabel:ident = $gvalue:literal)?;)* }
        maxima { $($(#[doc = $mhelp:literal])+ $maximum:ident = $mname:literal;)* }
        histograms { $($(#[doc = $hhelp:literal])+ $histogram:ident = $hname:literal;)* }
    ) => {
        /// The metrics of one shard, written by that shard's thread alone. Aligned to two cache lines, for processors
        /// fetch them in pairs.
        #[derive(Debug)]
        #[repr(align(128))]
        pub struct ShardMetrics {
            $($(#[doc = $chelp])+ pub $counter: Counter,)*
            $($(#[doc = $ghelp])+ pub $gauge: Gauge,)*
            $($(#[doc = $mhelp])+ pub $maximum: Gauge,)*
            $($(#[doc = $hhelp])+ pub $histogram: Histogram,)*
            requests: Box<[RequestMetrics; API_KEYS]>,
        }

        impl Default for ShardMetrics {
            fn default() -> ShardMetrics {
                ShardMetrics {
                    $($counter: Counter::default(),)*
                    $($gauge: Gauge::default(),)*
                    $($maximum: Gauge::default(),)*
                    $($histogram: Histogram::default(),)*
                    requests: Box::new(std::array::from_fn(|_| RequestMetrics::default())),
                }
            }
        }

        pub const COUNTERS: &[Row<u64>] = &[$(Row {
            name: $cname,
            help: concat!($($chelp),+),
            label: shard_metrics!(@label $($clabel $cvalue)?),
            read: |shard| shard.$counter.get(),
        },)*];

        pub const GAUGES: &[Row<i64>] = &[$(Row {
            name: $gname,
            help: concat!($($ghelp),+),
            label: shard_metrics!(@label $($glabel $gvalue)?),
            read: |shard| shard.$gauge.get(),
        },)*];

        /// Gauges of which the greatest of all shards is shown.
        pub const MAXIMA: &[Row<i64>] = &[$(Row {
            name: $mname,
            help: concat!($($mhelp),+),
            label: None,
            read: |shard| shard.$maximum.get(),
        },)*];

        pub const HISTOGRAMS: &[HistogramRow] = &[$(HistogramRow {
            name: $hname,
            help: concat!($($hhelp),+),
            read: |shard| &shard.$histogram,
        },)*];
    };
    (@label) => { None };
    (@label $label:ident $value:literal) => { Some((stringify!($label), $value)) };
}

shard_metrics! {
    counters {
        /// Records that producers wrote.
        messages_in = "kafka_server_brokertopicmetrics_messagesin";
        /// Bytes of record batches that producers wrote.
        bytes_in = "kafka_server_brokertopicmetrics_bytesin";
        /// Bytes of record batches that were sent to consumers.
        bytes_out = "kafka_server_brokertopicmetrics_bytesout";
        /// Bytes of record batches that were refused.
        bytes_rejected = "kafka_server_brokertopicmetrics_bytesrejected";
        /// Partitions of produce requests.
        produce_partitions = "kafka_server_brokertopicmetrics_totalproducerequests";
        /// Partitions of produce requests that failed.
        produce_partitions_failed = "kafka_server_brokertopicmetrics_failedproducerequests";
        /// Partitions of fetch requests.
        fetch_partitions = "kafka_server_brokertopicmetrics_totalfetchrequests";
        /// Partitions of fetch requests that failed.
        fetch_partitions_failed = "kafka_server_brokertopicmetrics_failedfetchrequests";
        /// Batches that a producer sent again and that were there already.
        produce_duplicates = "corelane_produce_duplicates";
        /// Connections that were accepted.
        connections_accepted = "corelane_connections_accepted";
        /// Connections that were closed at once, by the limit they met.
        connections_rejected_max = "corelane_connections_rejected", reason = "max.connections";
        /// Connections that were closed at once, by the limit they met.
        connections_rejected_per_ip = "corelane_connections_rejected", reason = "max.connections.per.ip";
        /// Connections closed because nothing came for connections.max.idle.ms.
        connections_idle_closed = "corelane_connections_idle_closed";
        /// Connections closed because of a frame that is no request.
        connections_malformed_closed = "corelane_connections_malformed_closed";
        /// Bytes received from clients.
        received_bytes = "corelane_network_received_bytes";
        /// Bytes sent to clients.
        sent_bytes = "corelane_network_sent_bytes";
        /// How often connections were not read because a limit on requests or memory was reached.
        receive_pauses = "corelane_network_receive_pauses";
        /// Requests for a partition of another shard.
        hops = "corelane_shard_hops";
        /// Turns of a shard's loop.
        loop_turns = "corelane_runtime_turns";
        /// Calls of io_uring_enter.
        ring_enters = "corelane_runtime_ring_enters";
        /// Writes to segments.
        log_writes = "corelane_log_writes";
        /// Bytes written to segments, padding of direct writes included.
        log_written_bytes = "corelane_log_written_bytes";
        /// Flushes to the device that failed.
        log_flush_failures = "corelane_log_flush_failures";
        /// Reads that met a damaged batch and were refused.
        log_damaged_reads = "corelane_log_damaged_reads";
        /// Compactions that were done.
        compactions = "corelane_log_compactions";
        /// Bytes of the segments that compactions replaced.
        compaction_before_bytes = "corelane_log_compaction_bytes", side = "before";
        /// Bytes of the segments that compactions replaced.
        compaction_after_bytes = "corelane_log_compaction_bytes", side = "after";
        /// Segments that were rolled.
        log_segments_rolled = "corelane_log_segments_rolled";
        /// Bytes of fetches, by where they came from.
        fetch_memory_bytes = "corelane_fetch_source_bytes", source = "memory";
        /// Bytes of fetches, by where they came from.
        fetch_sendfile_bytes = "corelane_fetch_source_bytes", source = "sendfile";
        /// Bytes of fetches, by where they came from.
        fetch_device_bytes = "corelane_fetch_source_bytes", source = "device";
        /// Ranges that left the page cache between the look at it and sendfile, so that a shard waited for the device.
        fetch_sendfile_evicted = "corelane_fetch_sendfile_evicted";
        /// Fetch sessions that gave way to others.
        fetch_sessions_evicted = "kafka_server_fetchsessioncache_incrementalfetchsessionevictions";
        /// Times a segment file was opened again.
        files_reopened = "corelane_log_files_reopened";
    }
    gauges {
        /// Connections that are open.
        connections = "kafka_server_socketservermetrics_connection_count";
        /// Requests that were received and not yet answered.
        requests_in_flight = "kafka_network_requestchannel_requestqueuesize";
        /// Memory held by requests.
        request_bytes = "corelane_network_request_bytes";
        /// Memory held by answers that were not sent yet.
        response_bytes = "corelane_network_response_bytes";
        /// Fetches that wait for records.
        waiting_fetches = "kafka_server_delayedoperationpurgatory_purgatorysize", delayedOperation = "Fetch";
        /// Produce requests that wait for their flush.
        waiting_produces = "kafka_server_delayedoperationpurgatory_purgatorysize", delayedOperation = "Produce";
        /// Incremental fetch sessions.
        fetch_sessions = "kafka_server_fetchsessioncache_numincrementalfetchsessions";
        /// Partitions of this broker.
        partitions = "kafka_server_replicamanager_partitioncount";
        /// Topics of this broker.
        topics = "kafka_controller_kafkacontroller_globaltopiccount";
        /// Whether this broker is the controller.
        active_controller = "kafka_controller_kafkacontroller_activecontrollercount";
        /// Memory that holds the newest records.
        tail_bytes = "corelane_log_tail_bytes";
        /// Segment files that are open.
        open_files = "corelane_log_open_files";
        /// Bytes in the segments of all partitions.
        log_bytes = "corelane_log_bytes";
        /// Partitions that are not compacted any more because it failed once.
        uncleanable_partitions = "kafka_log_logcleanermanager_uncleanable_partitions_count";
    }
    maxima {
        /// How much of the dirtiest compacted log has not been compacted, in percent.
        max_dirty_percent = "kafka_log_logcleanermanager_max_dirty_percent";
        /// By how much the oldest record that is to be compacted is older than max.compaction.lag.ms.
        max_compaction_delay_secs = "kafka_log_logcleaner_max_compaction_delay_secs";
        /// How long the last compaction took.
        max_clean_time_secs = "kafka_log_logcleaner_max_clean_time_secs";
        /// How much of the memory for keys the last compaction used, in percent.
        max_buffer_utilization_percent = "kafka_log_logcleaner_max_buffer_utilization_percent";
        /// How much the last compaction left of what it replaced, in percent.
        cleaner_recopy_percent = "kafka_log_logcleaner_cleaner_recopy_percent";
    }
    histograms {
        /// How long a flush to the device took.
        flush_duration = "corelane_log_flush_duration_seconds";
        /// How long a write to a segment took.
        write_duration = "corelane_log_write_duration_seconds";
    }
}

impl ShardMetrics {
    /// Counts an answered request of an API.
    pub fn record_request(&self, api_key: i16, duration_us: u64, is_error: bool) {
        let Some(request) = self.request(api_key) else { return };
        request.duration.record_us(duration_us);
        if is_error {
            request.errors.increment();
        }
    }

    pub(super) fn request(&self, api_key: i16) -> Option<&RequestMetrics> {
        self.requests.get(usize::try_from(api_key).ok()?)
    }
}
