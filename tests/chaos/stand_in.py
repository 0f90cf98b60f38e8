"""Run as a program in place of a worker: logs the events that it is given, and waits until its standard input ends.

Before that it says what it found when it began; it ends as its environment says.
"""

import json
import os
import sys

found = {
    "argv": sys.argv[1:], "name": __name__, "folder": os.getcwd(), "path": sys.path[:1],
    "open": sorted(map(int, os.listdir("/proc/self/fd"))),
    "environment": {name: value for name, value in os.environ.items() if name != "LC_CTYPE"},
}  # fmt: skip
print(json.dumps(found), flush=True)
for event in sys.argv[1:]:
    if not event.startswith("--"):
        print(json.dumps({"event": event}), flush=True)
sys.stdin.read()
print("the end", file=sys.stderr)
if "ENDS_WITH" in os.environ:
    sys.exit(int(os.environ["ENDS_WITH"]))
raise ValueError("as it was to")
