"""Reads what a peer wrote and holds it against what was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from bench import world
from bench.peers.expected import NOT_PLAIN, Expected
from bench.peers.job import Job


class Wrong(Exception):
    """A peer that did not do what the product does."""


class Message(NamedTuple):
    """A message as read back."""

    partition: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]


def read(bootstrap: str, topic: str) -> Iterator[Message]:
    """Committed messages with their headers, each partition in its order."""
    for message in world.messages(bootstrap, topic):
        headers = {name: bytes(value) for name, value in message.headers() or []}
        yield Message(message.partition(), message.key(), message.value() or b"", headers)


def check_validated(bootstrap: str, job: Job, expected: Expected, contradicting: Counter[bytes]) -> None:
    """Both topics of the job `validate`. Raises Wrong."""
    judge_validated(read(bootstrap, job.validated), expected)
    judge_dead(read(bootstrap, job.dead_letter), expected, contradicting)


def judge_validated(messages: Iterable[Message], expected: Expected) -> None:
    """Every payload once, each with its digest. Raises Wrong."""
    seen: list[bytes] = []
    for message in messages:
        digest = sha256(message.value).digest()
        if message.headers.get("digest") != digest:
            raise Wrong(f"a digest that is not its payload's: {message}")
        seen.append(digest)
    _same_digests("validated", seen, expected)


def _same_digests(where: str, seen: list[bytes], expected: Expected) -> None:
    got = set(seen)
    if len(got) != len(seen) or got - expected.either.keys() != expected.digests:
        raise Wrong(
            f"{where}: {len(seen)} payloads, {len(got)} different, {len(got - expected.digests)} not expected, "
            f"{len(expected.digests - got)} of {len(expected.digests)} missing"
        )


def judge_dead(messages: Iterable[Message], expected: Expected, contradicting: Counter[bytes]) -> None:
    """Every refused message as it was, with a code that the pack gives; contradicting: values by number.

    Raises Wrong."""
    refused: Counter[bytes] = Counter()
    conflicts: Counter[bytes] = Counter()
    for message in messages:
        code = message.headers["code"].decode()
        if code == "CONFLICT":
            conflicts[message.value] += 1
            continue
        if message.value in expected.either.values() and code == NOT_PLAIN:
            continue
        refused[message.value] += 1
        wanted = expected.codes.get(message.value)
        # Of what is no JSON object the pack may say more than that it is malformed, and of nested findings too.
        if wanted is None or (code not in wanted and message.value[:1] == b"{"):
            raise Wrong(f"refused with {code}, the pack says {wanted}: {message.value!r:.200}")
    if refused != expected.refused:
        raise Wrong(
            f"{refused.total()} refused, expected {expected.refused.total()}: {_differ(refused, expected.refused)}"
        )
    if conflicts != contradicting:
        raise Wrong(
            f"{conflicts.total()} contradicting, expected {contradicting.total()}: {_differ(conflicts, contradicting)}"
        )


def _differ(one: Counter[bytes], other: Counter[bytes]) -> str:
    return f"{[*(one - other)][:3]} against {[*(other - one)][:3]}"


def check_batched(bootstrap: str, job: Job, expected: Expected, contradicting: Counter[bytes]) -> None:
    """The topics of the job `pipeline` behind `validated`. Raises Wrong."""
    seen: list[bytes] = []
    short: set[tuple[bytes, bytes | None]] = set()
    for message in read(bootstrap, job.batched):
        if job.bodies:
            members = [sha256(line).digest() for line in message.value.splitlines()]
        else:
            members = [message.value[at : at + 32] for at in range(0, len(message.value), 32)]
        if message.headers["digest"] != sha256(b"".join(members)).digest():
            raise Wrong("a batch whose digest is not that of its members")
        if int.from_bytes(message.headers["count"], "big") != len(members) or len(members) > job.batch:
            raise Wrong(f"a batch of {len(members)}")
        known = [expected.groups[digest] for digest in members if digest not in expected.either]
        if known and set(known) != {(message.key or b"").decode()}:
            raise Wrong(f"a batch of {message.key!r} with members of another group")
        place = message.headers["partition"], message.key
        if place in short:
            raise Wrong(f"a batch after one that was not full: {place}")
        if len(members) < job.batch:
            short.add(place)
        seen += members
    _same_digests("batched", seen, expected)
    judge_dead(read(bootstrap, job.dead_letter), expected, contradicting)
