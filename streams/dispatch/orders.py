"""Owns what operators have ordered about partners: messages of the control topic, and what they come to.

Pure: no Kafka, no clock. An order is a message of its own and none is ever overwritten (the key carries a version), so
that the topic tells who did what, when and why; the newest of each subject is in force. Only a command writes orders;
a worker obeys them and may never write one: rows of `delivery` are a stage's own and commit with its work (law 2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from schemas.codec import Codec, WireError
from topology.model import Pipeline

PARTNER = "partner"
"""The kind of orders about one partner of one pipeline."""


class Order(NamedTuple):
    """An order about a partner."""

    subject: str
    """See `subject`."""
    version: int
    """Of this subject, from 1."""
    paused: bool
    """Nothing is sent to the partner until it is resumed."""
    actor: str
    reason: str
    at: int
    """When it was given, ms since epoch, by the clock of whoever gave it."""


def subject(pipeline: Pipeline, partner: str) -> str:
    """What an order about a partner of a pipeline names: the control topic is everybody's."""
    return f"{pipeline.group_id(PARTNER)}/{partner}"


def key(order: Order) -> bytes:
    """Of the order's message."""
    return f"{PARTNER}/{order.subject}/{order.version}".encode()


def encode(codec: Codec, order: Order) -> bytes:
    """The order's message."""
    body = json.dumps({"paused": order.paused})
    return codec.encode(
        "control",
        {
            "kind": PARTNER, "subject": order.subject, "version": order.version, "body": body, "actor": order.actor,
            "reason": order.reason, "at": order.at,
        },
    )  # fmt: skip


def decode(codec: Codec, value: bytes) -> Order | None:
    """The order in a message of the control topic; None for a message of another kind. Raises WireError for what is no
    such message."""
    name, message = codec.decode(value)
    if name != "control":
        raise WireError(f"a {name} message has no business in the control topic")
    if message["kind"] != PARTNER:
        return None
    return Order(
        message["subject"], message["version"], _paused(message["body"]), message["actor"], message["reason"],
        message["at"],
    )  # fmt: skip


def _paused(body: str) -> bool:
    """Whether an order pauses. One of a later release may say what is not known here: then nothing is sent."""
    try:
        said = json.loads(body)
    except ValueError:
        return True
    return not isinstance(said, dict) or said.get("paused") is not False


class Orders:
    """The orders in force. Learnt by one thread, read by any."""

    def __init__(self) -> None:
        self._newest: Mapping[str, Order] = {}
        self.learnt = 0
        """How many orders there were; while it stays, nothing has changed."""

    def learn(self, order: Order) -> None:
        """The next order of the topic."""
        self._newest = {**self._newest, order.subject: order}  # never changed in place: others read it
        self.learnt += 1

    def newest(self, pipeline: Pipeline, partner: str) -> Order | None:
        """The order in force about a partner, if there ever was one."""
        return self._newest.get(subject(pipeline, partner))

    def paused(self, pipeline: Pipeline) -> dict[str, Order]:
        """The partners of a pipeline to which nothing may be sent, and the order that says so."""
        found = {partner: self.newest(pipeline, partner) for partner in pipeline.partners}
        return {partner: order for partner, order in found.items() if order is not None and order.paused}
