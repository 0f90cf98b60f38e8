"""The runner's view of the delivery engine: launches what has committed, brings back what was answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streams.delivery.engine import DeliveryEngine
from streams.delivery.protocol import Envelope, Outcome
from streams.runtime import failpoints


class EngineExchange:
    """See streams.runtime.runner.Exchange. Used from the dispatch thread only."""

    def __init__(
        self, engine: DeliveryEngine, answered: Callable[[Envelope, Outcome], None] = lambda envelope, outcome: None
    ) -> None:
        """`answered` is told of every attempt that came to its end."""
        self._engine, self._answered = engine, answered
        self._open = 0

    def launch(self, effects: Sequence[Envelope]) -> None:
        for _ in effects:
            failpoints.hit("dispatch:before-send")
        if effects:
            self._engine.submit(*effects)
        self._open += len(effects)

    def poll(self) -> list[tuple[Envelope, Outcome]]:
        answers = self._engine.poll()
        self._open -= len(answers)
        for envelope, outcome in answers:
            self._answered(envelope, outcome)
        return answers

    def busy(self) -> bool:
        return self._open > 0
