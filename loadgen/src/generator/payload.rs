//! What values and keys are made of: the same bytes from the same seed.

use std::io::Read;

use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};

use crate::{
    error::Error,
    workload::{Keys, Workload},
};

/// Values are cut from a pool of this size, or a little more where they are large.
const POOL_BYTES: usize = 1 << 20;
/// What the compressible share of every value is made of.
const PHRASE: &[u8] =
    b"{\"event\":\"page-view\",\"user\":\"guest\",\"path\":\"/index.html\",\"referrer\":\"-\",\"status\":200} ";

/// The bytes that values are cut from.
pub struct Payload {
    pool: Vec<u8>,
    random_share: f64,
    phrase: Vec<u8>,
}

impl Payload {
    pub fn new(workload: &Workload) -> Result<Payload, Error> {
        let value_bytes_max = workload.record_bytes_max;
        let mut pool = vec![0; POOL_BYTES + value_bytes_max];
        let mut random_share = 1.0 - workload.compressibility;
        if let Some(path) = &workload.payload_file {
            let mut file = std::fs::File::open(path)
                .map_err(|error| Error::Wrong(format!("--payload-file (payloadFile) {}: {error}", path.display())))?;
            let mut filled = 0;
            while filled < pool.len() {
                match file.read(&mut pool[filled..]).map_err(|error| Error::file(path, &error))? {
                    0 if filled == 0 => return Err(Error::Wrong(format!("{} is empty", path.display()))),
                    0 => {
                        // A short file is repeated.
                        let again = filled.min(pool.len() - filled);
                        pool.copy_within(..again, filled);
                        filled += again;
                    }
                    read => filled += read,
                }
            }
            random_share = 1.0;
        } else {
            SmallRng::seed_from_u64(workload.seed).fill_bytes(&mut pool);
        }
        let phrase = PHRASE.iter().copied().cycle().take(value_bytes_max).collect();
        Ok(Payload { pool, random_share, phrase })
    }

    /// Appends a value of `bytes` bytes; the same `at` gives the same one.
    pub fn value(&self, at: u64, bytes: usize, out: &mut Vec<u8>) {
        let from = (scatter(at) % POOL_BYTES as u64) as usize;
        let fresh = (bytes as f64 * self.random_share).round() as usize;
        out.extend_from_slice(&self.pool[from..from + fresh]);
        out.extend_from_slice(&self.phrase[..bytes - fresh]);
    }
}

/// Spreads numbers that follow each other (the finisher of splitmix64).
pub fn scatter(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Keys by the partition that Kafka's clients send them to, and how likely each partition is.
pub struct KeySpace {
    /// For each partition: its keys with the sum of the weights up to and with each.
    by_partition: Vec<Vec<(u32, f64)>>,
    /// The sum of the weights of the partitions up to and with each.
    partitions: Vec<f64>,
}

impl KeySpace {
    pub fn new(keys: Keys, partitions: u32) -> Option<KeySpace> {
        let (count, exponent) = match keys {
            Keys::None => return None,
            Keys::Uniform { count } => (count, 0.0),
            Keys::Zipf { count, exponent } => (count, exponent),
        };
        let mut by_partition: Vec<Vec<(u32, f64)>> = vec![Vec::new(); partitions as usize];
        for key in 0..count {
            let weight = f64::from(key + 1).powf(-exponent);
            let partition = (murmur2(&key_bytes(key)) & 0x7fff_ffff) % partitions;
            let keys = &mut by_partition[partition as usize];
            let sum = keys.last().map_or(0.0, |(_, sum)| *sum);
            keys.push((key, sum + weight));
        }
        let mut sum = 0.0;
        let weight = |keys: &Vec<(u32, f64)>| {
            sum += keys.last().map_or(0.0, |(_, sum)| *sum);
            sum
        };
        let partitions = by_partition.iter().map(weight).collect();
        Some(KeySpace { by_partition, partitions })
    }

    /// The partition of the next record.
    pub fn partition(&self, random: &mut SmallRng) -> usize {
        let sum = self.partitions.last().copied().unwrap_or(0.0);
        let at = random.random::<f64>() * sum;
        self.partitions.partition_point(|&upto| upto <= at).min(self.partitions.len() - 1)
    }

    /// A key of a partition; none where no key falls there.
    pub fn key(&self, partition: usize, random: &mut SmallRng) -> Option<Vec<u8>> {
        let keys = self.by_partition.get(partition)?;
        let (_, sum) = keys.last()?;
        let at = random.random::<f64>() * sum;
        let index = keys.partition_point(|&(_, upto)| upto <= at).min(keys.len() - 1);
        Some(key_bytes(keys[index].0))
    }
}

fn key_bytes(key: u32) -> Vec<u8> {
    format!("{key:010}").into_bytes()
}

/// The hash by which Kafka's Java client spreads keys over partitions (`Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0_u32, |k, &byte| (k << 8) | u32::from(byte)).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0_u32, |k, &byte| (k << 8) | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_the_java_client_sends_them() {
        // The pairs of Kafka's own UtilsTest.testMurmur2.
        let known: [(&[u8], i32); 4] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"abc", 479_470_107),
        ];
        for (text, hash) in known {
            assert_eq!(murmur2(text).cast_signed(), hash, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_first_key_of_zipf_gets_its_share() {
        let seed = 7;
        let mut random = SmallRng::seed_from_u64(seed);
        let space = KeySpace::new(Keys::Zipf { count: 100, exponent: 1.0 }, 4).unwrap();
        let mut first = 0;
        for _ in 0..20_000 {
            let partition = space.partition(&mut random);
            first += u32::from(space.key(partition, &mut random) == Some(key_bytes(0)));
        }
        // 1 / (1 + 1/2 + ... + 1/100) = 0.193
        let share = f64::from(first) / 20_000.0;
        assert!((0.18..0.21).contains(&share), "seed {seed}: {share}");
    }

    #[test]
    fn the_same_place_gives_the_same_value_and_its_share_is_fresh() {
        let workload = Workload { compressibility: 0.75, ..Workload::default() };
        let payload = Payload::new(&workload).unwrap();
        let value = |at| {
            let mut out = Vec::new();
            payload.value(at, 1000, &mut out);
            out
        };
        assert_eq!(value(1), value(1));
        assert_ne!(value(1)[..250], value(2)[..250]);
        assert_eq!(value(1)[250..], value(2)[250..]);
    }
}
