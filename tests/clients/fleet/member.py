"""What members written in Python share: the lines that `fleet.py` reads, and the end by SIGTERM."""

import signal
import sys
import time


class Member:
    def __init__(self):
        self.owned = set()
        self.told = None
        self.running = True
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.say("ready")

    def stop(self, *_):
        self.running = False

    def patiently(self, connect):
        """A broker that is not there yet, since it was just killed, is no reason to give up."""
        while True:
            try:
                return connect()
            except Exception as error:
                if not self.running:
                    raise
                self.refused(error)
                time.sleep(0.2)

    def say(self, what):
        sys.stdout.write(f"{int(time.time() * 1000)} {what}\n")
        sys.stdout.flush()

    def tell(self, generation, member):
        """Says what this member has, if that or its generation is new."""
        partitions = ",".join(str(partition) for partition in sorted(self.owned)) or "-"
        line = f"own {generation} {member or '-'} {partitions}"
        if line != self.told:
            self.told = line
            self.say(line)

    def got(self, partition, offsets):
        """A range for each run without a gap, so that a skipped record shows."""
        first = last = None
        for offset in offsets:
            if first is not None and offset != last + 1:
                self.say(f"got {partition} {first} {last}")
                first = offset
            first = offset if first is None else first
            last = offset
        self.say(f"got {partition} {first} {last}")

    def committed(self, offsets):
        self.say("committed " + ",".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items())))

    def refused(self, error):
        self.say(f"refused {type(error).__name__} {error}".replace("\n", " "))
