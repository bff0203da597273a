//! Counters and gauges that shards write and the admin port shows.
