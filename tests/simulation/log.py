"""The in-memory log as a process of the simulation uses it: every call is a moment at which the process may die, or
others may move, and a transaction is open for a while between its offsets and its commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streams.runtime.log import Abortable, Fatal, Fetched, Indeterminate, LogError, StaleMember
from streams.runtime.memory import MemoryLog, Token
from streams.stage import Message, Output, TableStore

if TYPE_CHECKING:
    from tests.simulation.world import Process, World

INPUTS = {"validate": "raw", "batch": "validated", "dispatch": "batched"}


class OpenTransaction:
    """Its offsets were accepted; neither committed nor aborted yet."""

    def __init__(self, log: SimLog, outputs: Sequence[Output], offsets: Mapping[int, int]) -> None:
        self.log, self.outputs, self.offsets = log, outputs, offsets
        self.ended = False
        self.result: Any = None
        self.error: LogError | None = None

    def commit(self) -> None:
        """EndTxn reaches the coordinator. The generation was judged when the offsets were sent."""
        self.ended = True
        try:
            self.result = self.log.commit_now(self.outputs, self.offsets)
        except LogError as error:
            self.error = error

    def expire(self) -> None:
        """The coordinator aborts it for its age, and its producer is fenced."""
        self.ended = True
        self.error = Fatal("the transaction was open for too long; its producer is fenced")


class SimLog(MemoryLog):
    """See streams.runtime.log.Log."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        super().__init__(world.broker, process.stage_name, INPUTS[process.stage_name], process.slot)

    @property
    def group(self) -> str:
        """The stage's consumer group."""
        return self._group

    @property
    def member(self) -> str:
        """This process in the group."""
        return self._member

    @property
    def joined(self) -> bool:
        """Whether the group still counts on this process."""
        return self._member in self._broker.members.get(self._group, [])

    @property
    def current(self) -> bool:
        """Whether this process knows the group's generation."""
        return self.joined and self._generation == self._broker.generation[self._group]

    def fetch(
        self, records: int, size: int, linger: float, timeout: float, held: frozenset[int] = frozenset()
    ) -> Fetched:
        self._world.at(self._process, "fetch")
        if timeout > 0:
            self._world.sleep(timeout)
        if not self.joined:
            self._broker.join(self._group, self._member)
        records = records if self._world.calm else min(records, self._world.r.randint(1, 6))
        fetched = super().fetch(records, size, linger, timeout, held)
        self._world.at(self._process, "fetched")
        return fetched

    def committed(self, partition: int) -> int | None:
        self._world.at(self._process, "committed")
        self._world.wait_for_pending(self._group, partition)
        return super().committed(partition)

    def catch_up(self, table: str, partition: int, store: TableStore) -> None:
        self._world.at(self._process, f"catch-up {table}")
        super().catch_up(table, partition, store)

    def seek(self, partition: int, offset: int) -> None:
        self._world.at(self._process, "seek")
        super().seek(partition, offset)

    def read(self, topic: str, partition: int, offset: int) -> Message | None:
        self._world.at(self._process, "read")
        return super().read(topic, partition, offset)

    def transact(self, outputs: Sequence[Output], offsets: Mapping[int, int], token: Token) -> Any:
        world = self._world
        world.at(self._process, "begin")
        if self.fenced:
            raise Fatal("fenced by a newer producer")
        if token.generation != self._broker.generation[self._group] or token.member != self._member:
            world.count["stale"] += 1
            raise StaleMember(f"generation {token.generation} is over")
        if not offsets:
            world.broken("DI1: a transaction without offsets")
        open_one = OpenTransaction(self, outputs, offsets)
        world.transactions.append(open_one)
        try:
            world.at(self._process, "before-commit")
            if not open_one.ended:
                open_one.commit()
        finally:
            world.transactions.remove(open_one)
        world.at(self._process, "after-commit")
        if open_one.error is not None:
            raise open_one.error
        return open_one.result

    @property
    def fenced(self) -> bool:
        """Whether a newer producer took this one's transactional id over."""
        return self._broker.epochs[self._transactional_id] != self._epoch

    def commit_now(self, outputs: Sequence[Output], offsets: Mapping[int, int]) -> Any:
        """What MemoryLog does in one go; a fenced producer commits nothing."""
        token = Token(self._member, self._broker.generation[self._group])
        return super().transact(outputs, offsets, token)

    def recover(self, error: LogError) -> frozenset[int]:
        world = self._world
        world.at(self._process, "recover")
        if not world.calm and world.r.random() < 0.03:
            raise world.r.choice((Abortable, Indeterminate))("injected while recovering")
        if isinstance(error, StaleMember):  # as KafkaLog does: a new producer, and a new membership
            self._epoch = self._init_transactions()
        elif self.fenced and not isinstance(error, Indeterminate):
            raise Fatal("fenced by a newer producer")
        return super().recover(error)
