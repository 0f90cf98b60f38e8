"""`waybill publish`: files, folders and stdin onto a raw topic, each acknowledged by the broker before it counts."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Folder, Json, PipelineName, client_settings, find_brokers, load, require_topics
from waybill.inputs import Input, find_inputs, read, read_lines
from waybill.output import Code, Fault, Ticker, count, emit, finish, line, safe, say

if TYPE_CHECKING:
    from topology.model import Pipeline

OPEN_BYTES = 64 * 2**20
"""Bytes handed to the client and not yet acknowledged; more waits."""
ACK_SECONDS = 60
"""A broker that restarts is back by then; after it the outcome is unknown and said to be so."""
POLL_SECONDS = 0.1
UNKNOWN = "position-unknown"
"""In the place of a position that the broker did not name; the submission is published, once."""


@dataclass(slots=True)
class Sent:
    """One submission on its way."""

    item: Input
    number: int
    """Line number with --lines, else 0."""
    size: int
    digest: str
    taken: bool = False
    """The broker has acknowledged it."""
    position: str | None = None
    """None also where the broker acknowledged a repeated send without saying where the first one lies."""
    error: str | None = None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(publish)


def publish(
    name: PipelineName,
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="files, folders (recursively), `-` for stdin")],
    key: Annotated[str | None, typer.Option(help="message key of every submission; default: the file's name")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="a header, may be repeated")] = None,
    lane: Annotated[str | None, typer.Option(help="priority lane; this version has one")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="every line is a submission of its own")] = False,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Publish files as they are, one submission each, and wait for the broker's ack of every one.

    Prints position, SHA-256 and file. A file above the pipeline's limit is refused before anything is sent.
    """
    pipeline = load(name, folder)
    if lane is not None and lane not in pipeline.lanes:
        raise Fault(f"pipeline {pipeline.pipeline} has no lane {lane!r}; allowed: {', '.join(pipeline.lanes)}")
    headers = [_header(text) for text in header or []]
    inputs = find_inputs(paths)
    limit = pipeline.raw.max_message_bytes
    if not lines:
        for item in inputs:
            if item.size is not None and item.size > limit:
                raise Fault(_too_large(item.name, item.size, limit))
    cluster = find_brokers(brokers)
    require_topics(cluster, pipeline, "raw")
    publisher = Publisher(cluster, pipeline, headers, key, json)
    ticker = Ticker(lambda number: f"{number} published")
    try:
        for item, number, value in submissions(inputs, limit, lines):
            publisher.send(item, number, value)
            ticker.add()
    finally:
        # What the broker has taken is said even if the next file cannot be read.
        publisher.finish()
        ticker.close()
    say(f"{count(publisher.acked, 'submission')} on {pipeline.raw_topic}")
    finish(Code.FINE if inputs else Code.INCOMPLETE)


def submissions(inputs: list[Input], limit: int, lines: bool) -> Iterator[tuple[Input, int, bytes]]:
    """(file, line number or 0, bytes) of each submission. Raises Fault above the limit."""
    for item in inputs:
        if not lines:
            value = read(item, limit)
            if len(value) > limit:
                raise Fault(_too_large(item.name, None, limit))
            yield item, 0, value
            continue
        for number, value in read_lines(item, limit):
            if len(value) > limit:
                raise Fault(_too_large(f"{item.name}:{number}", None, limit))
            yield item, number, value


def _too_large(name: str, size: int | None, limit: int) -> str:
    what = f"{size} bytes" if size is not None else f"more than {limit} bytes"
    return f"{name}: {what}, the pipeline takes submissions of {limit} at most: split it (raw.max_message_bytes)"


def _header(text: str) -> tuple[str, bytes]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Fault(f"--header {text!r}: expected NAME=VALUE, for example content-type=text/csv")
    return name, value.encode("utf-8", "surrogateescape")


class Publisher:
    """One idempotent producer; prints each submission once the broker has taken it, in the order they were sent."""

    def __init__(
        self, brokers: str, pipeline: Pipeline, headers: list[tuple[str, bytes]], key: str | None, json: bool
    ) -> None:
        from confluent_kafka import Producer

        from topology.topics import message_limit

        self._topic, self._headers, self._key, self._json = pipeline.raw_topic, headers, key, json
        settings = client_settings(
            brokers,
            **{
                "enable.idempotence": True,
                "acks": "all",
                "message.max.bytes": message_limit(pipeline),
                "message.timeout.ms": ACK_SECONDS * 1000,
                "linger.ms": 5,
                "compression.type": "lz4",
            },
        )
        self._producer: Any = Producer(settings)
        self._open: deque[Sent] = deque()
        self._open_bytes = 0
        self.acked = 0

    def send(self, item: Input, number: int, value: bytes) -> None:
        """Hands one submission to the client. Raises Fault once one was not acknowledged."""
        sent = Sent(item, number, len(value), sha256(value).hexdigest())
        mine = {name for name, _ in self._headers}
        headers = [
            (name, text)
            for name, text in (("waybill-source", item.source.encode()), ("waybill-digest", sent.digest.encode()))
            if name not in mine
        ]
        while self._open and self._open_bytes + len(value) > OPEN_BYTES:
            self._settle(POLL_SECONDS)
        self._open.append(sent)
        self._open_bytes += len(value)

        def answered(error: Any, message: Any) -> None:
            if error is not None:
                sent.error = error.str()
                return
            sent.taken = True
            if message.offset() is not None:
                sent.position = f"{message.topic()}/{message.partition()}/{message.offset()}"

        key = self._key if self._key is not None else item.source
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key.encode("utf-8", "surrogateescape"), headers=headers + self._headers,
                    on_delivery=answered,
                )  # fmt: skip
                break
            except BufferError:
                self._settle(POLL_SECONDS)
        self._settle(0)

    def _settle(self, seconds: float) -> None:
        self._producer.poll(seconds)
        while self._open and (self._open[0].taken or self._open[0].error):
            sent = self._open.popleft()
            self._open_bytes -= sent.size
            if sent.error is not None:
                left = len(self._open)
                raise Fault(
                    f"{sent.item.name}: the broker did not acknowledge it ({sent.error}); {self.acked} before it are "
                    f"published, {left} after it may be: publish them again, repeats are recognised"
                )
            self.acked += 1
            self._print(sent)

    def _print(self, sent: Sent) -> None:
        if self._json:
            row = {
                "position": sent.position,
                "id": sent.position,
                "digest": sent.digest,
                "bytes": sent.size,
                "file": sent.item.name,
                "line": sent.number or None,
            }
            emit(row)
        else:
            where = f"{sent.item.name}:{sent.number}" if sent.number else sent.item.name
            line(f"{sent.position or UNKNOWN}  {sent.digest}  {safe(where)}")

    def finish(self) -> None:
        """Waits for every ack still out. Raises Fault."""
        failing = sys.exc_info()[0] is not None
        try:
            while self._open:
                self._settle(POLL_SECONDS)
        except Fault:
            if not failing:
                raise
