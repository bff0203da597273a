"""kafka-python (pure Python)."""

import sys
import time

from checks import check, end, lines
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, __version__
from kafka.admin import NewPartitions, NewTopic

bootstrap = sys.argv[1]
name = f"kafka-python {__version__}"
admin = KafkaAdminClient(bootstrap_servers=bootstrap)


def eventually(holds):
    deadline = time.time() + 30
    while time.time() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


def topics_come_and_go():
    admin.create_topics([NewTopic("k-admin", 2, 1)])
    assert eventually(lambda: "k-admin" in admin.list_topics())
    admin.create_partitions({"k-admin": NewPartitions(4)})
    admin.delete_topics(["k-admin"])
    return eventually(lambda: "k-admin" not in admin.list_topics())


def round_trip(codec):
    topic = f"k-{codec or 'none'}"
    admin.create_topics([NewTopic(topic, 1, 1)])
    values = lines(topic, 1000)
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all", linger_ms=5)
    sent = [producer.send(topic, value=v, key=str(i).encode(), partition=0, headers=[("n", b"1")]) for i, v in enumerate(values)]
    offsets = [future.get(timeout=60).offset for future in sent]
    producer.close()
    assert offsets == list(range(len(values)))

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, consumer_timeout_ms=30_000)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    assert consumer.end_offsets([partition])[partition] == len(values)
    assert consumer.beginning_offsets([partition])[partition] == 0
    read = []
    for record in consumer:
        assert record.key == str(len(read)).encode() and list(record.headers) == [("n", b"1")]
        read.append(record.value)
        if len(read) == len(values):
            break
    assert read == values
    assert consumer.offsets_for_times({partition: 1})[partition].offset == 0
    consumer.seek(partition, 997)
    assert next(consumer).offset == 997
    consumer.close()


def committed():
    partition = TopicPartition("k-none", 0)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id="k-group", enable_auto_commit=False)
    consumer.assign([partition])
    consumer.seek(partition, 42)
    next(consumer)
    consumer.commit()
    consumer.close()
    again = KafkaConsumer(bootstrap_servers=bootstrap, group_id="k-group", enable_auto_commit=False)
    offset = again.committed(partition)
    again.close()
    assert offset == 43, offset


check(f"{name}: topics are created, grown, deleted", topics_come_and_go)
for codec in (None, "gzip", "snappy", "lz4", "zstd"):
    check(f"{name}: {codec or 'none'}: what was sent is read", lambda: round_trip(codec))
check(f"{name}: committed offsets", committed)
admin.close()
end()
