"""The rules that the executable models of the design break one by one, broken here in the product: the histories of the
whole topology must notice each of them, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from schemas.delivery import Row
from schemas.messages import PassportPart, position_of
from streams.batch.identity import Version, encode_version
from streams.batch.lot import Lot
from streams.batch.versions import Versions
from streams.batch.window import Windows
from streams.dispatch import attempts, deliveries
from streams.dispatch.attempts import Terms
from streams.dispatch.bodies import Frozen
from streams.dispatch.changes import Changes
from streams.dispatch.deliveries import Deliveries
from streams.dispatch.settlement import Settlement
from streams.progress import Progress
from streams.stage import Output, Work
from tests.simulation.log import SimLog
from tests.simulation.test_whole import found

Rule = tuple[Any, str, Callable[..., Any]]


def ba2_the_newest_version_alone() -> Rule:
    def put(self: Versions, work: Work, version: Version) -> None:
        for older in self.find(version.key):
            if older.offset != version.offset:
                self.remove(work, older)
        self.pending[version.key] = [version]
        self._row(work, version.row_key, encode_version(self._codec, version))

    return Versions, "put", put


def ba6_the_older_versions_window_stays_open() -> Rule:
    def no_window(self: Windows, *of: Any) -> bool:
        return False

    return Windows, "holds", no_window


def ba8_a_release_drops_the_whole_key() -> Rule:
    def release(self: Lot, work: Work, message: Mapping[str, Any]) -> None:
        self.progress.note("RELEASE", "", position_of(message), message["digest"])
        for version in list(self.versions.find(message["key"])):
            self.versions.remove(work, version)

    return Lot, "_release", release


def ba8_a_release_does_nothing() -> Rule:
    def release(self: Lot, work: Work, message: Mapping[str, Any]) -> None:
        self.progress.note("RELEASE", "", position_of(message), message["digest"])

    return Lot, "_release", release


def ba9_versions_do_not_guard_their_keys() -> Rule:
    return Versions, "alive", lambda self, version: False


def di1_answers_of_what_was_forgotten_are_taken() -> Rule:
    forget = Deliveries.forget

    def keeping(self: Deliveries, partition: int) -> None:
        still_open = dict(self._open)
        forget(self, partition)
        self._open.update(still_open)

    return Deliveries, "forget", keeping


def di2_an_unknown_outcome_releases() -> Rule:
    dead = Settlement.dead

    def hopeful(
        self: Settlement, progress: Progress, row: Row, code: str, why: str, frozen: Frozen, refused: Mapping[int, str]
    ) -> list[Output]:
        return dead(self, progress, row._replace(unknown=False), code, why, frozen, refused)

    return Settlement, "dead", hopeful


def di3_an_attempt_older_than_the_partners_memory_is_repeated() -> Rule:
    def stubborn(row: Row, now: int, terms: Terms) -> str:
        return attempts.spent(row._replace(first_attempt_at=now), now, terms)

    return deliveries, "spent", stubborn


def di6_a_passport_admits_again_and_again() -> Rule:
    def generous(
        self: Deliveries, changes: Changes, partition: int, row: Row, life: int, passport: PassportPart
    ) -> bool:
        part = self._parts[partition]
        if row.batch_id in part.unsettled:
            return False
        former = part.settled.pop(row.batch_id, None) or row._replace(unknown=True)
        self._begin(changes, partition, part, attempts.next_life(former, life, passport, row.begun_at))
        return True

    return Deliveries, "again", generous


def deadline_a_batch_that_is_overdue_waits_on() -> Rule:
    return deliveries, "overdue", lambda row, now, terms: False


def deadline_a_restart_winds_the_clock_back() -> Rule:
    restore = Deliveries.restore

    def afresh(self: Deliveries, partition: int, rows: list[Row], partners: Any, now: int) -> None:
        restore(self, partition, [row._replace(begun_at=now) for row in rows], partners, now)

    return Deliveries, "restore", afresh


def order_an_unsettled_batch_does_not_hold_its_group() -> Rule:
    return Deliveries, "_line", lambda self, row: row.batch_id.hex()


def rty11_a_store_that_fails_has_no_second_dead_letter() -> Rule:
    deaths = Settlement._deaths

    def silent(self: Settlement, *of: Any) -> list[Output]:
        return [output for output in deaths(self, *of) if output.topic != "review"]

    return Settlement, "_deaths", silent


def rty11_what_any_partner_refuses_has_one() -> Rule:
    deaths = Settlement._deaths

    def generous(self: Settlement, progress: Progress, row: Row, *of: Any) -> list[Output]:
        outputs = []
        for output in deaths(self, progress, row, *of):
            outputs.append(output)
            if output.topic == "dead-letter" and row.partner not in self._stores:
                outputs.append(self._dead_letters.review(output, "", row.attempt))
        return outputs

    return Settlement, "_deaths", generous


def rty11_it_is_written_beside_the_transaction() -> Rule:
    transact = SimLog.transact

    def beside(self: SimLog, outputs: Sequence[Output], *of: Any) -> Any:
        seconds = [output for output in outputs if output.topic == "review"]
        if seconds:
            self.commit_now(seconds, {})
        return transact(self, [output for output in outputs if output.topic != "review"], *of)

    return SimLog, "transact", beside


@pytest.mark.parametrize(
    "rule",
    [
        ba2_the_newest_version_alone,
        ba6_the_older_versions_window_stays_open,
        ba8_a_release_drops_the_whole_key,
        ba8_a_release_does_nothing,
        ba9_versions_do_not_guard_their_keys,
        di1_answers_of_what_was_forgotten_are_taken,
        di2_an_unknown_outcome_releases,
        di3_an_attempt_older_than_the_partners_memory_is_repeated,
        di6_a_passport_admits_again_and_again,
        deadline_a_batch_that_is_overdue_waits_on,
        deadline_a_restart_winds_the_clock_back,
        order_an_unsettled_batch_does_not_hold_its_group,
        rty11_a_store_that_fails_has_no_second_dead_letter,
        rty11_what_any_partner_refuses_has_one,
        rty11_it_is_written_beside_the_transaction,
    ],
)
def test_a_broken_rule_is_noticed(rule: Callable[[], Rule]) -> None:
    assert found(*rule())
