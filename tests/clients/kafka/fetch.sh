#!/usr/bin/env bash
# Brings Apache Kafka's jars from Maven Central into one directory and prints that directory.
#   fetch.sh            into $CORELANE_KAFKA_LIBS, or target/kafka-libs of this checkout
# Does nothing when the jars named by pom.xml are there already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
libs=${CORELANE_KAFKA_LIBS:-$root/target/kafka-libs}
# The stamp is written last, so a copy that was interrupted is done again.
stamp="$libs/.fetched-$(sha256sum "$here/pom.xml" | cut -c1-16)"

if [ ! -e "$stamp" ]; then
    command -v mvn >/dev/null || { echo "fetch.sh: mvn is missing (Debian: apt-get install maven)" >&2; exit 1; }
    mkdir -p "$libs"
    rm -f "$libs"/*.jar "$libs"/.fetched-*
    mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" >&2
    touch "$stamp"
fi
echo "$libs"
