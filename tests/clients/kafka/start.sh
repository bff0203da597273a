#!/usr/bin/env bash
# Starts a real Apache Kafka (one node, broker and controller) to compare with, or on a copy of one of our data
# directories, and prints its process id once it answers.
#   start.sh DIR PORT [KEY=VALUE...]
# DIR holds `data` (the log directory, formatted when it isn't yet), `server.properties` and `kafka.log`.
# The controller listens on PORT+1. Stop it with: kill PID
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,6s/^# \?//p' "$0" >&2; exit 2; }
dir=$(mkdir -p "$1" && cd "$1" && pwd)
port=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libs=$("$here/fetch.sh")
data=${CORELANE_KAFKA_DATA:-$dir/data}

{
    echo "process.roles=broker,controller"
    echo "node.id=1"
    echo "controller.quorum.bootstrap.servers=127.0.0.1:$((port + 1))"
    echo "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))"
    echo "advertised.listeners=PLAINTEXT://127.0.0.1:$port"
    echo "controller.listener.names=CONTROLLER"
    echo "log.dirs=$data"
    for topic in offsets.topic transaction.state.log share.coordinator.state.topic; do
        echo "$topic.replication.factor=1"
        case $topic in offsets.topic) ;; *) echo "$topic.min.isr=1" ;; esac
    done
    echo "group.initial.rebalance.delay.ms=0"
    for setting in "$@"; do echo "$setting"; done
} >"$dir/server.properties"

cat >"$dir/log4j2.properties" <<LOG
status = error
appender.out.type = File
appender.out.name = out
appender.out.fileName = $dir/kafka.log
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
LOG

if [ ! -e "$data/meta.properties" ]; then
    id=$(java -cp "$libs/*" kafka.tools.StorageTool random-uuid 2>/dev/null)
    java -Dlog4j2.configurationFile="$dir/log4j2.properties" -cp "$libs/*" kafka.tools.StorageTool format \
        --standalone -t "$id" -c "$dir/server.properties" >"$dir/format.out" 2>&1 || { cat "$dir/format.out" >&2; exit 1; }
fi

: >"$dir/kafka.log"
java -Xms512M -Xmx1G -XX:+UseG1GC -Dlog4j2.configurationFile="$dir/log4j2.properties" -cp "$libs/*" \
    kafka.Kafka "$dir/server.properties" >"$dir/kafka.out" 2>&1 </dev/null &
pid=$!
for _ in $(seq 1 300); do
    if ! kill -0 "$pid" 2>/dev/null; then
        echo "start.sh: Kafka stopped at once; the end of $dir/kafka.log:" >&2
        tail -n 20 "$dir/kafka.log" "$dir/kafka.out" >&2
        exit 1
    fi
    if grep -q 'Kafka Server started' "$dir/kafka.log" 2>/dev/null; then
        echo "$pid"
        exit 0
    fi
    sleep 0.2
done
echo "start.sh: Kafka was not ready within 60 s; see $dir/kafka.log" >&2
kill "$pid"
exit 1
