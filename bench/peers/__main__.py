"""`python -m bench.peers`: the peers over one filled topic on a broker of its own, as a table.

A figure means something only beside others of the same run; the report of `make bench` is where they are compared.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from bench.peers import programs
from bench.peers.beside import PEERS
from bench.peers.check import RAW
from bench.peers.job import PARTITIONS, PeerError, PeerMeasurement, create_topics, make_job
from bench.peers.programs import Peer
from bench.world import broker, fill, readings

RUNS: dict[str, tuple[Peer, dict[str, Any]]] = PEERS | {
    "streams-pipeline-rocksdb": ("streams", {"job": "pipeline", "store": "rocksdb"}),
    "streams-pipeline-digests": ("streams", {"job": "pipeline", "bodies": False}),
}


def row(name: str, measured: PeerMeasurement) -> str:
    """One line of the table."""
    report = measured.report
    return (
        f"{name:<24}{measured.rate:>10,.0f}{measured.cpu_per_million:>8.1f}{measured.warm_rate:>10,.0f}"
        f"{measured.warm_cpu_per_million:>8.1f}{report.transactions:>6}{measured.peak_mib:>8.0f}  {report.threads}"
    )


def main() -> None:
    """Prints one line for each run."""
    given = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    given.add_argument("--records", type=int, default=400_000)
    given.add_argument("--times", type=int, default=1, help="runs of each")
    given.add_argument("--only", default="", help="names of runs, by comma")
    given.add_argument("--jvm", action="append", default=[], help="an option for the JVM")
    given.add_argument("--set", action="append", default=[], help="a number of the job, as name=number")
    options = given.parse_args()
    wanted = [name for name in options.only.split(",") if name] or list(RUNS)
    try:
        for peer in sorted({RUNS[name][0] for name in wanted}):
            programs.build(peer)
    except PeerError as missing:
        sys.exit(str(missing))
    changes = {name: int(value) for name, _, value in (one.partition("=") for one in options.set)}
    with broker() as (bootstrap, _):
        create_topics(bootstrap, [RAW])
        fill(bootstrap, RAW, readings(options.records), PARTITIONS)
        print(f"{'':<24}{'records/s':>10}{'CPU/M':>8}{'warm':>10}{'CPU/M':>8}{'txs':>6}{'MiB':>8}  threads")
        for turn in range(options.times):
            for name in wanted:
                peer, more = RUNS[name]
                job = make_job(bootstrap, f"{name}-{turn}", RAW, options.records, **(more | changes))
                print(row(name, programs.run(name, peer, job, options.jvm)), flush=True)


if __name__ == "__main__":
    main()
