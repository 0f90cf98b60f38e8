"""The whole graph on one screen. A reader who wants to know how a record travels begins here, then opens the three
agents in the order data flows.

                    ┌──────────┐ validated ┌───────┐ batched ┌──────────┐
    publishers ─raw─▶ validate ├──────────▶│ batch ├────────▶│ dispatch ├──▶ partners
                    └────┬─────┘  ▲        └─┬───┬─┘         └─┬──────┬─┘
                         │        │ release, │   │ duplicate   │      │ delivered
                         │        │ retain   │   ▼             │      ▼
                         │        └──────────┼───sent (acks)───┼── sent (acks)
                         ▼                   ▼                 ▼
                      dead-letter ◀────── conflicts ◀──── refused, exhausted

    tables (compacted, one per input partition):  heads: all   idempotency, windows: batch   delivery: dispatch
                                                  items, waiting: batch, where the pipeline has state rules
    audit: one block per transaction of every stage

Each arrow out of a stage, its table rows, its audit block and its input offsets commit in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from schemas.codec import Codec
from schemas.pack import Pack
from schemas.state import StateRules, state_rules
from streams.batch.agent import BatchStage
from streams.batch.identity import MemoryVersions, VersionStore
from streams.claims import NO_CLAIMS, Claims
from streams.deadletter import DeadLetters
from streams.dispatch.agent import DispatchStage
from streams.dispatch.allowance import Allowances
from streams.dispatch.bodies import Fetch
from streams.progress import Identity
from streams.stage import TableStore
from streams.tables import MemoryRows
from streams.validate.agent import ValidateStage
from streams.validate.authorised import TradingPartners
from streams.validate.spanning import Unpack
from topology.model import STANDARD, Lane, Pipeline
from topology.topics import inline_limit

STAGES = ("validate", "batch", "dispatch")
"""In the order data flows."""


@dataclass(frozen=True)
class Parts:
    """What the stages of one pipeline are made of. Everything from outside (clock, randomness, stores) is here."""

    pipeline: Pipeline
    codec: Codec
    pack: Pack
    identity: Identity
    claims: Claims = NO_CLAIMS
    versions: Callable[[int], VersionStore] = lambda partition: MemoryVersions()
    rows: Callable[[str, int], TableStore] = lambda table, partition: MemoryRows()
    random: Random = field(default_factory=Random)
    unpack: Unpack | None = None
    """Reads submissions in the pack's place (VA3)."""
    authorised: Callable[[], TradingPartners] = TradingPartners
    """The list of trading partners with every row there is."""
    lane: Lane = STANDARD
    allowances: Allowances | None = None
    """What dispatch shares with the pipeline's other lanes."""

    def validate(self) -> ValidateStage:
        """raw -> validated, dead-letter."""
        return ValidateStage(
            self.pipeline, self.codec, self.pack, self.identity, self._dead_letters(), unpack=self.unpack,
            claim=self.claims.put, inline=inline_limit(self.pipeline), authorised=self.authorised,
            rules=self._state_rules(),
        )  # fmt: skip

    def batch(self) -> BatchStage:
        """validated -> batched, sent (duplicates), dead-letter (conflicts), validated (what waited); its tables."""
        return BatchStage(
            self.pipeline,
            self.codec,
            self.identity,
            self._dead_letters(),
            self.versions,
            self._state_rules(),
            self.rows,
        )

    def _state_rules(self) -> StateRules | None:
        return state_rules(self.pack) if self.pipeline.items else None

    def dispatch(self, fetch: Fetch, busy: Callable[[bytes], bool] = lambda batch_id: False) -> DispatchStage:
        """batched -> partners, sent, dead-letter, validated (releases); delivery."""
        return DispatchStage(
            self.pipeline, self.codec, self.pack, self.identity, self._dead_letters(), fetch, self.random, self.rows,
            busy, self.claims, self.allowances, self.lane,
        )  # fmt: skip

    def _dead_letters(self) -> DeadLetters:
        return DeadLetters(self.codec, self.pipeline.partitions, self.claims.put, inline_limit(self.pipeline))
