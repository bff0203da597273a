// kafkajs has no consumer that assigns its partitions itself, so reading is shown with its lower-level fetch, by
// offsets and timestamps with its admin client.
const { Kafka, CompressionTypes, logLevel } = require("kafkajs");

const bootstrap = process.argv[2];
const name = `kafkajs ${require("kafkajs/package.json").version}`;
const kafka = new Kafka({ clientId: "suite", brokers: [bootstrap], logLevel: logLevel.NOTHING });
let failures = 0;

async function check(what, action) {
  try {
    await action();
    console.log(`PASS ${name}: ${what}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL ${name}: ${what}: ${String(error.message).replace(/\n/g, " ")}`);
    console.log(error.stack);
  }
}

function expect(got, want) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
  if (a !== b) throw new Error(`got ${a}, want ${b}`);
}

async function main() {
  const admin = kafka.admin();
  await admin.connect();

  await check("topics are created, grown, described, deleted", async () => {
    expect(await admin.createTopics({ topics: [{ topic: "j-admin", numPartitions: 2 }], waitForLeaders: true }), true);
    expect(await admin.createTopics({ topics: [{ topic: "j-admin", numPartitions: 2 }] }), false);
    await admin.createPartitions({ topicPartitions: [{ topic: "j-admin", count: 4 }] });
    const { topics } = await admin.fetchTopicMetadata({ topics: ["j-admin"] });
    expect(topics[0].partitions.length, 4);
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: 2, name: "j-admin", configNames: ["cleanup.policy"] }],
    });
    expect(resources[0].configEntries[0].configValue, "delete");
    await admin.deleteTopics({ topics: ["j-admin"] });
    expect((await admin.listTopics()).includes("j-admin"), false);
  });

  await check("describeCluster", async () => {
    const cluster = await admin.describeCluster();
    expect(cluster.clusterId.length, 22);
    expect(`${cluster.brokers[0].host}:${cluster.brokers[0].port}`, bootstrap);
  });

  for (const [codec, compression] of [["none", CompressionTypes.None], ["gzip", CompressionTypes.GZIP]]) {
    for (const idempotent of [false, true]) {
      await check(`${codec}, ${idempotent ? "idempotent" : "plain"}: what was sent is acknowledged in order`, async () => {
        const topic = `j-${codec}-${idempotent}`;
        await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true });
        const producer = kafka.producer({ idempotent });
        await producer.connect();
        let next = 0;
        for (let batch = 0; batch < 10; batch++) {
          const messages = Array.from({ length: 100 }, (_, i) => ({
            key: `${batch}`,
            value: `${batch}/${i} ${"lorem ipsum ".repeat(i % 13)}`,
            headers: { n: `${i}` },
          }));
          const [answer] = await producer.send({ topic, messages, compression, acks: -1 });
          expect([answer.errorCode, answer.baseOffset], [0, `${next}`]);
          next += messages.length;
        }
        await producer.disconnect();
        expect(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: "1000", high: "1000", low: "0" }]);
        expect(await admin.fetchTopicOffsetsByTimestamp(topic, 1), [{ partition: 0, offset: "0" }]);
      });
    }
  }

  await check("what was sent is read", async () => {
    // The consumer's own cluster object, without its group.
    const Cluster = require("kafkajs/src/cluster");
    const { createLogger, LEVELS } = require("kafkajs/src/loggers");
    const logger = createLogger({ level: LEVELS.NOTHING, logCreator: require("kafkajs/src/loggers/console") });
    const createSocketFactory = require("kafkajs/src/network/socketFactory");
    const cluster = new Cluster({
      logger, brokers: [bootstrap], socketFactory: createSocketFactory(), clientId: "suite", retry: { retries: 3 },
      connectionTimeout: 10000, authenticationTimeout: 10000, requestTimeout: 30000,
      metadataMaxAge: 60000, allowAutoTopicCreation: false, offsets: new Map(), isolationLevel: 1,
      instrumentationEmitter: null, maxInFlightRequests: null,
    });
    await cluster.connect();
    await cluster.addTargetTopic("j-gzip-true");
    const metadata = await cluster.metadata();
    const leader = metadata.topicMetadata.find((t) => t.topic === "j-gzip-true").partitionMetadata[0].leader;
    const broker = await cluster.findBroker({ nodeId: leader });
    const read = [];
    while (read.length < 1000) {
      const { responses } = await broker.fetch({
        maxWaitTime: 1000, minBytes: 1, maxBytes: 1 << 20, isolationLevel: 1,
        topics: [{ topic: "j-gzip-true", partitions: [{ partition: 0, fetchOffset: `${read.length}`, maxBytes: 1 << 20 }] }],
      });
      const { messages } = responses[0].partitions[0];
      if (messages.length === 0) throw new Error(`nothing behind offset ${read.length}`);
      for (const message of messages) {
        if (Number(message.offset) >= read.length) read.push([message.key.toString(), message.value.toString()]);
      }
    }
    await cluster.disconnect();
    expect(read[517], ["5", `5/17 ${"lorem ipsum ".repeat(4)}`]);
    expect(read.length, 1000);
  });

  await admin.disconnect();
}

main().then(() => process.exit(failures ? 1 : 0), (error) => {
  console.log(`FAIL ${name}: ${error.message}`);
  console.log(error.stack);
  process.exit(1);
});
