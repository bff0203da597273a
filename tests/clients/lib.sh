# What the client suites share; sourced by each `tests/clients/SUITE/run`.
#
# Environment:
#   CORELANE_BIN      the broker to test (default: target/debug/corelane of this checkout, built when missing)
#   CORELANE_ARGS     more arguments for it, such as "--set log.io=buffered"
#   CORELANE_BROKER   kafka: a real Apache Kafka in its place, to test the suite itself
#   CORELANE_WORK     where suites keep what they install and write (default: target/clients)
#
# A suite calls `suite NAME`, then `start_broker`, then `check WHAT COMMAND...` for each thing it shows, then
# `finish`. Every check prints one line, PASS or FAIL; nothing is skipped without a line that says so. The last line
# is `NAME: N passed, N failed`.

set -uo pipefail

lib_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$lib_dir/../.." && pwd)
work=${CORELANE_WORK:-$root/target/clients}
mkdir -p "$work"
export PYTHONDONTWRITEBYTECODE=1

passed=0
failed=0
broker_pid=
broker_port=

suite() {
    suite_name=$1
    # Broker directories of earlier runs are of no use to anybody.
    scratch="$work/run-$suite_name"
    rm -rf "$scratch"
    mkdir -p "$scratch"
    trap 'kill_broker >/dev/null 2>&1' EXIT
    trap 'exit 130' INT TERM
}

pass() {
    passed=$((passed + 1))
    echo "PASS $*"
}

fail() {
    failed=$((failed + 1))
    echo "FAIL $*"
}

# check WHAT COMMAND...: one line, and the command's output when it fails.
check() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        pass "$what"
    else
        fail "$what"
        printf '%s\n' "$output" | tail -n 25 | cut -c1-400 | sed 's/^/     | /'
    fi
}

# check_program WHAT COMMAND...: a program that prints PASS and FAIL lines of its own, which are counted.
check_program() {
    local what=$1 output status good bad
    shift
    output=$("$@" 2>&1 </dev/null)
    status=$?
    printf '%s\n' "$output" | grep -aE '^(PASS|FAIL) '
    good=$(printf '%s\n' "$output" | grep -acE '^PASS ')
    bad=$(printf '%s\n' "$output" | grep -acE '^FAIL ')
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        fail "$what: ended with status $status"
    elif [ "$good" -eq 0 ] && [ "$bad" -eq 0 ]; then
        fail "$what: showed nothing"
    fi
    if [ "$status" -ne 0 ] || [ "$bad" -gt 0 ]; then
        printf '%s\n' "$output" | grep -avE '^(PASS|FAIL) ' | tail -n 40 | cut -c1-400 | sed 's/^/     | /'
    fi
}

finish() {
    kill_broker
    if [ "$failed" -gt 0 ] && [ -s "$scratch/broker.log" ]; then
        echo "the end of the broker's log:"
        tail -n 20 "$scratch/broker.log" | cut -c1-400 | sed 's/^/     | /'
    fi
    if [ "$failed" -eq 0 ]; then
        rm -rf "$scratch"
    fi
    echo "$suite_name: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

is_kafka() {
    [ "${CORELANE_BROKER:-}" = kafka ]
}

# A port with two free ones behind it, below the ephemeral range.
free_port() {
    local port try
    for try in $(seq 1 200); do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
        if ! ss -Hltn "sport >= $port and sport <= $((port + 3))" 2>/dev/null | grep -q .; then
            echo "$port"
            return
        fi
    done
    echo "no free port" >&2
    return 1
}

broker_bin() {
    local bin=${CORELANE_BIN:-$root/target/debug/corelane}
    if [ ! -x "$bin" ]; then
        (cd "$root" && cargo build --bin corelane) >&2 || return 1
    fi
    echo "$bin"
}

# start_broker [KEY=VALUE...]: on the suite's directory, which keeps its data between starts.
start_broker() {
    [ -n "$broker_port" ] || broker_port=$(free_port)
    bootstrap=127.0.0.1:$broker_port
    data="$scratch/data"
    local settings=("$@") setting args=() seen bin
    if is_kafka; then
        broker_pid=$(CORELANE_KAFKA_DATA="$data" "$lib_dir/kafka/start.sh" "$scratch" "$broker_port" "${settings[@]}") ||
            { fail "Apache Kafka starts"; finish; }
        cp "$scratch/kafka.log" "$scratch/broker.log"
        return
    fi
    bin=$(broker_bin) || { fail "the broker is built"; finish; }
    for setting in "${settings[@]}"; do args+=(--set "$setting"); done
    touch "$scratch/broker.log"
    seen=$(wc -l <"$scratch/broker.log")
    # shellcheck disable=SC2086 # CORELANE_ARGS is a list of words
    "$bin" serve --set "log.dirs=$data" --set "listeners=PLAINTEXT://$bootstrap" "${args[@]}" ${CORELANE_ARGS:-} \
        >>"$scratch/broker.log" 2>&1 </dev/null &
    broker_pid=$!
    for _ in $(seq 1 600); do
        if tail -n +"$((seen + 1))" "$scratch/broker.log" | grep -q "Ready after"; then return; fi
        if ! kill -0 "$broker_pid" 2>/dev/null; then break; fi
        sleep 0.1
    done
    fail "the broker starts"
    finish
}

broker_gone() {
    if is_kafka; then
        # Started by a script, so no child of this shell.
        while kill -0 "$broker_pid" 2>/dev/null; do sleep 0.1; done
        broker_status=0
    else
        # The braces keep the shell's own word about a killed child quiet.
        { wait "$broker_pid"; } 2>/dev/null
        broker_status=$?
    fi
    broker_pid=
}

# Ends the broker as an operator does; its exit status is in broker_status. Not for `check`, which runs in a subshell.
stop_broker() {
    kill -TERM "$broker_pid"
    broker_gone
}

# Ends it as a crash does.
kill_broker() {
    [ -n "$broker_pid" ] || return 0
    kill -KILL "$broker_pid" 2>/dev/null
    broker_gone
}

# The directory of Apache Kafka's jars, brought from Maven Central when they aren't there.
kafka_libs() {
    "$lib_dir/kafka/fetch.sh"
}

# kafka CLASS ARGUMENT...: one of Apache Kafka's own programs; only errors are logged.
kafka() {
    local class=$1
    shift
    java -Xmx512M -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$lib_dir/kafka/tools-log4j2.properties" \
        -cp "$libs/*" "$class" "$@"
}

# Prints the Python of a virtual environment that has the Python clients; installs them when they aren't there.
python_clients() {
    local venv
    venv="$work/venv-$(sha256sum "$lib_dir/python/requirements.txt" | cut -c1-12)"
    if [ ! -e "$venv/complete" ]; then
        rm -rf "$venv"
        if ! python3 -m venv "$venv" >"$scratch/install" 2>&1 ||
            ! "$venv/bin/pip" install -q -r "$lib_dir/python/requirements.txt" >>"$scratch/install" 2>&1; then
            tail -n 10 "$scratch/install" >&2
            return 1
        fi
        touch "$venv/complete"
    fi
    echo "$venv/bin/python"
}

# Prints the directory that has the packages of Node.js; installs them when they aren't there.
node_clients() {
    local modules
    modules="$work/node-$(sha256sum "$lib_dir/node/package.json" | cut -c1-12)"
    if [ ! -e "$modules/complete" ]; then
        rm -rf "$modules"
        mkdir -p "$modules"
        cp "$lib_dir/node/package.json" "$modules/"
        if ! (cd "$modules" && npm install --silent --no-audit --no-fund) >"$scratch/install" 2>&1; then
            tail -n 10 "$scratch/install" >&2
            return 1
        fi
        touch "$modules/complete"
    fi
    echo "$modules"
}

# Ends the members of groups that a program started and did not end: their ids are in the suite's file `pids`.
kill_members() {
    local pid
    [ -e "$scratch/pids" ] || return 0
    while read -r pid; do
        if grep -aqF "$bootstrap" "/proc/$pid/cmdline" 2>/dev/null; then kill -KILL "$pid" 2>/dev/null; fi
    done <"$scratch/pids"
}
