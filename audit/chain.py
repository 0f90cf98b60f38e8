"""The content chain: what an audit entry is, its exact bytes, and how a head follows from the one before.

No clock, no worker, no chunk boundary is in it (T1): equal records in equal order give equal heads however they
were cut into transactions. A chain runs per pipeline, stage and partition and never restarts (T17).
"""

from __future__ import annotations

import json
from binascii import hexlify
from collections.abc import Iterable
from hashlib import sha256
from typing import Literal, NamedTuple, get_args

GENESIS = bytes(32)
"""Head of an empty chain: 64 zeros in hex (AUD-04)."""

Action = Literal[
    "INGEST", "VALIDATE", "REJECT", "ADMIT", "DUPLICATE", "CONFLICT", "SUPERSEDE", "RELEASE", "RETAIN", "BATCH",
    "ATTEMPT", "DELIVER", "DEAD", "REPLAY", "ACCEPT_GAP",
]  # fmt: skip
"""What was done. The five actions of AUD-09 are among them or map to them:

INGEST = INGEST (a submission was read to its end); PARSE = INGEST where it succeeded, REJECT where not;
VALIDATE = VALIDATE; REJECT = REJECT (validate), CONFLICT (batch), DEAD (dispatch); ARCHIVE = DELIVER.

New actions are added at the end: their place is their number in the block's Avro enum.
"""
ACTIONS: tuple[Action, ...] = get_args(Action)


class Entry(NamedTuple):
    """One thing done to one record. Batch-wide actions name the batch's first record and carry the batch's digest."""

    action: Action
    code: str
    """Outcome: an error code or a close reason; empty: as the action says."""
    raw_topic: str
    raw_incarnation: int
    raw_partition: int
    raw_offset: int
    raw_index: int
    digest: bytes
    """SHA-256, 32 bytes: of the record's payload, or of the submission, body or batch the action is about."""


_PARTS = (
    b'{"action":"%b","code":%b,"digest":"%b","raw_incarnation":%b,"raw_index":%b,"raw_offset":%b,'
    b'"raw_partition":%b,"raw_topic":%b}'
)
"""Sorted-key ASCII JSON, as json.dumps(sort_keys=True, separators=(",", ":")) writes it (BA7, AUD-01)."""
FORMAT = _PARTS % (b"%b", b"%b", b"%b", b"%d", b"%d", b"%d", b"%d", b"%b")


def entry_pieces(action: Action, code: str, topic: str, incarnation: int, partition: int) -> tuple[bytes, bytes, bytes]:
    """The bytes of entries that share these fields: what stands before the digest in hex; between it and the offset,
    with room for the index; and behind the offset."""
    # the codes of JSON have no control characters in them, so that these can stand for what is to be filled in
    digest, offset = b"\0", b"\1"
    texts = [json.dumps(text).encode() for text in (code, topic)]
    whole = _PARTS % (
        action.encode(), texts[0], digest, b"%d" % incarnation, b"\2", offset, b"%d" % partition, texts[1],
    )  # fmt: skip
    opening, rest = whole.split(digest)
    between, closing = rest.split(offset)
    return opening, between.replace(b"\2", b"%d"), closing


class _Quoted(dict[str, bytes]):
    """Text as ASCII JSON; each word is escaped once. Topics and codes are few."""

    def __missing__(self, text: str) -> bytes:
        quoted = self[text] = json.dumps(text).encode()
        return quoted


QUOTED = _Quoted()
ACTION_BYTES = {action: action.encode() for action in ACTIONS}


def entry_json(entry: Entry) -> bytes:
    """The bytes of an entry that go into the chain."""
    action, code, topic, incarnation, partition, offset, index, digest = entry
    names = ACTION_BYTES[action], QUOTED[code], hexlify(digest)
    return FORMAT % (*names, incarnation, index, offset, partition, QUOTED[topic])


def extend(head: bytes, entries: Iterable[Entry]) -> bytes:
    """The head after `entries`: SHA-256 of the previous head and the entry, for each (AUD-03)."""
    # The formatting is repeated here because a call per record costs as much as the hash.
    actions, quoted, fmt = ACTION_BYTES, QUOTED, FORMAT
    for action, code, topic, incarnation, partition, offset, index, digest in entries:
        data = fmt % (
            actions[action], quoted[code], hexlify(digest), incarnation, index, offset, partition, quoted[topic],
        )  # fmt: skip
        head = sha256(head + data).digest()
    return head
