//! A shard: the partitions and coordinators of one core, and the requests that cross cores.
