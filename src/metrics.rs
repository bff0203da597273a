//! Counters and gauges that shards write and the admin port shows.
//!
//! Each shard owns a [`ShardMetrics`] and is its only writer: a count is a plain load and store on a cache line that
//! no other core writes, without a lock and without a locked instruction. A scrape reads all shards and adds them up.
//! Names are Kafka's, as its JMX exporter spells them, where Kafka has the same metric; others begin with `corelane_`.

mod histogram;
mod shard;
mod storage;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use histogram::Histogram;
pub use shard::{Counter, Gauge, RequestMetrics, ShardMetrics};
pub use storage::StorageMetrics;

use crate::types::ShardId;
use histogram::Totals;
use shard::{COUNTERS, GAUGES, HISTOGRAMS, MAXIMA};

/// Facts that never change while the broker runs, shown as labels of `..._info` metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    pub version: &'static str,
    pub node_id: i32,
    pub profile: &'static str,
    /// `log.flush.acks`.
    pub flush_acks: &'static str,
    /// `log.io` as it is, not as it was asked for.
    pub io: &'static str,
    pub file_system: &'static str,
}

/// The metrics of all shards.
pub struct Metrics {
    shards: Vec<Arc<ShardMetrics>>,
    storage: Arc<StorageMetrics>,
    info: BrokerInfo,
    /// Names of the APIs by key, for labels.
    api_names: Vec<(i16, &'static str)>,
}

impl Metrics {
    pub fn new(shards: usize, info: BrokerInfo, api_names: Vec<(i16, &'static str)>) -> Arc<Metrics> {
        let shards = (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect();
        Arc::new(Metrics { shards, storage: Arc::default(), info, api_names })
    }

    /// What a shard writes. Only its own thread may.
    pub fn shard(&self, shard: ShardId) -> Arc<ShardMetrics> {
        Arc::clone(self.shards.get(shard.index()).expect("metrics are made for all shards"))
    }

    /// What is known of the storage, by the process as a whole.
    pub fn storage(&self) -> &Arc<StorageMetrics> {
        &self.storage
    }

    /// The text that Prometheus scrapes (OpenMetrics 1.0).
    pub fn render(self: &Arc<Metrics>) -> String {
        let mut registry = Registry::default();
        let info = &self.info;
        registry.register(
            "corelane_build",
            "The version that runs",
            Info::new(vec![("version", info.version.to_owned()), ("profile", info.profile.to_owned())]),
        );
        registry.register(
            "corelane_durability",
            "What an acknowledgement promises: log.flush.acks=all survives a power cut, none does not",
            Info::new(vec![
                ("log_flush_acks", info.flush_acks.to_owned()),
                ("log_io", info.io.to_owned()),
                ("file_system", info.file_system.to_owned()),
            ]),
        );
        registry.register("kafka_server_app", "The broker", Info::new(vec![("node_id", info.node_id.to_string())]));
        registry.register_collector(Box::new(Arc::clone(self)));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("writing into a String cannot fail");
        out
    }

    fn encode_sums(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for family in COUNTERS.chunk_by(|a, b| a.name == b.name) {
            let [first, ..] = family else { continue };
            let mut metric = encoder.encode_descriptor(first.name, first.help(), None, MetricType::Counter)?;
            for counter in family {
                let sum: u64 = self.shards.iter().map(|shard| (counter.read)(shard)).sum();
                match counter.label {
                    Some(label) => metric.encode_family(&[label])?.encode_counter::<NoLabels, _, f64>(&sum, None)?,
                    None => metric.encode_counter::<NoLabels, _, f64>(&sum, None)?,
                }
            }
        }
        for family in GAUGES.chunk_by(|a, b| a.name == b.name) {
            let [first, ..] = family else { continue };
            let mut metric = encoder.encode_descriptor(first.name, first.help(), None, MetricType::Gauge)?;
            for gauge in family {
                let sum: i64 = self.shards.iter().map(|shard| (gauge.read)(shard)).sum();
                match gauge.label {
                    Some(label) => metric.encode_family(&[label])?.encode_gauge(&sum)?,
                    None => metric.encode_gauge(&sum)?,
                }
            }
        }
        for gauge in MAXIMA {
            let most = self.shards.iter().map(|shard| (gauge.read)(shard)).max().unwrap_or_default();
            encoder.encode_descriptor(gauge.name, gauge.help(), None, MetricType::Gauge)?.encode_gauge(&most)?;
        }
        for histogram in HISTOGRAMS {
            let mut totals = Totals::default();
            self.shards.iter().for_each(|shard| totals.add((histogram.read)(shard)));
            let mut metric =
                encoder.encode_descriptor(histogram.name, histogram.help(), None, MetricType::Histogram)?;
            let (sum, count, buckets) = totals.in_seconds();
            metric.encode_histogram::<NoLabels>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn encode_storage(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let storage = &self.storage;
        for (name, help, value) in [
            (
                "kafka_log_logmanager_offlinelogdirectorycount",
                "Data directories that take no writes",
                storage.offline_directories(),
            ),
            (
                "kafka_server_replicamanager_offlinereplicacount",
                "Partitions that take no records because their storage failed or is damaged",
                storage.offline_replicas(),
            ),
            (
                "corelane_disk_full",
                "Whether producers are refused because the disk is full",
                i64::from(storage.is_disk_full()),
            ),
            ("corelane_disk_reserve_bytes", "What the reserve file keeps back on the disk", storage.reserve_bytes()),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        let help = "How often the disk got full";
        let mut metric = encoder.encode_descriptor("corelane_disk_full_times", help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabels, _, f64>(&storage.times_full(), None)
    }

    /// Requests by API; those nobody sent are left out.
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = "kafka_network_requestmetrics_errors";
        let help = "Requests that were answered with an error, by API";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for &(key, api) in &self.api_names {
            let errors: u64 = self.shards.iter().filter_map(|s| s.request(key)).map(|r| r.errors.get()).sum();
            if errors > 0 {
                metric.encode_family(&[("request", api)])?.encode_counter::<NoLabels, _, f64>(&errors, None)?;
            }
        }
        let name = "kafka_network_requestmetrics_totaltime_seconds";
        let help = "From a request's last byte to its answer's last byte, by API";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for &(key, api) in &self.api_names {
            let mut totals = Totals::default();
            self.shards.iter().filter_map(|s| s.request(key)).for_each(|r| totals.add(&r.duration));
            let (sum, count, buckets) = totals.in_seconds();
            if count > 0 {
                metric.encode_family(&[("request", api)])?.encode_histogram::<NoLabels>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

/// The encoder's type parameter for metrics without exemplars.
type NoLabels = [(&'static str, &'static str); 0];

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("shards", &self.shards.len()).field("info", &self.info).finish_non_exhaustive()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_sums(&mut encoder)?;
        self.encode_storage(&mut encoder)?;
        self.encode_requests(&mut encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn metrics() -> Arc<Metrics> {
        let info = BrokerInfo {
            version: "1.2.3",
            node_id: 7,
            profile: "balanced",
            flush_acks: "all",
            io: "direct",
            file_system: "ext4",
        };
        Metrics::new(2, info, vec![(0, "Produce"), (1, "Fetch")])
    }

    #[test]
    fn a_scrape_adds_up_what_shards_wrote() {
        let metrics = metrics();
        let (first, second) = (metrics.shard(ShardId(0)), metrics.shard(ShardId(1)));
        first.bytes_in.add(100);
        second.bytes_in.add(23);
        first.connections.add(5);
        second.connections.add(1);
        second.connections.sub(3);
        second.connections_rejected_per_ip.increment();
        first.record_request(0, 250, false);
        second.record_request(0, 3_000_000, true);
        first.flush_duration.record_us(80);
        first.max_dirty_percent.set(70);
        second.max_dirty_percent.set(20);
        metrics.storage().set_disk_full(true);
        metrics.storage().add_offline_replicas(3);
        let text = metrics.render();
        for line in [
            "kafka_server_brokertopicmetrics_bytesin_total 123",
            "kafka_server_socketservermetrics_connection_count 3",
            "corelane_connections_rejected_total{reason=\"max.connections.per.ip\"} 1",
            "corelane_connections_rejected_total{reason=\"max.connections\"} 0",
            "corelane_durability_info{log_flush_acks=\"all\",log_io=\"direct\",file_system=\"ext4\"} 1",
            "corelane_build_info{version=\"1.2.3\",profile=\"balanced\"} 1",
            "kafka_network_requestmetrics_errors_total{request=\"Produce\"} 1",
            "kafka_network_requestmetrics_totaltime_seconds_count{request=\"Produce\"} 2",
            "kafka_network_requestmetrics_totaltime_seconds_bucket{le=\"0.00025\",request=\"Produce\"} 1",
            "kafka_network_requestmetrics_totaltime_seconds_bucket{le=\"+Inf\",request=\"Produce\"} 2",
            "corelane_log_flush_duration_seconds_sum 0.00008",
            "kafka_log_logcleanermanager_max_dirty_percent 70",
            "corelane_disk_full 1",
            "corelane_disk_full_times_total 1",
            "kafka_server_replicamanager_offlinereplicacount 3",
            "kafka_log_logmanager_offlinelogdirectorycount 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("request=\"Fetch\""));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn each_family_stands_together_with_one_help() {
        let text = metrics().render();
        let helps: Vec<_> = text.lines().filter(|line| line.starts_with("# HELP")).collect();
        let names: HashSet<_> = helps.iter().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(names.len(), helps.len(), "{helps:#?}");
    }

    #[test]
    fn shards_do_not_share_cache_lines() {
        assert!(align_of::<ShardMetrics>() >= 128);
    }
}
