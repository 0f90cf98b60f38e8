"""`waybill` whose batch stage aborts every transaction, and whose watchdog looks and loses its patience soon."""

from __future__ import annotations

from typing import Any

from streams.runtime import worker
from streams.runtime.lag import LagWatch
from streams.runtime.log import Abortable
from streams.runtime.transaction import Transactor
from waybill.main import main

PATIENCE = 8.0
"""Seconds."""


def _abort(self: Transactor, *_: Any) -> Any:
    if self._stage == "batch":
        raise Abortable("as in every transaction")
    return _run(self, *_)


_run = Transactor.run

if __name__ == "__main__":
    Transactor.run = _abort  # type: ignore[method-assign, assignment]
    worker.STALL_SECONDS = PATIENCE
    LagWatch.__init__.__defaults__ = (1.0,)
    main()
