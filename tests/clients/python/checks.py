"""One line for each thing that a client shows, as the suites want it."""

import sys
import traceback

failures = 0


def check(what, action):
    """Runs `action`; a true or None result passes."""
    global failures
    try:
        result = action()
    except Exception as error:  # whatever a client throws is a failure of the check
        traceback.print_exc()
        result = False
        what = f"{what}: {type(error).__name__}: {error}".replace("\n", " ")
    report(what, result)


def report(what, result):
    global failures
    if result is None or result:
        print(f"PASS {what}")
    else:
        failures += 1
        print(f"FAIL {what}")
    sys.stdout.flush()


def end():
    sys.exit(1 if failures else 0)


def lines(tag, count):
    """Values that compress a little."""
    return [f"{tag} {i} {'lorem ipsum ' * (i % 17)}".encode() for i in range(count)]
