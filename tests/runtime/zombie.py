"""A worker in a process of its own, for tests that stop or kill it: joins, reads, waits for a line, commits, reports.

Arguments: bootstrap, prefix of the world, slot, and `short` or `long` time-outs. Prints `read N` and then `committed`
or the name of the error.
"""

from __future__ import annotations

import sys

from streams.runtime.kafka import KafkaLog
from streams.runtime.log import LogError
from tests.runtime.world import LONG, SHORT, fetched, out, small_pipeline, started


def main() -> None:
    bootstrap, prefix, slot, times = sys.argv[1:]
    log = KafkaLog(bootstrap, small_pipeline(prefix), "batch", int(slot), 0, SHORT if times == "short" else LONG)
    started(log)
    messages, token = fetched(log, 1)
    print(f"read {len(messages)}", flush=True)
    sys.stdin.readline()
    try:
        log.transact([out(b"zombie")], {m.partition: m.offset + 1 for m in messages}, token)
        print("committed", flush=True)
    except LogError as refused:
        print(type(refused).__name__, flush=True)
    log.close()


if __name__ == "__main__":
    main()
