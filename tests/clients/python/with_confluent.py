"""confluent-kafka (librdkafka, a newer one than the integration tests')."""

import sys
import time

from checks import check, end, lines
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, libversion
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewPartitions, NewTopic, OffsetSpec,
)

bootstrap = sys.argv[1]
name = f"confluent-kafka, librdkafka {libversion()[0]}"
admin = AdminClient({"bootstrap.servers": bootstrap})


def wait(futures):
    for future in futures.values():
        future.result(30)


def eventually(holds):
    """Apache Kafka answers admin requests before every part of it knows."""
    deadline = time.time() + 30
    while time.time() < deadline:
        try:
            if holds():
                return True
        except KafkaException:
            pass
        time.sleep(0.1)
    return False


def partitions_of(topic):
    topics = admin.list_topics(timeout=30).topics
    return len(topics[topic].partitions) if topic in topics else 0


def topics_come_and_go():
    wait(admin.create_topics([NewTopic("c-admin", 2, 1, config={"retention.ms": "-1"})]))
    assert eventually(lambda: partitions_of("c-admin") == 2)
    wait(admin.create_partitions([NewPartitions("c-admin", 5)]))
    assert eventually(lambda: partitions_of("c-admin") == 5)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "c-admin")
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["retention.ms"].value == "-1", configs["retention.ms"]
    wait(admin.delete_topics(["c-admin"]))
    return eventually(lambda: partitions_of("c-admin") == 0)


def configs_change():
    wait(admin.create_topics([NewTopic("c-configs", 2, 1, config={"retention.ms": "-1"})]))
    assert eventually(lambda: partitions_of("c-configs") == 2)

    def change(*entries):
        resource = ConfigResource(ConfigResource.Type.TOPIC, "c-configs", incremental_configs=list(entries))
        return admin.incremental_alter_configs([resource])[resource].result(30)

    def entry(name, op, value=None):
        return ConfigEntry(name, value, incremental_operation=op)

    def shown(name):
        resource = ConfigResource(ConfigResource.Type.TOPIC, "c-configs")
        found = admin.describe_configs([resource])[resource].result(30)[name]
        return found.value, ConfigSource(found.source)

    change(
        entry("retention.ms", AlterConfigOpType.SET, "1234567"),
        entry("cleanup.policy", AlterConfigOpType.APPEND, "compact"),
    )
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG
    assert eventually(lambda: shown("retention.ms") == ("1234567", own)), shown("retention.ms")
    assert eventually(lambda: shown("cleanup.policy") == ("delete,compact", own)), shown("cleanup.policy")
    change(entry("cleanup.policy", AlterConfigOpType.SUBTRACT, "delete"), entry("retention.ms", AlterConfigOpType.DELETE))
    assert eventually(lambda: shown("cleanup.policy") == ("compact", own)), shown("cleanup.policy")
    assert eventually(lambda: shown("retention.ms") == ("604800000", ConfigSource.DEFAULT_CONFIG)), shown("retention.ms")
    try:
        change(entry("retention.ms", AlterConfigOpType.SET, "soon"))
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.INVALID_CONFIG, error
    else:
        raise AssertionError("a bad value was taken")
    # The older request, which replaces all.
    resource = ConfigResource(ConfigResource.Type.TOPIC, "c-configs", set_config={"segment.ms": "7654321"})
    admin.alter_configs([resource])[resource].result(30)
    assert eventually(lambda: shown("segment.ms") == ("7654321", own)), shown("segment.ms")
    return eventually(lambda: shown("cleanup.policy") == ("delete", ConfigSource.DEFAULT_CONFIG))


def cluster():
    described = admin.describe_cluster().result(30)
    return len(described.cluster_id) == 22 and len(described.nodes) >= 1


def round_trip(codec, idempotent):
    topic = f"c-{codec}-{idempotent}"
    wait(admin.create_topics([NewTopic(topic, 2, 1)]))
    sent = {0: lines(topic + "/0", 1000), 1: lines(topic + "/1", 1000)}
    errors = []

    def delivered(error, message):
        if error is not None:
            errors.append(error)

    producer = Producer({
        "bootstrap.servers": bootstrap,
        "compression.type": codec,
        "enable.idempotence": idempotent,
        "acks": "all",
        "linger.ms": 5,
    })
    for partition, values in sent.items():
        for i, value in enumerate(values):
            producer.produce(topic, value, key=str(i), partition=partition, headers={"n": str(i)}, on_delivery=delivered)
    assert producer.flush(60) == 0 and not errors, errors[:3]

    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": f"c-{codec}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    })
    for partition, values in sent.items():
        consumer.assign([TopicPartition(topic, partition, 0)])
        read = []
        while True:
            message = consumer.poll(30)
            assert message is not None, f"nothing in 30 s after {len(read)}"
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    break
                raise KafkaException(message.error())
            assert message.offset() == len(read)
            assert message.key() == str(len(read)).encode()
            assert message.headers() == [("n", str(len(read)).encode())]
            read.append(message.value())
        assert read == values, f"partition {partition}: {len(read)} records"
    consumer.close()


def offsets():
    topic = "c-none-False"
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "c-offsets", "enable.auto.commit": False})
    assert consumer.get_watermark_offsets(TopicPartition(topic, 1), timeout=30) == (0, 1000)
    [found] = consumer.offsets_for_times([TopicPartition(topic, 1, 1)], timeout=30)
    assert found.offset == 0
    consumer.assign([TopicPartition(topic, 0, 0)])
    for _ in range(20):
        try:
            consumer.commit(offsets=[TopicPartition(topic, 0, 123)], asynchronous=False)
            break
        except KafkaException as error:  # the offsets topic is on its way
            if not error.args[0].retriable() and error.args[0].code() != KafkaError.NOT_COORDINATOR:
                raise
            time.sleep(0.5)
    [committed] = consumer.committed([TopicPartition(topic, 0)], timeout=30)
    consumer.close()
    assert committed.offset == 123, committed
    latest = admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.latest()})
    for future in latest.values():
        assert future.result(30).offset == 1000


check(f"{name}: topics are created, grown, described, deleted", topics_come_and_go)
check(f"{name}: configurations are changed and described", configs_change)
check(f"{name}: describe_cluster", cluster)
for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    for idempotent in (False, True):
        kind = "idempotent" if idempotent else "plain"
        check(f"{name}: {codec}, {kind}: what was sent is read", lambda: round_trip(codec, idempotent))
check(f"{name}: watermarks, offsets by time, committed offsets", offsets)
end()
