"""A group of each kind of client: two members, a third joins, the first leaves, and each time all 24 partitions are owned
by one of them and read from; what is read and committed is everything. In the form and with the members of the fleet
test, without its violence.

    clients.py BOOTSTRAP DIRECTORY LIBS CLASSES FRANZ_MEMBER CORELANE SARAMA_MEMBER KAFKAJS_MEMBER
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fleet"))

import fleet
from fleet import Group, Member, in_parallel, now

sarama_member, kafkajs_member = sys.argv[7:9]
Member.commands |= {
    "sarama": [sarama_member],
    "kafkajs": ["node", kafkajs_member],
    "aiokafka": [sys.executable, f"{fleet.here}/member_aiokafka.py"],
}
# Few at a time: each has processes of its own, and a machine may have two cores.
WAVES = {
    "java": [("java", "classic"), ("java", "classic-range"), ("java", "consumer"), ("java", "consumer-range")],
    "librdkafka": [("librdkafka", "classic"), ("librdkafka", "classic-range"), ("librdkafka", "consumer")],
    "others": [("franz-go", "classic"), ("franz-go", "consumer"), ("sarama", "classic"), ("kafka-python", "classic"),
               ("aiokafka", "classic"), ("kafkajs", "classic")],
}


class Client(Group):
    def __init__(self, kind):
        super().__init__("-".join(kind), kind)

    def round(self):
        kind = self.kinds[0]
        self.joined("start of two members", kind, kind)
        first = self.live()[0]
        self.joined("join")
        at = now()
        first.leave()
        self.whole("leave", at)
        self.problems += first.left()


def main():
    for name, kinds in WAVES.items():
        load = fleet.begin(f"members-{name}")
        groups = [Client(kind) for kind in kinds]
        in_parallel(lambda group: group.round(), groups)
        fleet.conclude(groups, load, [])
    fleet.table()


fleet.run(main)
