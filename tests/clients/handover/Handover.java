// What the hand-over suite does with a broker, in few calls of one program: fill it, and print all that clients see.
//
//   java Handover fill BOOTSTRAP ROUND        topics of our making, written with every codec
//   java Handover take-over BOOTSTRAP ROUND   what a user does under Apache Kafka: more records, a transaction, new and
//                                             deleted topics, added partitions, deleted records, commits, configurations
//   java Handover compacted BOOTSTRAP          waits until compaction was at the topic that is compacted soon
//   java Handover go-on BOOTSTRAP ROUND       back under Corelane: into all topics, Kafka's own among them
//   java Handover write BOOTSTRAP ROUND       more of the same, whoever runs
//   java Handover state BOOTSTRAP             what clients see, in lines that two brokers with the same data share

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Handover {
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static final List<String> GROUPS = List.of("group-a", "group-b", "group-kafka");
    private static final String TRANSACTIONAL = "transactional";
    private static final String CLEANED = "compacted-soon";

    private final String bootstrap;
    private final Admin admin;

    private Handover(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(properties(Map.of()));
    }

    public static void main(String[] arguments) throws Exception {
        var handover = new Handover(arguments[1]);
        var round = arguments.length > 2 ? Integer.parseInt(arguments[2]) : 0;
        switch (arguments[0]) {
            case "fill" -> handover.fill(round);
            case "take-over" -> handover.takeOver(round);
            case "go-on" -> handover.goOn(round);
            case "write" -> handover.write(round);
            case "compacted" -> handover.compacted();
            case "state" -> handover.state();
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        handover.admin.close();
    }

    private void fill(int round) throws Exception {
        create("codecs", 5, Map.of());
        create("segments", 1, Map.of("segment.bytes", "1048576", "index.interval.bytes", "4096"));
        create("compacted", 2, Map.of("cleanup.policy", "compact"));
        create(CLEANED, 1, Map.of("cleanup.policy", "compact", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.2"));
        create("stamped_by.broker", 1, Map.of("message.timestamp.type", "LogAppendTime"));
        create("empty", 1, Map.of());
        create("grown", 2, Map.of("retention.ms", "864000000"));
        create("doomed", 2, Map.of());
        write(round);
        configure(ConfigResource.Type.GROUP, "group-a",
            Map.of("consumer.session.timeout.ms", "50000", "share.auto.offset.reset", "earliest"));
        commit("group-a", 100);
        commit("group-b", 7);
    }

    private void takeOver(int round) throws Exception {
        create("made-by-kafka", 3, Map.of("retention.bytes", "100000000"));
        admin.createPartitions(Map.of("grown", NewPartitions.increaseTo(4))).all().get();
        admin.deleteTopics(List.of("doomed")).all().get();
        write(round);
        create(TRANSACTIONAL, 2, Map.of());
        transaction(round, true);
        transaction(round, false);
        transaction(round, true);
        admin.deleteRecords(Map.of(new TopicPartition("made-by-kafka", 0), RecordsToDelete.beforeOffset(20))).all().get();
        configure("grown", Map.of("retention.ms", "777000000", "max.message.bytes", "500000"));
        configure("segments", Map.of("index.interval.bytes", "8192"));
        configure(ConfigResource.Type.GROUP, "group-kafka", Map.of("consumer.heartbeat.interval.ms", "6000"));
        commit("group-a", 150);
        subscribe("group-kafka");
    }

    private void goOn(int round) throws Exception {
        create("made-by-corelane-again", 2, Map.of());
        admin.createPartitions(Map.of("made-by-kafka", NewPartitions.increaseTo(4))).all().get();
        write(round);
        commit("group-kafka", 33);
    }

    private void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
    }

    private void configure(String topic, Map<String, String> values) throws Exception {
        configure(ConfigResource.Type.TOPIC, topic, values);
    }

    private void configure(ConfigResource.Type type, String name, Map<String, String> values) throws Exception {
        var ops = values.entrySet().stream()
            .map(of -> new AlterConfigOp(new ConfigEntry(of.getKey(), of.getValue()), AlterConfigOp.OpType.SET))
            .collect(Collectors.<AlterConfigOp>toList());
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(type, name), ops)).all().get();
    }

    /** Writes to every partition of every topic of users that is not meant to stay empty. */
    private void write(int round) throws Exception {
        for (var codec : CODECS) {
            var settings = Map.<String, Object>of("compression.type", codec, "linger.ms", "5");
            try (var producer = producer(settings)) {
                var sent = new ArrayList<Future<RecordMetadata>>();
                for (var partition : partitions(false)) {
                    if (partition.topic().equals("empty") || partition.topic().equals(TRANSACTIONAL)) continue;
                    var random = new Random((partition + codec).hashCode() + round);
                    var large = Set.of("segments", CLEANED).contains(partition.topic());
                    for (int i = 0; i < (large ? 800 : 60); i++) {
                        sent.add(producer.send(record(partition, random, round * 1000 + i, large ? 1000 : 40)));
                    }
                }
                for (var one : sent) one.get();
            }
        }
    }

    private static ProducerRecord<byte[], byte[]> record(TopicPartition to, Random random, int number, int size) {
        var compacted = to.topic().startsWith("compacted");
        var key = compacted || number % 3 == 0 ? ("key-" + number % 50).getBytes(StandardCharsets.UTF_8) : null;
        var value = new byte[random.nextInt(size) + 1];
        random.nextBytes(value);
        var record = new ProducerRecord<>(to.topic(), to.partition(), key, compacted && number % 7 == 0 ? null : value);
        if (number % 5 == 0) record.headers().add("round", ByteBuffer.allocate(4).putInt(number).array());
        return record;
    }

    private void transaction(int round, boolean commits) throws Exception {
        var id = "hand-over-" + round;
        try (var producer = producer(Map.of("transactional.id", id, "compression.type", "lz4"))) {
            producer.initTransactions();
            producer.beginTransaction();
            for (int i = 0; i < 50; i++) {
                producer.send(record(new TopicPartition(TRANSACTIONAL, i % 2), new Random(i), i, 40));
            }
            if (commits) {
                var offsets = Map.of(new TopicPartition("codecs", 0), new OffsetAndMetadata(40 + round));
                producer.sendOffsetsToTransaction(offsets, new org.apache.kafka.clients.consumer.ConsumerGroupMetadata("group-b"));
                producer.commitTransaction();
            } else {
                producer.flush();
                producer.abortTransaction();
            }
        }
    }

    /** Commits for a consumer that assigns itself. */
    private void commit(String group, long offset) {
        try (var consumer = consumer(Map.of("group.id", group, "enable.auto.commit", "false"))) {
            consumer.commitSync(Map.of(
                new TopicPartition("codecs", 1), new OffsetAndMetadata(offset, "of " + group),
                new TopicPartition("grown", 0), new OffsetAndMetadata(offset / 2)));
        }
    }

    /** Commits for a member of a group. */
    private void subscribe(String group) {
        try (var consumer = consumer(Map.of("group.id", group, "enable.auto.commit", "false", "auto.offset.reset", "earliest"))) {
            consumer.subscribe(List.of("made-by-kafka"));
            while (consumer.poll(Duration.ofMillis(100)).isEmpty()) {
                // Until it has joined and read something.
            }
            consumer.commitSync();
        }
    }

    /** Waits until compaction has taken most of what was superseded. */
    private void compacted() throws Exception {
        var of = new TopicPartition(CLEANED, 0);
        var until = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        while (true) {
            var count = 0;
            try (var consumer = consumer(Map.of())) {
                var end = consumer.endOffsets(List.of(of)).get(of);
                consumer.assign(List.of(of));
                consumer.seekToBeginning(List.of(of));
                while (consumer.position(of) < end) count += consumer.poll(Duration.ofMillis(200)).count();
                System.out.println(count + " of " + end + " records are left");
                // The active segment holds about half of a round's.
                if (count < 0.8 * end) return;
            }
            if (System.nanoTime() > until) throw new IllegalStateException("it is not compacted");
            Thread.sleep(500);
        }
    }

    private void state() throws Exception {
        var partitions = partitions(true);
        try (var consumer = consumer(Map.of())) {
            var starts = consumer.beginningOffsets(partitions);
            var ends = consumer.endOffsets(partitions);
            var sums = new TreeMap<String, MessageDigest>();
            var counts = new TreeMap<String, Integer>();
            // Compaction may come between two looks: what counts is what is left of each key.
            var latest = new TreeMap<String, TreeMap<String, byte[]>>();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var unread = new TreeSet<>((TopicPartition a, TopicPartition b) -> a.toString().compareTo(b.toString()));
            unread.addAll(partitions);
            var until = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            while (true) {
                unread.removeIf(of -> consumer.position(of) >= ends.get(of));
                if (unread.isEmpty()) break;
                if (System.nanoTime() > until) throw new IllegalStateException("not read to its end: " + unread);
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    var name = record.topic() + "-" + record.partition();
                    var compacted = record.topic().startsWith("compacted");
                    var sum = compacted ? sha256() : sums.computeIfAbsent(name, ignored -> sha256());
                    sum.update(ByteBuffer.allocate(16).putLong(record.offset()).putLong(record.timestamp()).array());
                    update(sum, record.key());
                    update(sum, record.value());
                    for (Header header : record.headers()) {
                        update(sum, header.key().getBytes(StandardCharsets.UTF_8));
                        update(sum, header.value());
                    }
                    if (!compacted) {
                        counts.merge(name, 1, Integer::sum);
                        continue;
                    }
                    var keys = latest.computeIfAbsent(name, ignored -> new TreeMap<>());
                    var key = new String(record.key(), StandardCharsets.UTF_8);
                    if (record.value() == null) keys.remove(key);
                    else keys.put(key, sum.digest());
                }
            }
            latest.forEach((name, keys) -> {
                keys.values().forEach(digest -> sums.computeIfAbsent(name, ignored -> sha256()).update(digest));
                counts.put(name, keys.size());
            });
            for (var of : partitions) {
                // A coordinator writes to these for itself. That they were read to the end is what is shown.
                if (of.topic().startsWith("__")) continue;
                var name = of.toString();
                var sum = sums.containsKey(name) ? HexFormat.of().formatHex(sums.get(name).digest()) : "-";
                System.out.println("partition " + name + " " + starts.get(of) + " to " + ends.get(of) + ", "
                    + counts.getOrDefault(name, 0) + " records " + sum);
            }
        }
        for (var group : GROUPS) {
            var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            new TreeMap<>(offsets.entrySet().stream().collect(Collectors.toMap(of -> of.getKey().toString(), Map.Entry::getValue)))
                .forEach((of, at) -> System.out.println(
                    "group " + group + " " + of + " " + at.offset() + " '" + at.metadata() + "'"));
        }
        var topics = admin.listTopics().names().get().stream().sorted()
            .map(name -> new ConfigResource(ConfigResource.Type.TOPIC, name)).toList();
        var configured = new ArrayList<>(topics);
        admin.listConfigResources(Set.of(ConfigResource.Type.GROUP), new ListConfigResourcesOptions()).all().get().stream()
            .sorted(Comparator.comparing(ConfigResource::name)).forEach(configured::add);
        var configs = admin.describeConfigs(configured).all().get();
        for (var topic : configured) {
            configs.get(topic).entries().stream()
                .filter(entry -> entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG
                    || entry.source() == ConfigEntry.ConfigSource.DYNAMIC_GROUP_CONFIG)
                .map(entry -> "config " + topic.name() + " " + entry.name() + "=" + entry.value())
                .sorted().forEach(System.out::println);
        }
        // Every partition has its leader, and of every topic clients see the same id.
        admin.describeTopics(topics.stream().map(ConfigResource::name).toList()).allTopicNames().get().entrySet().stream()
            .map(of -> "topic " + of.getKey() + " " + of.getValue().topicId() + " leaders " + of.getValue().partitions()
                .stream().map(at -> at.leader() == null ? "-" : at.leader().idString() + "/" + at.isr().size()).toList())
            .sorted().forEach(System.out::println);
    }

    private List<TopicPartition> partitions(boolean internal) throws Exception {
        var names = admin.listTopics(new ListTopicsOptions().listInternal(internal)).names().get();
        return admin.describeTopics(names).allTopicNames().get().values().stream()
            .flatMap(topic -> topic.partitions().stream().map(of -> new TopicPartition(topic.name(), of.partition())))
            .sorted((a, b) -> a.toString().compareTo(b.toString())).toList();
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, ?> more) {
        return new KafkaProducer<>(properties(more), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, ?> more) {
        return new KafkaConsumer<>(properties(more), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Properties properties(Map<String, ?> more) {
        var properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.putAll(more);
        return properties;
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void update(MessageDigest sum, byte[] bytes) {
        sum.update(ByteBuffer.allocate(4).putInt(bytes == null ? -1 : bytes.length).array());
        if (bytes != null) sum.update(bytes);
    }
}
