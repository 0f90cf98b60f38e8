"""The command line of the fake partner."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from waybill.partner_sim.faults import check_faults
from waybill.partner_sim.partner import Partner
from waybill.partner_sim.server import Server


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m waybill.partner_sim`: serves until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m waybill.partner_sim", description="A fake HTTP partner.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0: the system chooses")
    parser.add_argument("--ledger", type=Path, default=None, help="JSON lines, appended; default: memory only")
    parser.add_argument("--bodies", type=Path, default=None, help="folder that gets the bytes of every stored batch")
    parser.add_argument("--fault", action="append", default=[], help="played once, in order; may be repeated")
    options = parser.parse_args(arguments)
    try:
        faults = check_faults(options.fault)
    except ValueError as error:
        parser.error(str(error))
    partner = Partner(options.ledger, bodies=options.bodies)
    partner.faults.extend(faults)
    server = Server(partner, options.host, options.port)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server.start()
    except OSError as error:
        print(f"partner_sim: cannot listen on {options.host}:{options.port}: {error}; choose another --port")
        return 1
    print(f"partner listens on {server.url}", flush=True)
    stopped.wait()
    server.stop()
    return 0
