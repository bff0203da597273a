"""aiokafka (asyncio)."""

import asyncio
import sys

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from checks import check, end, lines

bootstrap = sys.argv[1]
name = f"aiokafka {aiokafka.__version__}"


def run(coroutine):
    return lambda: asyncio.run(asyncio.wait_for(coroutine(), 60))


async def with_admin(action):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return await action(admin)
    finally:
        await admin.close()


async def topics_come_and_go():
    async def action(admin):
        await admin.create_topics([NewTopic("a-admin", 2, 1)])
        for _ in range(100):
            if "a-admin" in await admin.list_topics():
                break
            await asyncio.sleep(0.1)
        assert "a-admin" in await admin.list_topics()
        await admin.delete_topics(["a-admin"])
        for _ in range(100):
            if "a-admin" not in await admin.list_topics():
                return True
            await asyncio.sleep(0.1)
        return False

    return await with_admin(action)


async def round_trip(codec, idempotent):
    topic = f"a-{codec or 'none'}-{idempotent}"
    await with_admin(lambda admin: admin.create_topics([NewTopic(topic, 1, 1)]))
    values = lines(topic, 1000)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type=codec, enable_idempotence=idempotent, acks="all", linger_ms=2
    )
    await producer.start()
    try:
        sent = [await producer.send(topic, v, key=str(i).encode(), partition=0) for i, v in enumerate(values)]
        offsets = [(await future).offset for future in sent]
    finally:
        await producer.stop()
    assert offsets == list(range(len(values)))

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        read = [(await consumer.getone()).value for _ in values]
        assert read == values
        assert (await consumer.end_offsets([partition]))[partition] == len(values)
        assert (await consumer.offsets_for_times({partition: 1}))[partition].offset == 0
    finally:
        await consumer.stop()


async def committed():
    partition = TopicPartition("a-none-False", 0)

    async def with_consumer(action):
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="a-group", enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([partition])
            return await action(consumer)
        finally:
            await consumer.stop()

    await with_consumer(lambda consumer: consumer.commit({partition: 77}))
    assert await with_consumer(lambda consumer: consumer.committed(partition)) == 77


check(f"{name}: topics are created and deleted", run(topics_come_and_go))
for codec in (None, "gzip", "snappy", "lz4", "zstd"):
    for idempotent in (False, True):
        kind = "idempotent" if idempotent else "plain"
        check(f"{name}: {codec or 'none'}, {kind}: what was sent is read", run(lambda: round_trip(codec, idempotent)))
check(f"{name}: committed offsets", run(committed))
end()
