"""One member of a group, of aiokafka: BOOTSTRAP GROUP TOPIC PROTOCOL (classic alone)."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from member import Member

bootstrap, group, topic = sys.argv[1:4]
member = Member()


class Listener(ConsumerRebalanceListener):
    def __init__(self, tell):
        self.tell = tell

    async def on_partitions_assigned(self, assigned):
        member.owned = {p.partition for p in assigned}
        self.tell()

    async def on_partitions_revoked(self, revoked):
        member.owned -= {p.partition for p in revoked}
        self.tell()


async def main():
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, client_id=group, enable_auto_commit=False,
        auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=1000,
    )

    def tell():
        coordinator = consumer._coordinator  # nothing public says it
        member.tell(coordinator.generation, coordinator.member_id)

    await consumer.start()
    consumer.subscribe([topic], listener=Listener(tell))
    while member.running:
        try:
            read = await consumer.getmany(timeout_ms=200)
        except KafkaError as error:
            member.refused(error)
            continue
        if member.owned:
            tell()
        offsets = {}
        for place, records in read.items():
            member.got(place.partition, [record.offset for record in records])
            offsets[place] = records[-1].offset + 1
        if offsets:
            try:
                await consumer.commit(offsets)
                member.committed({place.partition: offset for place, offset in offsets.items()})
            except KafkaError as error:
                member.refused(error)
    await consumer.stop()
    member.say("end")


asyncio.run(main())
