"""One member of a group, of kafka-python: BOOTSTRAP GROUP TOPIC PROTOCOL (classic alone)."""

import sys
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from member import Member

bootstrap, group, topic = sys.argv[1:4]
member = Member()


def connect():
    return KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        client_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
    )


consumer = member.patiently(connect)


def tell():
    generation = consumer._coordinator._generation  # nothing public says it
    member.tell(generation.generation_id, generation.member_id)


class Listener(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        member.owned |= {p.partition for p in assigned}
        tell()

    def on_partitions_revoked(self, revoked):
        member.owned -= {p.partition for p in revoked}
        tell()

    def on_partitions_lost(self, lost):
        self.on_partitions_revoked(lost)


consumer.subscribe([topic], listener=Listener())
# kafka-python 3.0 joins before it knows the topic's partitions if those come late. Should they come while it is the leader
# of that first rebalance, it begins a second one, and forgets that it has: it is a member no more and never joins again
# (`ConsumerCoordinator.need_rejoin` is false again as soon as `_on_join_leader` has assigned what there is now).
while member.running and not consumer._coordinator._metadata_snapshot.get(topic):
    time.sleep(0.01)
while member.running:
    try:
        read = consumer.poll(timeout_ms=200)
    except KafkaError as error:
        member.refused(error)
        continue
    tell()
    offsets = {}
    for place, records in read.items():
        member.got(place.partition, [record.offset for record in records])
        offsets[place] = OffsetAndMetadata(records[-1].offset + 1, "", -1)
    if offsets:
        try:
            consumer.commit(offsets)
            member.committed({place.partition: committed.offset for place, committed in offsets.items()})
        except KafkaError as error:
            member.refused(error)
consumer.close()
member.say("end")
