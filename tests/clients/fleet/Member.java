// One member of a group, of Apache Kafka's Java client: what `fleet.py` has to know of it goes to the standard output,
// in the lines that its head describes.
//
//   java Member BOOTSTRAP GROUP TOPIC PROTOCOL     classic (cooperative-sticky), classic-range, or consumer (KIP-848),
//                                                  consumer-range

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Member implements ConsumerRebalanceListener {
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final TreeSet<Integer> owned = new TreeSet<>();
    private String told = "";

    private Member(String bootstrap, String group, String protocol) {
        var properties = new Properties();
        properties.putAll(Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", group,
            "client.id", group,
            "enable.auto.commit", "false",
            "auto.offset.reset", "earliest",
            "default.api.timeout.ms", "15000",
            "key.deserializer", ByteArrayDeserializer.class.getName(),
            "value.deserializer", ByteArrayDeserializer.class.getName()));
        if (protocol.startsWith("consumer")) {
            properties.put("group.protocol", "consumer");
            properties.put("group.remote.assignor", protocol.equals("consumer") ? "uniform" : "range");
        } else {
            var assignor = protocol.equals("classic") ? "CooperativeStickyAssignor" : "RangeAssignor";
            properties.putAll(Map.of(
                "group.protocol", "classic",
                "session.timeout.ms", "6000",
                "heartbeat.interval.ms", "1000",
                "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor));
        }
        consumer = new KafkaConsumer<>(properties);
    }

    public static void main(String[] arguments) throws Exception {
        var member = new Member(arguments[0], arguments[1], arguments[3]);
        var ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            member.consumer.wakeup();
            try {
                ended.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        try {
            member.run(arguments[2]);
        } catch (WakeupException e) {
            // It is to leave.
        } finally {
            try {
                member.consumer.close();
                say("end");
            } finally {
                ended.countDown();
            }
        }
    }

    private static synchronized void say(String what) {
        System.out.println(System.currentTimeMillis() + " " + what);
        System.out.flush();
    }

    private void run(String topic) {
        say("ready");
        consumer.subscribe(List.of(topic), this);
        while (true) {
            var records = consumer.poll(Duration.ofMillis(200));
            tell();
            var offsets = new HashMap<TopicPartition, OffsetAndMetadata>();
            for (var partition : records.partitions()) {
                var read = records.records(partition);
                // A range for each run without a gap, so that a skipped record shows.
                long first = -1;
                long last = -1;
                for (var record : read) {
                    if (first >= 0 && record.offset() != last + 1) {
                        say("got " + partition.partition() + " " + first + " " + last);
                        first = record.offset();
                    }
                    first = first < 0 ? record.offset() : first;
                    last = record.offset();
                }
                say("got " + partition.partition() + " " + first + " " + last);
                offsets.put(partition, new OffsetAndMetadata(last + 1));
            }
            if (offsets.isEmpty()) {
                continue;
            }
            try {
                consumer.commitSync(offsets);
                say("committed " + offsets.entrySet().stream()
                    .map(entry -> entry.getKey().partition() + ":" + entry.getValue().offset())
                    .collect(Collectors.joining(",")));
            } catch (WakeupException e) {
                throw e;
            } catch (KafkaException e) {
                say("refused " + e.getClass().getSimpleName());
            }
        }
    }

    /// Says what this member has, if that or its generation is new.
    private void tell() {
        var metadata = consumer.groupMetadata();
        var id = metadata.memberId().isEmpty() ? "-" : metadata.memberId();
        var partitions = owned.stream().map(String::valueOf).collect(Collectors.joining(","));
        var line = "own " + metadata.generationId() + " " + id + " " + (partitions.isEmpty() ? "-" : partitions);
        if (!line.equals(told)) {
            told = line;
            say(line);
        }
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owned.add(partition.partition()));
        tell();
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owned.remove(partition.partition()));
        tell();
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        onPartitionsRevoked(partitions);
    }
}
