//! Listeners, connections, requests, quotas and Kafka's own metrics.

use super::kind::{CLASS, INT, LIST, LONG, TEXT};
use super::reasons::{METRICS, NO_QUOTAS, NO_SECURITY, SINGLE_NODE, THREADS};
use super::{Effect, Key, keys};

keys! {NETWORK:
    /// The addresses to listen on, as NAME://host:port separated by commas. No host or 0.0.0.0 is every interface;
    /// port 0 takes a free one. Listeners that controller.listener.names names are not opened.
    "listeners" = "PLAINTEXT://127.0.0.1:9092", LIST, High, PerBroker;
    /// The addresses clients are told to connect to, one per listener. By default those of `listeners`; where a
    /// listener has no host, this machine's full host name. 0.0.0.0 cannot be advertised.
    "advertised.listeners" = null, LIST, High, ReadOnly;
    /// Which security protocol each listener speaks, as NAME:PROTOCOL. Only PLAINTEXT works so far.

           "listener.security.protocol.map" = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", TEXT, Low, PerBroker;
    /// Listeners that open before the authorizer is ready.
    "early.start.listeners" = null, LIST, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How many connections may wait to be accepted on a listener; the kernel caps it at net.core.somaxconn.
    "socket.listen.backlog.size" = "1024", INT.at_least(1), Medium, ReadOnly;
    /// SO_RCVBUF of client sockets; -1 leaves the size to the kernel, which then tunes it by itself.
    "socket.receive.buffer.bytes" = "-1", INT, High, ReadOnly;
    /// SO_SNDBUF of client sockets; -1 leaves the size to the kernel, which then tunes it by itself.
    "socket.send.buffer.bytes" = "-1", INT, High, ReadOnly;
    /// The largest request a client may send. A larger one closes the connection.
    "socket.request.max.bytes" = "104857600", INT.at_least(1), High, ReadOnly;
    /// How long connecting to another broker may take at first.
    "socket.connection.setup.timeout.ms" = "10000", LONG, Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How long connecting to another broker may take at most.
    "socket.connection.setup.timeout.max.ms" = "30000", LONG, Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// A connection without a request for this long is closed; -1 keeps idle connections for ever.
    "connections.max.idle.ms" = "600000", LONG, Medium, ReadOnly;
    /// After how long an authenticated connection has to authenticate again.
    "connections.max.reauth.ms" = "0", LONG, Medium, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// How long the answer to a failed authentication is held back.
    "connection.failed.authentication.delay.ms" = "100", INT.at_least(0), Low, ReadOnly, Effect::Ignored(NO_SECURITY);
    /// How many connections the broker keeps at once; above it a new one is closed. The number of descriptors the
    /// process may open bounds it too.
    "max.connections" = "50000", INT.at_least(0), Medium, ClusterWide;
    /// How many connections one client address may keep at once.
    "max.connections.per.ip" = "20000", INT.at_least(0), Medium, ClusterWide;
    /// Other limits than max.connections.per.ip for some addresses, as address:count separated by commas.
    "max.connections.per.ip.overrides" = "", TEXT, Medium, ClusterWide;
    /// How many new connections are accepted in a second.
    "max.connection.creation.rate" = "2147483647", INT.at_least(0), Medium, ClusterWide, Effect::Ignored(NO_QUOTAS);
    /// How many requests may wait for a thread.
    "queued.max.requests" = "500", INT.at_least(1), High, ReadOnly,
        Effect::Ignored("max.requests.in.flight.per.connection and queued.max.request.bytes bound requests");
    /// Memory for requests that were received and not yet answered, over all shards. Above it shards stop reading
    /// from their connections until answers have left.
    "queued.max.request.bytes" = "268435456", LONG, Medium, ReadOnly;
    /// How many partitions one answer to DescribeTopicPartitions holds.
    "max.request.partition.size.limit" = "2000", INT.at_least(1), Medium, ReadOnly;
    /// How many incremental fetch sessions (KIP-227) are kept, over all shards. Without one a client fetches with
    /// full requests.
    "max.incremental.fetch.session.cache.slots" = "1000", INT.at_least(0), Medium, ReadOnly;
    /// Most bytes of records in one answer to a fetch. A first batch that is larger is sent all the same.
    "fetch.max.bytes" = "57671680", INT.at_least(1024), Medium, ReadOnly;
    /// Threads that read requests and write answers.
    "num.network.threads" = "3", INT.at_least(1), High, ClusterWide, Effect::Ignored(THREADS);
    /// Threads that carry out requests.
    "num.io.threads" = "8", INT.at_least(1), High, ClusterWide, Effect::Ignored(THREADS);
    /// Threads for background work.
    "background.threads" = "10", INT.at_least(1), High, ClusterWide, Effect::Ignored(THREADS);
    /// Threads that recover a log directory at start and flush it at the end.
    "num.recovery.threads.per.data.dir" = "2", INT.at_least(1), High, ClusterWide,
        Effect::Ignored("recovery uses every core the process may run on");
    /// How long a request of this broker to another one may take.
    "request.timeout.ms" = "30000", INT, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How often waiting DeleteRecords requests are tidied up.
    "delete.records.purgatory.purge.interval.requests" = "1", INT, Medium, ReadOnly, Effect::Ignored(THREADS);
    /// How often waiting Fetch requests are tidied up.
    "fetch.purgatory.purge.interval.requests" = "1000", INT, Medium, ReadOnly, Effect::Ignored(THREADS);
    /// How often waiting Produce requests are tidied up.
    "producer.purgatory.purge.interval.requests" = "1000", INT, Medium, ReadOnly, Effect::Ignored(THREADS);
    /// How often waiting ShareFetch requests are tidied up.
    "share.fetch.purgatory.purge.interval.requests" = "1000", INT, Medium, ReadOnly, Effect::Ignored(THREADS);
    /// How many samples a client quota keeps.
    "quota.window.num" = "11", INT.at_least(1), Low, ReadOnly, Effect::Ignored(NO_QUOTAS);
    /// The length of one such sample in seconds.
    "quota.window.size.seconds" = "1", INT.at_least(1), Low, ReadOnly, Effect::Ignored(NO_QUOTAS);
    /// A Java class that decides on client quotas.
    "client.quota.callback.class" = null, CLASS, Low, ReadOnly,
        Effect::Refused("it names a Java class, which Corelane cannot load");
    /// Largest telemetry report a client may push.
    "telemetry.max.bytes" = "1048576", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored("client telemetry is not there yet");
    /// Java classes that report metrics.
    "metric.reporters" = "org.apache.kafka.common.metrics.JmxReporter", LIST, Low, ClusterWide,
        Effect::Ignored(METRICS);
    /// Samples per metric.
    "metrics.num.samples" = "2", INT.at_least(1), Low, ReadOnly, Effect::Ignored(METRICS);
    /// Level from which metrics are recorded.
    "metrics.recording.level" = "INFO", TEXT, Low, ReadOnly, Effect::Ignored(METRICS);
    /// Length of a metric's sample.
    "metrics.sample.window.ms" = "30000", LONG.at_least(1), Low, ReadOnly, Effect::Ignored(METRICS);
    /// How often Kafka's older reporters are polled.
    "kafka.metrics.polling.interval.secs" = "10", INT.at_least(1), Low, ReadOnly, Effect::Ignored(METRICS);
    /// Java classes that report Kafka's older metrics.
    "kafka.metrics.reporters" = "", LIST, Low, ReadOnly, Effect::Ignored(METRICS);
    /// Sources that values like ${file:...} are looked up in.
    "config.providers" = "", LIST, Low, ClusterWide,
        Effect::Refused("Corelane cannot load the Java classes behind it, and values would stay unresolved");
    /// A Java class that judges topics before they are created.
    "create.topic.policy.class.name" = null, CLASS, Low, ReadOnly,
        Effect::Refused("it names a Java class, which Corelane cannot load, and topics would be created unchecked");
    /// A Java class that judges configuration changes.
    "alter.config.policy.class.name" = null, CLASS, Low, ReadOnly,
        Effect::Refused("it names a Java class, which Corelane cannot load, and changes would go unchecked");
}
