"""One member of a group, of librdkafka: BOOTSTRAP GROUP TOPIC PROTOCOL (classic: cooperative-sticky, classic-range,
or consumer)."""

import struct
import sys

from confluent_kafka import Consumer, KafkaException, TopicPartition
from member import Member

bootstrap, group, topic, protocol = sys.argv[1:5]
settings = {
    "bootstrap.servers": bootstrap,
    "group.id": group,
    "client.id": group,
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "group.protocol": protocol.split("-")[0],
    "fetch.wait.max.ms": 250,
    "log_level": 2,
}
if protocol != "consumer":
    settings |= {
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1000,
        "partition.assignment.strategy": "range" if protocol == "classic-range" else "cooperative-sticky",
    }
member = Member()
consumer = Consumer(settings)


def tell():
    # What librdkafka writes of a membership (`rd_kafka_consumer_group_metadata_write`):
    # "CGMDv2:", the generation as i32, then the group's and the member's ids, each ended by a zero.
    state = bytes(consumer.consumer_group_metadata())
    head = len(b"CGMDv2:")
    [generation] = struct.unpack_from("=i", state, head)
    parts = state[head + 4 :].split(b"\0")
    member.tell(generation, parts[1].decode())


def assigned(_, partitions):
    member.owned |= {p.partition for p in partitions}
    tell()


def revoked(_, partitions):
    member.owned -= {p.partition for p in partitions}
    tell()


consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
while member.running:
    messages = consumer.consume(num_messages=500, timeout=0.2)
    tell()
    read = {}
    for message in messages:
        if message.error():
            member.refused(KafkaException(message.error()))
        else:
            read.setdefault(message.partition(), []).append(message.offset())
    # What was taken away while it waited in the queue is the next owner's.
    for partition, offsets in read.items():
        member.got(partition, offsets)
    if read:
        offsets = {partition: offsets[-1] + 1 for partition, offsets in read.items()}
        try:
            answered = consumer.commit(
                offsets=[TopicPartition(topic, partition, offset) for partition, offset in offsets.items()],
                asynchronous=False,
            )
            for partition in answered:
                if partition.error:
                    raise KafkaException(partition.error)
            member.committed(offsets)
        except KafkaException as error:
            member.refused(error)
consumer.close()
member.say("end")
