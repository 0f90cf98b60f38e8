"""Waybill broken on purpose, for the suite alone: `python -m chaos.broken` is `waybill` with one of its rules undone.

The mode is in WAYBILL_BROKEN. A suite that finds nothing wrong with these proves nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from schemas.delivery import Row
from schemas.errors import OUTCOME_UNKNOWN
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch import attempts, deliveries
from streams.dispatch.attempts import Settled, dead
from streams.runtime.kafka import KafkaLog
from streams.runtime.runner import Runner, Step
from streams.runtime.transaction import offsets_of
from streams.stage import Work
from streams.tables import table_rows
from topology.model import Pipeline

VARIABLE = "WAYBILL_BROKEN"
CALL_SECONDS = 0.05
"""What a call takes that goes well."""


def _effects_first() -> None:
    """Partners are called before the attempt is written ahead (dispatch rule 2), as a plain call would do it."""
    commit = Runner._commit

    def broken(self: Runner, work: Work, step: Step) -> None:
        effects, work.effects = work.effects, []
        self._exchange.launch(effects)
        time.sleep(CALL_SECONDS if effects else 0)
        commit(self, work, step)

    Runner._commit = broken  # type: ignore[method-assign]


class _WithoutOffsets:
    """A producer whose transactions carry no offsets."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def send_offsets_to_transaction(self, *_: object) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def _offsets_outside() -> None:
    """Offsets are committed by the consumer, before the transaction and beside it (law 2)."""
    transact = KafkaLog.transact

    def broken(self: KafkaLog, outputs: Any, offsets: Any, token: Any) -> Any:
        if not isinstance(self._transactor._producer, _WithoutOffsets):
            self._transactor._producer = _WithoutOffsets(self._transactor._producer)
        self._consumer.commit(offsets=offsets_of(self._input, offsets), asynchronous=False)
        return transact(self, outputs, offsets, token)

    KafkaLog.transact = broken  # type: ignore[method-assign]


def _table_early() -> None:
    """Local tables follow before the transaction has committed (step 6)."""
    commit = Runner._commit

    def broken(self: Runner, work: Work, step: Step) -> None:
        for (table, partition), rows in table_rows(work.outputs, self.stage.tables).items():
            store = self._stores[partition][table]
            store.apply(rows, store.position)
        commit(self, work, step)

    Runner._commit = broken  # type: ignore[method-assign]


def _gives_up() -> None:
    """What a partner took is dead-lettered as if nobody knew what became of it."""
    settle = attempts.settle

    def broken(row: Row, outcome: Outcome, *more: Any) -> Settled:
        if outcome.kind is OutcomeKind.DELIVERED:
            return dead(row._replace(unknown=True), OUTCOME_UNKNOWN, outcome.answer)
        return settle(row, outcome, *more)

    vars(deliveries)["settle"] = broken


def _misrouted() -> None:
    """Every record goes to one partner, whatever the rule says (VA1)."""
    Pipeline.partner_of = lambda self, fields: self.partner_names[0]  # type: ignore[method-assign]


MODES: dict[str, Callable[[], None]] = {
    "effects-first": _effects_first,
    "gives-up": _gives_up,
    "misrouted": _misrouted,
    "offsets-outside": _offsets_outside,
    "table-early": _table_early,
}


def worker_module(mode: str | None) -> str:
    """The module a crew runs as `waybill`; chosen once for a whole process."""
    if mode is None:
        return "waybill.main"
    os.environ[VARIABLE] = mode
    return "chaos.broken"


if __name__ == "__main__":
    MODES[os.environ[VARIABLE]]()
    from waybill.main import main

    main()
