"""`waybill publish`: files, folders and stdin onto a raw topic, each acknowledged by the broker before it counts."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.context import Brokers, Folder, Json, PipelineName, find_brokers, lane_of, load, require_topics
from waybill.inputs import Input, find_inputs, read, read_lines
from waybill.output import Code, Fault, Ticker, count, emit, finish, line, safe, say
from waybill.raw_producer import PRIORITY, RawProducer, Receipt

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
    digest: str = ""
    receipt: Receipt | None = None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(publish)


def publish(
    name: PipelineName,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="files, folders (recursively), `-` for stdin")],
    key: Annotated[str | None, typer.Option(help="message key of every submission; default: the file's name")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="a header, may be repeated")] = None,
    lane: Annotated[str | None, typer.Option(help="priority lane, if the pipeline has some; default: standard")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="every line is a submission of its own")] = False,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Publish files as they are, one submission each, and wait for the broker's ack of every one.

    Prints position, SHA-256 and file. A file above the pipeline's limit is refused before anything is sent.
    """
    pipeline = load(name, folder)
    headers = [_header(text) for text in header or []]
    pipeline = _lane(pipeline, lane, headers)
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


def _lane(pipeline: Pipeline, lane: str | None, headers: list[tuple[str, bytes]]) -> Pipeline:
    """The lane that is named, and its header. Raises Fault where the header alone, or another one, names a lane: it
    would say what is not so."""
    from topology.model import STANDARD

    found = lane_of(pipeline, lane)
    if len(pipeline.lanes) == 1:
        return found
    named = [value.decode("utf-8", "replace") for header, value in headers if header == PRIORITY]
    if any(value != (lane or STANDARD) for value in named):
        raise Fault(f"--header {PRIORITY}={named[0]}: say `--lane {named[0]}`, which chooses the topic")
    if lane is not None and not named:
        headers.append((PRIORITY, lane.encode()))
    return found


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
        self._topic, self._headers, self._key, self._json = pipeline.raw_topic, headers, key, json
        self._producer = RawProducer(brokers, [pipeline], ACK_SECONDS)
        self._open: deque[Sent] = deque()
        self._open_bytes = 0
        self.acked = 0

    def send(self, item: Input, number: int, value: bytes) -> None:
        """Hands one submission to the client. Raises Fault once one was not acknowledged."""
        sent = Sent(item, number, len(value))
        headers = self._headers
        if all(name != "waybill-source" for name, _ in headers):
            headers = [("waybill-source", item.source.encode()), *headers]
        while self._open and self._open_bytes + len(value) > OPEN_BYTES:
            self._settle(POLL_SECONDS)
        self._open.append(sent)
        self._open_bytes += len(value)

        def answered(receipt: Receipt) -> None:
            sent.receipt = receipt

        key = (self._key if self._key is not None else item.source).encode("utf-8", "surrogateescape")
        while True:
            try:
                sent.digest = self._producer.send(self._topic, value, key, headers, answered)
                break
            except BufferError:
                self._settle(POLL_SECONDS)
        self._settle(0)

    def _settle(self, seconds: float) -> None:
        self._producer.poll(seconds)
        while self._open and (receipt := self._open[0].receipt) is not None:
            sent = self._open.popleft()
            self._open_bytes -= sent.size
            if receipt.error is not None:
                left = len(self._open)
                raise Fault(
                    f"{sent.item.name}: the broker did not acknowledge it ({receipt.error}); {self.acked} before it "
                    f"are published, {left} after it may be: publish them again, repeats are recognised"
                )
            self.acked += 1
            self._print(sent, receipt.position)

    def _print(self, sent: Sent, position: str | None) -> None:
        if self._json:
            row = {
                "position": position,
                "id": position,
                "digest": sent.digest,
                "bytes": sent.size,
                "file": sent.item.name,
                "line": sent.number or None,
            }
            emit(row)
        else:
            where = f"{sent.item.name}:{sent.number}" if sent.number else sent.item.name
            line(f"{position or UNKNOWN}  {sent.digest}  {safe(where)}")

    def finish(self) -> None:
        """Waits for every ack still out. Raises Fault."""
        failing = sys.exc_info()[0] is not None
        try:
            while self._open:
                self._settle(POLL_SECONDS)
        except Fault:
            if not failing:
                raise
