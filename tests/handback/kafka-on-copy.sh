#!/usr/bin/env bash
# Starts Apache Kafka on a copy of a data directory (stopped cleanly), and prints what it says of its topics and what
# its console consumer reads of every partition (checksums.sh). Ends with 0 if every partition has a leader, the broker
# logged no error, and it stopped cleanly.
#
# usage: CORELANE_KAFKA_LIBS=<directory of Kafka's jars> kafka-on-copy.sh [--static-voters] [--keep] DATA_DIR
#
#   --static-voters   controller.quorum.voters instead of controller.quorum.bootstrap.servers
#   --keep            leave the copy, as Kafka left it, where the last line says: for a start of Corelane on it
#
# CORELANE_KAFKA_PORT is the broker's port there (default 39092), CORELANE_CONTROLLER_PORT the controller's (default
# 39093; it need not be the one that the catalog's voter record has, Kafka writes another).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
static=false keep=false
while [ "${1:-}" != "${1#--}" ]; do
    case $1 in
    --static-voters) static=true ;;
    --keep) keep=true ;;
    *) echo "unknown option $1" >&2 && exit 64 ;;
    esac
    shift
done
data=${1:?usage: kafka-on-copy.sh [--static-voters] [--keep] DATA_DIR}
libs=${CORELANE_KAFKA_LIBS:?the directory of the jars of Apache Kafka}
port=${CORELANE_KAFKA_PORT:-39092}
controller=${CORELANE_CONTROLLER_PORT:-39093}
node=$(sed -n 's/^node.id=//p' "$data/meta.properties")

work=$(mktemp -d)
kafka=
finish() {
    if [ -n "$kafka" ]; then kill "$kafka" 2>/dev/null && wait "$kafka" 2>/dev/null; fi
    if ! $keep; then rm -rf "$work"; fi
}
trap finish EXIT
cp -a "$data" "$work/data"

if $static; then
    quorum="controller.quorum.voters=$node@localhost:$controller"
else
    quorum="controller.quorum.bootstrap.servers=localhost:$controller"
fi
cat >"$work/server.properties" <<EOF
process.roles=broker,controller
node.id=$node
$quorum
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://localhost:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://localhost:$controller
controller.listener.names=CONTROLLER
log.dirs=$work/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
EOF
cat >"$work/log4j2.properties" <<'EOF'
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=OUT
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
EOF

CLASSPATH="$libs/*" java -Xms128m -Xmx512m "-Dlog4j2.configurationFile=$work/log4j2.properties" \
    kafka.Kafka "$work/server.properties" >"$work/kafka.log" 2>&1 &
kafka=$!
for _ in $(seq 240); do
    if grep -q 'Kafka Server started' "$work/kafka.log"; then break; fi
    if ! kill -0 "$kafka" 2>/dev/null; then break; fi
    sleep 0.5
done
if ! grep -q 'Kafka Server started' "$work/kafka.log"; then
    echo "Apache Kafka did not start:" >&2
    grep -E 'ERROR|FATAL|Exception' "$work/kafka.log" >&2 || tail -20 "$work/kafka.log" >&2
    exit 1
fi

export CLASSPATH="$libs/*" CORELANE_TOOL_LOG="$work/tools.log"
topics() {
    java -Xmx256m -XX:TieredStopAtLevel=1 org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$port" "$@" \
        2>>"$work/tools.log"
}
echo "== topics"
topics --describe
leaderless=$(topics --describe --unavailable-partitions)
echo "== partitions"
"$here/checksums.sh" "127.0.0.1:$port"

kill "$kafka"
wait "$kafka" 2>/dev/null || true
kafka=
result=0
echo "== verdict"
if [ -n "$leaderless" ]; then
    echo "partitions without a leader:" && echo "$leaderless" && result=1
fi
if grep -qE ' (ERROR|FATAL) |stray' "$work/kafka.log"; then
    echo "in Kafka's log:" && grep -E ' (ERROR|FATAL) |stray' "$work/kafka.log" && result=1
fi
if [ ! -f "$work/data/.kafka_cleanshutdown" ]; then
    echo "Kafka did not stop cleanly" && result=1
fi
if [ $result = 0 ]; then echo "Apache Kafka serves all of it"; fi
if $keep; then echo "$work/data"; fi
exit $result
