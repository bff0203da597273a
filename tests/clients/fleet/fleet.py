"""The fleet: members of groups, each a process of its own, of four clients and both protocols, over 24 partitions that
are written to all the while. Members join, leave, are killed with -9 and paused past their session timeout, one group is
upgraded to the newer protocol and back, and the broker itself is killed with -9 twice in each round.

Run by `run`, which keeps the broker: it gets `broker kill` and `broker start` as lines, and answers the second by `ready`.

What members print, each line behind the milliseconds since 1970:

    ready                          its program is loaded, and joins now
    own GENERATION MEMBER P,P,P    what it has from now on, `-` for nothing
    got P FIRST LAST               offsets read, without a gap between
    committed P:OFFSET,...         acknowledged by the broker
    refused WHY                    a commit that was not
    end                            it has left

What has to hold:

  1. No partition is owned by two members of one generation.
  2. No committed offset is lost: who is given a partition reads on at or behind every offset that was acknowledged
     before, and after each kill of the broker it tells of no older ones.
  3. No record is skipped: what the members of a group have read together is everything.
  4. After each event the group is whole again: its live members own all partitions, and each is read from.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from types import SimpleNamespace

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, where, libs, classes, go_member, corelane = sys.argv[1:7]
here = os.path.dirname(os.path.abspath(__file__))
PARTITIONS = 24
TOPIC = None  # of the members that start now
SESSION_S = 6
# How long a group may take to be whole again, all waits for sessions included, but for the start of programs: two busy
# cores start a dozen JVMs.
WHOLE_WITHIN_S = 60
READY_WITHIN_S = 120
# And one that was not whole in that time before, whose reason may never go away.
BROKEN_WHOLE_WITHIN_S = 10
everything = set(range(PARTITIONS))

failures = 0
measured = []  # (event, group, seconds)
lock = threading.Lock()  # around all that members have said
members = []


def say(line):
    print(line, flush=True)


def report(what, problems):
    global failures
    say(f"{'FAIL' if problems else 'PASS'} {what}")
    for problem in problems[:8]:
        failures += 1
        say(f"     | {problem}")
    if len(problems) > 8:
        say(f"     | and {len(problems) - 8} more")


def now():
    return time.time()


class Member:
    """A process, and what it has said."""

    commands = {
        "java": ["java", "-Xmx128M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 f"-Dlog4j2.configurationFile={os.path.dirname(here)}/kafka/tools-log4j2.properties",
                 "-cp", f"{classes}:{libs}/*", "Member"],
        "librdkafka": [sys.executable, f"{here}/member_confluent.py"],
        "franz-go": [go_member],
        "kafka-python": [sys.executable, f"{here}/member_kafka_python.py"],
    }

    def __init__(self, group, client, protocol):
        self.group, self.client, self.protocol = group, client, protocol
        self.name = f"{group}-{len(members)}"
        self.said = []  # (time, kind, ...)
        self.ready_at = None
        self.owned = None  # nothing said yet
        self.since = {}  # when each partition that it has became its own
        self.read_at = {}  # when a record of each partition was last read
        self.expected = True  # whether the group should count on it
        self.log = open(f"{where}/{self.name}.log", "w", buffering=1)
        self.process = subprocess.Popen(
            [*self.commands[client], bootstrap, group, TOPIC, protocol],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )
        with open(f"{where}/pids", "a") as file:
            file.write(f"{self.process.pid}\n")
        self.thread = threading.Thread(target=self.listen, daemon=True)
        members.append(self)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            self.log.write(line)
            with lock:
                try:
                    self.take(line.split())
                except (ValueError, IndexError):
                    pass  # cut off by kill -9
        self.log.flush()

    def take(self, words):
        at, kind = int(words[0]) / 1000, words[1]
        if kind == "ready":
            self.ready_at = at
        elif kind == "own":
            partitions = frozenset() if words[4] == "-" else frozenset(map(int, words[4].split(",")))
            self.since = {p: self.since.get(p, at) if p in (self.owned or ()) else at for p in partitions}
            self.owned = partitions
            self.said.append((at, kind, int(words[2]), words[3], partitions))
        elif kind == "got":
            partition, first, last = map(int, words[2:5])
            self.read_at[partition] = at
            self.said.append((at, kind, partition, first, last))
        elif kind == "committed":
            offsets = dict(tuple(map(int, pair.split(":"))) for pair in words[2].split(","))
            self.said.append((at, kind, offsets))
        elif kind == "end":
            self.owned = frozenset()
            self.said.append((at, kind))

    def ready(self):
        """Waits until it is about to join; when that was."""
        deadline = now() + READY_WITHIN_S
        while self.ready_at is None and self.process.poll() is None and now() < deadline:
            time.sleep(0.02)
        return self.ready_at or now()

    def kill(self):
        self.expected = False
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def leave(self):
        """Asks it to leave; `left` waits for that."""
        self.expected = False
        self.process.send_signal(signal.SIGTERM)

    def left(self):
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            return [f"{self.name} did not end within 40 s of SIGTERM"]
        self.thread.join(5)
        status = self.process.returncode
        ended = any(said[1] == "end" for said in self.said)
        return [] if ended else [f"{self.name} ended with status {status} and did not say that it left"]

    def pause(self):
        self.expected = False
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        with lock:
            self.owned, self.since = None, {}  # what it thinks it has is another's by now
        self.process.send_signal(signal.SIGCONT)
        self.expected = True


class Group:
    def __init__(self, name, *kinds):
        self.name, self.kinds = name, kinds
        self.problems = []

    def join(self, kind=None):
        client, protocol = kind or self.kinds[0]
        return Member(self.name, client, protocol)

    def joined(self, event, *kinds):
        """Members join, one of the group's first kind unless said otherwise; and it is whole again."""
        new = [self.join(kind) for kind in kinds or [None]]
        self.whole(event, max(member.ready() for member in new))
        return new[-1]

    def live(self):
        return [m for m in members if m.group == self.name and m.expected]

    def missing(self, since):
        """Why the group is not whole; None if it is."""
        owners = defaultdict(list)
        for member in self.live():
            if member.process.poll() is not None:
                return f"{member.name} has ended with status {member.process.returncode}"
            if not member.owned:
                return f"{member.name} has nothing"
            for partition in member.owned:
                owners[partition].append(member)
        if len(owners) < PARTITIONS:
            return f"nobody has {sorted(everything - owners.keys())}"
        for partition, of in owners.items():
            if len(of) > 1:
                return f"{partition} is owned by {', '.join(m.name for m in of)}"
            if of[0].read_at.get(partition, 0) < max(since, of[0].since[partition]):
                return f"{of[0].name} reads nothing from {partition}"
        return None

    def whole(self, event, since, within=WHOLE_WITHIN_S):
        """Waits until the live members own all partitions, each one, and read from all; notes how long it took."""
        within = BROKEN_WHOLE_WITHIN_S if self.problems else within
        deadline = now() + within
        while True:
            with lock:
                missing = self.missing(since)
            if missing is None:
                measured.append((event, self.name, now() - since))
                return
            if now() > deadline or "has ended" in missing:
                self.problems.append(f"{self.name}, {event}: not whole after {within} s: {missing}")
                measured.append((event, self.name, float("inf")))
                return
            time.sleep(0.05)

    def round(self, randomly):
        """A member joins, one is killed, one is replaced, one is paused and goes on, one leaves."""
        third = self.joined("join")

        victim, sleeper = randomly.sample([m for m in self.live() if m is not third], 2)
        at = now()
        victim.kill()
        self.whole("kill -9", at)
        self.joined("join")

        at = now()
        sleeper.pause()
        self.whole("pause past the session timeout", at)
        time.sleep(max(0, at + SESSION_S + 2 - now()))
        at = now()
        sleeper.resume()
        self.whole("resume", at)

        at = now()
        third.leave()
        self.whole("leave", at)
        self.problems += third.left()


class Upgraded(Group):
    """Goes over to the newer protocol and back while its members run."""

    classic = [("java", "classic-range"), ("java", "classic")]
    newer = [("java", "consumer"), ("librdkafka", "consumer")]

    def __init__(self, name):
        super().__init__(name, ("java", "classic-range"), ("java", "classic-range"))

    def kind_is(self, wanted):
        for _ in range(50):
            found = described(self.name).get("type")
            if found == wanted:
                return
            time.sleep(0.1)
        self.problems.append(f"{self.name} is of type {found}, not {wanted}")

    def replaced(self, event, kinds):
        for kind in kinds:
            before = self.live()[0]
            self.joined(f"{event}: join", kind)
            at = now()
            before.leave()
            self.whole(f"{event}: leave", at)
            self.problems += before.left()

    def round(self, randomly):
        self.kind_is("classic")
        self.replaced("upgrade", [("java", "consumer")])
        self.kind_is("consumer")  # and one of its members is not
        at = now()
        killed = next(m for m in self.live() if m.protocol != "consumer")
        killed.kill()
        self.whole("kill -9 of a classic member of a consumer group", at)
        self.joined("join", ("librdkafka", "consumer"))
        self.replaced("downgrade", [("java", "classic-range")] * 2)
        self.kind_is("classic")


class Load(threading.Thread):
    """Writes a record to every partition, four times a second, through whatever happens to the broker."""

    def __init__(self):
        super().__init__(daemon=True)
        self.topic = TOPIC
        self.running, self.sent, self.acknowledged, self.errors = True, 0, [0] * PARTITIONS, []
        self.producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 2,
            "message.timeout.ms": 0, "log_level": 0,
        })

    def delivered(self, error, message):
        if error is None:
            self.acknowledged[message.partition()] += 1
        else:
            self.errors.append(str(error))

    def run(self):
        while self.running:
            for partition in range(PARTITIONS):
                self.producer.produce(self.topic, b"%d" % self.sent, partition=partition, on_delivery=self.delivered)
            self.sent += 1
            self.producer.poll(0.25)
            time.sleep(0.2)

    def end(self):
        self.running = False
        self.join()
        if self.producer.flush(60):
            self.errors.append("not all was delivered")


def in_parallel(action, of):
    threads = [threading.Thread(target=action, args=(one,)) for one in of]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def kill_broker():
    """Kills it and starts it anew; then what it says is committed is no less than what it acknowledged."""
    at = now()
    say("broker kill")
    say("broker start")
    if sys.stdin.readline().strip() != "ready":
        sys.exit("the broker did not come back")
    measured.append(("broker: kill -9 until it listens", "-", now() - at))
    return at


def described(group):
    """By our own command line, which waits for a coordinator that is loading; librdkafka's administration does not, and
    confluent-kafka 2.16 can crash on that error."""
    answer = subprocess.run(
        [corelane, "group", "--bootstrap", bootstrap, "--timeout", "60", "describe", group, "--output", "json"],
        stdout=subprocess.PIPE)
    return json.loads(answer.stdout)[0]


def committed(group):
    partitions = described(group).get("partitions", [])  # of no group there are none
    return {p["partition"]: p["committed"] for p in partitions if p["committed"] is not None}


def older_than_acknowledged(groups, before):
    problems = []
    for group in groups:
        acknowledged = defaultdict(int)
        with lock:
            for member in members:
                for said in member.said:
                    if member.group == group.name and said[1] == "committed" and said[0] < before:
                        for partition, offset in said[2].items():
                            acknowledged[partition] = max(acknowledged[partition], offset)
        found = committed(group.name)
        for partition, offset in acknowledged.items():
            if found.get(partition, -1) < offset:
                problems.append(f"{group.name}: {partition}: {offset} was acknowledged, {found.get(partition)} is left")
    return problems


def two_owners(groups):
    owner, problems = {}, []
    names = {group.name for group in groups}
    for member in (member for member in members if member.group in names):
        for said in member.said:
            if said[1] != "own" or said[2] < 0:
                continue
            for partition in said[4]:
                first = owner.setdefault((member.group, said[2], partition), member)
                if first is not member:
                    problems.append(
                        f"{member.group}: in generation {said[2]} {partition} is owned by {first.name} and {member.name}")
    return problems


def gone_back(groups):
    """The first record of a partition that a member is given stands at or behind what was acknowledged before that."""
    problems = []
    commits = defaultdict(list)
    for member in members:
        for said in member.said:
            if said[1] == "committed":
                for partition, offset in said[2].items():
                    commits[member.group, partition].append((said[0], offset))
    starts = 0
    names = {group.name for group in groups}
    for member in (member for member in members if member.group in names):
        new, owned = {}, frozenset()
        for said in member.said:
            if said[1] == "own":
                for partition in said[4] - owned:
                    new[partition] = said[0]
                new = {partition: at for partition, at in new.items() if partition in said[4]}
                owned = said[4]
            elif said[1] == "got" and said[2] in new:
                at, starts = new.pop(said[2]), starts + 1
                floor = max((offset for t, offset in commits[member.group, said[2]] if t < at), default=0)
                if said[3] < floor:
                    problems.append(f"{member.name}: {said[2]} is read from {said[3]} on, {floor} was committed")
    return starts, problems


def skipped(groups, ends):
    problems = []
    for group in groups:
        read = defaultdict(list)
        for member in members:
            for said in member.said:
                if member.group == group.name and said[1] == "got":
                    read[said[2]].append((said[3], said[4]))
        for partition in range(PARTITIONS):
            next_offset = 0
            for first, last in sorted(read[partition]):
                if first > next_offset:
                    problems.append(f"{group.name}: {partition}: {next_offset} to {first - 1} were never read")
                next_offset = max(next_offset, last + 1)
            if next_offset != ends[partition]:
                problems.append(f"{group.name}: {partition}: read up to {next_offset} of {ends[partition]}")
    return problems


def quantile(values, of):
    return sorted(values)[min(len(values) - 1, int(len(values) * of))]


def table():
    events = defaultdict(list)
    for event, group, seconds in measured:
        events[event].append((seconds, group))
    say("     | time to a whole group, in seconds            n   p50    max  slowest")
    for event, values in events.items():
        slowest = max(values)
        middle = quantile([seconds for seconds, _ in values], 0.5)
        say(f"     | {event:<44} {len(values):>3}  {middle:4.1f}  {slowest[0]:5.1f}  {slowest[1]}")
    with open(f"{where}/measured.json", "w") as file:
        json.dump(measured, file)


def main(rounds, seed):
    groups = [
        Group("java-classic", ("java", "classic"), ("java", "classic")),
        Group("java-consumer", ("java", "consumer"), ("java", "consumer")),
        Group("librdkafka", ("librdkafka", "classic"), ("librdkafka", "classic")),
        Group("franz-go", ("franz-go", "classic"), ("franz-go", "classic")),
        Group("kafka-python", ("kafka-python", "classic"), ("kafka-python", "classic")),
        Upgraded("upgraded"),
    ]
    if rounds > 1:
        groups += [
            Group("librdkafka-consumer", ("librdkafka", "consumer"), ("librdkafka", "consumer")),
            Group("franz-go-consumer", ("franz-go", "consumer"), ("franz-go", "consumer")),
        ]
    only = os.environ.get("CORELANE_FLEET_GROUPS")
    if only:
        groups = [group for group in groups if group.name in only.split(",")]
    randomly = random.Random(seed)
    say(f"     | seed {seed}, {rounds} round{'s' if rounds > 1 else ''}, groups {', '.join(g.name for g in groups)}")
    load = begin("fleet")
    in_parallel(lambda group: group.joined("start of two members", *group.kinds), groups)
    older = []
    for _ in range(rounds):
        at = kill_broker()
        older += older_than_acknowledged(groups, at)
        in_parallel(lambda group: group.whole("kill -9 of the broker", at), groups)

        seeds = {group.name: randomly.random() for group in groups}
        in_parallel(lambda group: group.round(random.Random(seeds[group.name])), groups)

        # Once more in the middle of rebalances.
        joined = [group.join() for group in groups]
        joined[0].ready()
        deadline = now() + 20
        while now() < deadline and not any(m.owned is not None for m in joined):
            time.sleep(0.01)
        at = kill_broker()
        older += older_than_acknowledged(groups, at)
        in_parallel(
            lambda of: of[0].whole("kill -9 of the broker while members join", max(at, of[1].ready())),
            list(zip(groups, joined)))
        at = now()
        for member in joined:
            member.leave()
        in_parallel(lambda group: group.whole("leave", at), groups)
        for group, member in zip(groups, joined):
            group.problems += member.left()
    conclude(groups, load, older)
    table()


def begin(topic):
    """The topic of the members to come, and what is written to it from now on."""
    global TOPIC
    TOPIC = topic
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
        future.result(30)
    load = Load()
    load.start()
    return load


def conclude(groups, load, older):
    """Everything is read and committed, then all leave; and what all of them said has to fit together."""
    load.end()
    ends = load.acknowledged
    deadline = now() + 30
    wanted = dict(enumerate(ends))
    behind = groups
    while behind and now() < deadline:
        behind = [group for group in behind if committed(group.name) != wanted]
        time.sleep(0.2)
    for member in members:
        if member.expected:
            member.leave()
    for member in members:
        if member.process.returncode is None:
            member.left()
        member.thread.join(5)

    for group in groups:
        report(f"{group.name}: whole again after each event", group.problems)
    report("no partition was owned by two members of a generation", two_owners(groups))
    starts, problems = gone_back(groups)
    report(f"no committed offset was lost ({starts} times a partition went to a member)", older + problems)
    report(f"no record was skipped ({sum(ends)} records, each by {len(groups)} groups)",
           load.errors + skipped(groups, ends))
    final = [f"{group.name}: {committed(group.name)} of {wanted}" for group in groups if committed(group.name) != wanted]
    report("in the end all is committed", final)


def detectors_detect():
    """A test that cannot fail is none: each finding is found in a history made up to have it, and nothing in a good one."""
    def history(*lines):
        member = Member.__new__(Member)
        member.group, member.name, member.said, member.owned, member.since, member.read_at = "g", "m", [], None, {}, {}
        for line in lines:
            member.take(line.split())
        return member

    global members
    before, group = members, [SimpleNamespace(name="g")]
    ends = [10] + [0] * (PARTITIONS - 1)
    first = history("1000 own 1 a 0", "2000 got 0 0 4", "3000 committed 0:5", "4000 own 1 a -")

    def found(*others):
        global members
        members = [first, *others]
        return [bool(two_owners(group)), bool(gone_back(group)[1]), bool(skipped(group, ends))]

    assert found(history("5000 own 2 b 0", "6000 got 0 5 9")) == [False, False, False]
    assert found(history("5000 own 1 b 0", "6000 got 0 5 9")) == [True, False, False]
    assert found(history("5000 own 2 b 0", "6000 got 0 4 9")) == [False, True, False]
    assert found(history("5000 own 2 b 0", "6000 got 0 6 9")) == [False, False, True]
    assert found(history("5000 own 2 b 0", "6000 got 0 5 8")) == [False, False, True]
    # Who was given a partition before a commit was acknowledged need not know of it.
    assert found(history("2500 own 2 b 0", "6000 got 0 4 9")) == [False, False, False]
    members = before


def run(what):
    """Does it, ends whatever member is left, and ends this program by what was found."""
    detectors_detect()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        what()
    finally:
        for member in members:
            if member.process.poll() is None:
                member.process.kill()
                member.process.wait()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    run(lambda: main(int(sys.argv[7]), int(sys.argv[8])))
