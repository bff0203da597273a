//! What the whole process knows of its storage: set by the log and the keeper of the reserve, shown by metrics and health.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Any thread writes these, at events that are rare.
#[derive(Debug, Default)]
pub struct StorageMetrics {
    disk_full: AtomicI64,
    times_full: AtomicU64,
    reserve_bytes: AtomicI64,
    offline_replicas: AtomicI64,
    offline_directories: AtomicI64,
}

impl StorageMetrics {
    /// Whether user data is refused because the disk is full.
    pub fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(i64::from(full), Ordering::Relaxed) == 0 && full {
            self.times_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed) > 0
    }

    /// How often the disk got full.
    pub fn times_full(&self) -> u64 {
        self.times_full.load(Ordering::Relaxed)
    }

    /// What the reserve file holds now.
    pub fn set_reserve_bytes(&self, bytes: u64) {
        self.reserve_bytes.store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub fn reserve_bytes(&self) -> i64 {
        self.reserve_bytes.load(Ordering::Relaxed)
    }

    /// Partitions went offline, or with a negative number are gone.
    pub fn add_offline_replicas(&self, by: i64) {
        self.offline_replicas.fetch_add(by, Ordering::Relaxed);
    }

    /// Partitions that take no appends because their storage failed or is damaged.
    pub fn offline_replicas(&self) -> i64 {
        self.offline_replicas.load(Ordering::Relaxed)
    }

    /// The data directory takes no writes at all.
    pub fn set_directory_offline(&self) {
        self.offline_directories.store(1, Ordering::Relaxed);
    }

    pub fn offline_directories(&self) -> i64 {
        self.offline_directories.load(Ordering::Relaxed)
    }
}
