"""From the body of an answer to an outcome for each record, as a partner's `response` says where they stand. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jmespath
from jmespath.exceptions import JMESPathError

from topology.partner import RecordAnswers

NOT_FOR_GOOD = frozenset({401, 403, 408, 423, 425, 429})
"""4xx by which a record is not refused for good: who we are, or when, was wrong."""
NAMED = 3
"""Records that a fault of the answer names."""


class Verdicts(NamedTuple):
    """What an answer says of the records of a batch."""

    refused: dict[int, str]
    """Index of a record that was refused for good -> the partner's words. All others were taken, if there is no
    `fault`."""
    fault: str | None = None
    """Why there is no known outcome for each record."""


class RecordReader:
    """Reads answers of one partner."""

    def __init__(self, rules: RecordAnswers) -> None:
        self.statuses = frozenset(rules.statuses)
        self._records = jmespath.compile(rules.records)
        self._status = jmespath.compile(rules.status)
        self._id = jmespath.compile(rules.id) if rules.id is not None else None
        self._message = jmespath.compile(rules.message) if rules.message is not None else None
        self._taken, self._refused = frozenset(rules.taken), frozenset(rules.refused)

    def read(self, body: Any, names: Sequence[str]) -> Verdicts:
        """`body`: the answer's parsed JSON. `names`: of the records sent, in their order, by which the partner tells
        them apart. Each must have exactly one answer; whatever else is found is a fault (law 4)."""
        try:
            answers = self._records.search(body)
            if not isinstance(answers, list):
                return _fault("holds no list of answers for its records")
            return self._verdicts(answers, names)
        except (JMESPathError, TypeError, ValueError, RecursionError) as error:
            return _fault(f"its answers for records cannot be read: {type(error).__name__}")

    def _verdicts(self, answers: list[Any], names: Sequence[str]) -> Verdicts:
        if len(answers) != len(names):
            return _fault(f"{len(answers)} answers for {len(names)} records")
        places = list(range(len(names)))
        if self._id is not None:
            index = {name: place for place, name in enumerate(names)}
            places = [index.get(str(self._id.search(answer)), -1) for answer in answers]
            if -1 in places or len(set(places)) != len(places):
                return _fault("an answer for a record that was not sent, or two for one")
        refused: dict[int, str] = {}
        open_: list[int] = []
        for place, answer in zip(places, answers, strict=True):
            taken = self._outcome(self._status.search(answer))
            if taken is None:
                open_.append(place)
            elif not taken:
                refused[place] = self._words(answer)
        if open_:
            shown = ", ".join(str(place) for place in sorted(open_)[:NAMED])
            return _fault(f"{len(open_)} of {len(names)} records have no final outcome, at {shown}")
        return Verdicts(refused)

    def _outcome(self, status: Any) -> bool | None:
        """True: taken; False: refused for good; None: neither."""
        if isinstance(status, bool) or not isinstance(status, int | str):
            return None
        word = str(status)
        if word in self._taken:
            return True
        if word in self._refused:
            return False
        number = int(word) if re.fullmatch("[1-5][0-9]{2}", word) else 0
        if 200 <= number < 300 or number == 409:
            return True
        return False if 400 <= number < 500 and number not in NOT_FOR_GOOD else None

    def _words(self, answer: Any) -> str:
        found = self._message.search(answer) if self._message is not None else None
        return f"{self._status.search(answer)}" + (f": {found}" if found is not None else "")


def _fault(why: str) -> Verdicts:
    return Verdicts({}, why)
