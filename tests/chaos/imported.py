"""Run as a program: prints what a worker would still have to import."""

import json
import sys

before = set(sys.modules)
from waybill.main import build  # noqa: E402

build("worker")
import streams.runtime.worker  # noqa: E402, F401
import topology.load  # noqa: E402, F401
import waybill.logs  # noqa: E402, F401

print(json.dumps(sorted(set(sys.modules) - before - {"waybill.main"})))
