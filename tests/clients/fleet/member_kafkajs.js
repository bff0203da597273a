// One member of a group, of kafkajs: BOOTSTRAP GROUP TOPIC PROTOCOL (classic alone). It does not tell its generation.
const { Kafka, logLevel } = require("kafkajs");

const [bootstrap, group, topic] = process.argv.slice(2);
const say = (what) => process.stdout.write(`${Date.now()} ${what}\n`);
say("ready");
const kafka = new Kafka({ clientId: group, brokers: [bootstrap], logLevel: logLevel.NOTHING });
const consumer = kafka.consumer({
  groupId: group, sessionTimeout: 6000, heartbeatInterval: 1000, maxWaitTimeInMs: 250,
  retry: { retries: 100, maxRetryTime: 1000 },
});

async function main() {
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const partitions = (payload.memberAssignment[topic] || []).join(",") || "-";
    say(`own -1 ${payload.memberId} ${partitions}`);
  });
  consumer.on(consumer.events.REBALANCING, ({ payload }) => say(`own -1 ${payload.memberId} -`));
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  process.on("SIGTERM", async () => {
    await consumer.disconnect();
    say("end");
    process.exit(0);
  });
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, heartbeat, isStale }) => {
      if (batch.messages.length === 0 || isStale()) return;
      const last = Number(batch.lastOffset());
      say(`got ${batch.partition} ${batch.firstOffset()} ${last}`);
      try {
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(last + 1) }]);
        say(`committed ${batch.partition}:${last + 1}`);
      } catch (error) {
        say(`refused ${error.message.replace(/\n/g, " ")}`);
      }
      await heartbeat();
    },
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
