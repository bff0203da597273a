#!/usr/bin/env bash
# Prints for every partition of a running broker what Apache Kafka's console consumer reads from it:
#
#   topic-partition  start offset  end offset  lines  SHA-256 of key, value, offset and timestamp of each record
#
# usage: CORELANE_KAFKA_LIBS=<directory of Kafka's jars> checksums.sh HOST:PORT
#
# CORELANE_TOPICS is an expression for the topics that are read; all of them without it.
# Two brokers with the same data give the same lines, whichever wrote them.
set -euo pipefail
server=${1:?usage: checksums.sh HOST:PORT}
export CLASSPATH="${CORELANE_KAFKA_LIBS:?the directory of the jars of Apache Kafka}/*"
tool() { java -Xmx256m -XX:TieredStopAtLevel=1 "$@" 2>>"${CORELANE_TOOL_LOG:-/dev/null}"; }

read=$(mktemp)
trap 'rm -f "$read"' EXIT

offsets() { tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$server" --time "$1" ${CORELANE_TOPICS:+--topic "$CORELANE_TOPICS"} | sort; }

# Lines of TOPIC:PARTITION:OFFSET; a topic's name has no colon.
join -t ' ' <(offsets -2 | sed -E 's/^(.*):([0-9]+):([0-9]*)$/\1-\2 \3/' | sort -k1,1) \
            <(offsets -1 | sed -E 's/^(.*):([0-9]+):([0-9]*)$/\1-\2 \3/' | sort -k1,1) |
while read -r name start end; do
    if [ "$start" = "$end" ]; then
        printf '%s\t%s\t%s\t0\t-\n' "$name" "$start" "$end"
        continue
    fi
    # Compacted partitions and transactions have fewer records than offsets: there the time-out ends it.
    tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$server" \
        --topic "${name%-*}" --partition "${name##*-}" --offset earliest --max-messages "$((end - start))" \
        --timeout-ms "${CORELANE_TIMEOUT_MS:-10000}" --formatter-property print.key=true \
        --formatter-property print.offset=true --formatter-property print.timestamp=true </dev/null >"$read"
    printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$start" "$end" "$(wc -l <"$read")" "$(sha256sum <"$read" | cut -d' ' -f1)"
done
