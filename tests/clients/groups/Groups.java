// What Apache Kafka's Java client shows of groups beyond members that come and go: static members and their fencing,
// regular expressions that the broker resolves, configurations of groups, commits with metadata. And groups that are held
// for the tools to look at.
//
//   java Groups checks BOOTSTRAP
//   java Groups hold BOOTSTRAP      groups `held-classic` and `held-consumer` until SIGTERM; says `ready`
//   java Groups tools               `kafka-consumer-groups` for each line of the standard input, whose arguments have tabs
//                                   between them; `-- done` ends each output. One process instead of one a call

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidRegularExpression;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.errors.UnreleasedInstanceIdException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.tools.consumer.group.ConsumerGroupCommand;

public final class Groups {
    private interface Check {
        void run() throws Exception;
    }

    /// Records of the held topic: one a second from the first second of 2020 on.
    private static final long FIRST_TIMESTAMP = 1_577_836_800_000L;

    private static String bootstrap;
    private static Admin admin;
    private static int failures;

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("tools")) {
            tools();
            return;
        }
        bootstrap = arguments[1];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        if (arguments[0].equals("hold")) {
            hold();
            return;
        }
        var checks = new ArrayList<Future<?>>();
        var pool = Executors.newCachedThreadPool();
        for (var protocol : List.of("classic", "consumer")) {
            checks.add(pool.submit(() -> check(protocol + ": a static member comes back to what it had, nobody else notices",
                () -> staticMember(protocol))));
            checks.add(pool.submit(() -> check(protocol + ": a second member of one instance id", () -> fencing(protocol))));
            checks.add(pool.submit(() -> check(protocol + ": commits with metadata, and of those that are no members",
                () -> commits(protocol))));
        }
        checks.add(pool.submit(() -> check("consumer: a regular expression, resolved by the broker", Groups::regex)));
        checks.add(pool.submit(() -> check("configurations of a group", Groups::configs)));
        for (var one : checks) {
            one.get();
        }
        pool.shutdown();
        admin.close();
        System.exit(failures == 0 ? 0 : 1);
    }

    private static void check(String what, Check check) {
        try {
            check.run();
            say("PASS " + what);
        } catch (Throwable e) {
            say("FAIL " + what + ": " + String.valueOf(e).replace('\n', ' '));
            e.printStackTrace();
            synchronized (Groups.class) {
                failures++;
            }
        }
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static void expect(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    private static void eventually(String what, BooleanSupplier holds) throws InterruptedException {
        for (var end = System.nanoTime() + 40_000_000_000L; !holds.getAsBoolean(); Thread.sleep(20)) {
            expect(System.nanoTime() < end, "not within 40 s: " + what);
        }
    }

    private static void create(String topic, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(Map.of("retention.ms", "-1")))).all().get();
    }

    private static Properties settings(String group, String protocol, String instance) {
        var settings = new Properties();
        settings.putAll(Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", group,
            "client.id", group,
            "group.protocol", protocol,
            "enable.auto.commit", "false",
            "auto.offset.reset", "earliest",
            "key.deserializer", ByteArrayDeserializer.class.getName(),
            "value.deserializer", ByteArrayDeserializer.class.getName()));
        if (protocol.equals("classic")) {
            settings.putAll(Map.of("session.timeout.ms", "6000", "heartbeat.interval.ms", "500"));
        }
        if (instance != null) {
            settings.put("group.instance.id", instance);
        }
        return settings;
    }

    /// A consumer with a thread of its own, which is what it may be used from; what it is asked for is done between polls.
    private static final class Member implements AutoCloseable {
        final KafkaConsumer<byte[], byte[]> consumer;
        private final Thread thread;
        private volatile boolean running = true;
        private volatile CloseOptions.GroupMembershipOperation atEnd = CloseOptions.GroupMembershipOperation.DEFAULT;
        volatile Set<TopicPartition> assigned = Set.of();
        volatile int generation = -1;
        volatile Exception failure;
        private volatile Map<TopicPartition, OffsetAndMetadata> toCommit;

        Member(String group, String protocol, String instance, java.util.function.Consumer<KafkaConsumer<?, ?>> subscribe) {
            consumer = new KafkaConsumer<>(settings(group, protocol, instance));
            subscribe.accept(consumer);
            thread = new Thread(this::run);
            thread.setDaemon(true);
            thread.start();
        }

        Member(String group, String protocol, String instance, String topic) {
            this(group, protocol, instance, consumer -> consumer.subscribe(List.of(topic)));
        }

        private void run() {
            try {
                while (running) {
                    consumer.poll(Duration.ofMillis(100));
                    assigned = Set.copyOf(consumer.assignment());
                    generation = consumer.groupMetadata().generationId();
                    // Nothing is to be read: offsets are set by hand.
                    consumer.pause(consumer.assignment());
                    var offsets = toCommit;
                    if (offsets != null) {
                        consumer.commitSync(offsets);
                        toCommit = null;
                    }
                }
            } catch (Exception e) {
                failure = e;
            } finally {
                assigned = Set.of();
                consumer.close(CloseOptions.timeout(Duration.ofSeconds(5)).withGroupMembershipOperation(atEnd));
            }
        }

        void commit(Map<TopicPartition, OffsetAndMetadata> offsets) throws Exception {
            toCommit = offsets;
            eventually("a commit", () -> toCommit == null || failure != null);
            if (failure != null) {
                throw failure;
            }
        }

        @Override
        public void close() throws InterruptedException {
            running = false;
            thread.join(30_000);
            expect(!thread.isAlive(), "a consumer does not close");
        }
    }

    private static boolean share(int partitions, Member... members) {
        var all = new TreeSet<String>();
        var count = 0;
        for (var member : members) {
            if (member.assigned.isEmpty()) {
                return false;
            }
            count += member.assigned.size();
            member.assigned.forEach(partition -> all.add(partition.toString()));
        }
        return all.size() == partitions && count == partitions;
    }

    private static void staticMember(String protocol) throws Exception {
        var name = "static-" + protocol;
        create(name, 4);
        var first = new Member(name, protocol, "one", name);
        try (var second = new Member(name, protocol, "two", name)) {
            eventually("both have their share", () -> share(4, first, second));
            Thread.sleep(1500);
            var had = first.assigned;
            var seconds = second.assigned;
            var generation = second.generation;
            first.close();
            Thread.sleep(1000);
            try (var again = new Member(name, protocol, "one", name)) {
                eventually("it is back with what it had", () -> again.assigned.equals(had));
                expect(second.assigned.equals(seconds), "the other member has what it had");
                expect(second.generation == generation, "the other member's generation went from " + generation + " to " + second.generation);
                var described = admin.describeConsumerGroups(List.of(name)).all().get().get(name);
                var instances = described.members().stream().map(member -> member.groupInstanceId().orElse("-"))
                    .collect(Collectors.toCollection(TreeSet::new));
                expect(instances.equals(Set.of("one", "two")), "instances " + instances);
            }
        }
        // Static members stay when they close; an administrator takes them out.
        if (protocol.equals("classic")) {
            admin.removeMembersFromConsumerGroup(name, new org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions(
                List.of(new org.apache.kafka.clients.admin.MemberToRemove("one"),
                    new org.apache.kafka.clients.admin.MemberToRemove("two")))).all().get();
            var members = admin.describeConsumerGroups(List.of(name)).all().get().get(name).members();
            expect(members.isEmpty(), "members are left: " + members);
        }
    }

    private static void fencing(String protocol) throws Exception {
        var name = "fenced-" + protocol;
        create(name, 2);
        try (var first = new Member(name, protocol, "one", name)) {
            eventually("it has all", () -> first.assigned.size() == 2);
            try (var second = new Member(name, protocol, "one", name)) {
                if (protocol.equals("classic")) {
                    eventually("the second takes over", () -> second.assigned.size() == 2);
                    eventually("the first is fenced", () -> first.failure != null);
                    expect(first.failure instanceof FencedInstanceIdException, "the first failed by " + first.failure);
                } else {
                    eventually("the second is refused", () -> second.failure != null);
                    expect(second.failure instanceof UnreleasedInstanceIdException, "the second failed by " + second.failure);
                    expect(first.assigned.size() == 2 && first.failure == null, "the first is unharmed: " + first.failure);
                }
            }
        }
    }

    private static void commits(String protocol) throws Exception {
        var name = "commits-" + protocol;
        create(name, 2);
        var place = new TopicPartition(name, 1);
        try (var member = new Member(name, protocol, null, name)) {
            eventually("it has all", () -> member.assigned.size() == 2);
            member.commit(Map.of(place, new OffsetAndMetadata(7, Optional.of(0), "what I think of it: ü")));
            var found = admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata().get().get(place);
            expect(found.offset() == 7 && found.metadata().equals("what I think of it: ü"), "committed " + found);
            // Somebody who is in no group cannot move the offsets of one with members.
            try (var stranger = new KafkaConsumer<byte[], byte[]>(settings(name, protocol, null))) {
                stranger.assign(List.of(place));
                try {
                    stranger.commitSync(Map.of(place, new OffsetAndMetadata(1)));
                    throw new AssertionError("a stranger's commit is taken");
                } catch (org.apache.kafka.clients.consumer.CommitFailedException | UnknownMemberIdException e) {
                    // As it should be.
                }
            }
            try {
                admin.deleteConsumerGroups(List.of(name)).all().get();
                throw new AssertionError("a group with members is deleted");
            } catch (ExecutionException e) {
                expect(e.getCause() instanceof org.apache.kafka.common.errors.GroupNotEmptyException, "deleting: " + e.getCause());
            }
        }
        var found = admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata().get().get(place);
        expect(found.offset() == 7, "committed " + found);
        eventually("the group can be deleted once it is empty", () -> {
            try {
                admin.deleteConsumerGroups(List.of(name)).all().get();
                return true;
            } catch (Exception e) {
                return false;
            }
        });
        expect(admin.listConsumerGroupOffsets(name).partitionsToOffsetAndMetadata().get().isEmpty(), "its offsets are gone");
    }

    private static void regex() throws Exception {
        create("re-one", 2);
        create("other", 1);
        try (var member = new Member("re", "consumer", null, consumer -> consumer.subscribe(new SubscriptionPattern("^re-.*")))) {
            eventually("the topic that matches", () -> member.assigned.size() == 2);
            create("re-two", 3);
            eventually("a topic that came later", () -> member.assigned.size() == 5);
            expect(member.assigned.stream().allMatch(place -> place.topic().startsWith("re-")), "assigned " + member.assigned);
        }
        try (var member = new Member("re-bad", "consumer", null, consumer -> consumer.subscribe(new SubscriptionPattern("re-(")))) {
            eventually("it is refused", () -> member.failure != null);
            expect(member.failure instanceof InvalidRegularExpression, "failed by " + member.failure);
        }
    }

    private static void configs() throws Exception {
        var group = new ConfigResource(ConfigResource.Type.GROUP, "configured");
        alter(group, "consumer.session.timeout.ms", "30000");
        eventually("it is described", () -> value(group, "consumer.session.timeout.ms").equals("30000"));
        var listed = admin.listConfigResources(Set.of(ConfigResource.Type.GROUP), new ListConfigResourcesOptions()).all().get();
        expect(listed.contains(group), "listed " + listed);
        for (var wrong : List.of("1", "soon", "999999999")) {
            try {
                alter(group, "consumer.session.timeout.ms", wrong);
                throw new AssertionError(wrong + " is taken");
            } catch (ExecutionException e) {
                expect(e.getCause() instanceof InvalidConfigurationException
                    || e.getCause() instanceof org.apache.kafka.common.errors.InvalidRequestException, wrong + ": " + e.getCause());
            }
        }
        alter(group, "consumer.session.timeout.ms", null);
        eventually("the default is back", () -> value(group, "consumer.session.timeout.ms").equals("6000"));
    }

    private static void alter(ConfigResource of, String key, String value) throws Exception {
        var type = value == null ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET;
        admin.incrementalAlterConfigs(Map.of(of, List.of(new AlterConfigOp(new ConfigEntry(key, value), type)))).all().get();
    }

    private static String value(ConfigResource of, String key) {
        try {
            return admin.describeConfigs(List.of(of)).all().get().get(of).get(key).value();
        } catch (Exception e) {
            return String.valueOf(e);
        }
    }

    private static void tools() throws IOException {
        System.setErr(System.out);
        Exit.setExitProcedure((status, message) -> {
            throw new IllegalStateException("exit " + status + " " + message);
        });
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                ConsumerGroupCommand.main(line.split("\t"));
            } catch (Throwable e) {
                System.out.println(e);
            }
            say("\n-- done");
        }
        System.exit(0);
    }

    private static void hold() throws Exception {
        create("held", 4);
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("key.serializer", ByteArraySerializer.class.getName());
        settings.put("value.serializer", ByteArraySerializer.class.getName());
        try (var producer = new KafkaProducer<byte[], byte[]>(settings)) {
            for (var partition = 0; partition < 4; partition++) {
                for (var i = 0; i < 100; i++) {
                    producer.send(new ProducerRecord<>("held", partition, FIRST_TIMESTAMP + i * 1000L, null, new byte[10]));
                }
            }
        }
        var members = new ArrayList<Member>();
        for (var protocol : List.of("classic", "consumer")) {
            var name = "held-" + protocol;
            members.add(new Member(name, protocol, null, "held"));
            members.add(new Member(name, protocol, null, "held"));
        }
        eventually("both groups are shared out", () -> share(4, members.get(0), members.get(1)) && share(4, members.get(2), members.get(3)));
        for (var member : members) {
            var offsets = new HashMap<TopicPartition, OffsetAndMetadata>();
            member.assigned.forEach(place -> offsets.put(place, new OffsetAndMetadata(60, Optional.of(0), "held")));
            member.commit(offsets);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                for (var member : members) {
                    member.close();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        say("ready");
        Thread.sleep(Long.MAX_VALUE);
    }
}
