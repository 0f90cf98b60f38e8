"""Owns how the state of a capture job is read off the topics: the submission on `raw`, and the answers of its records
on `sent` and `dead-letter`. Reads in a thread of its own, one job at a time.

Nothing answers a submission before it was there, so only what was written since is looked at, and no further than to
the answer of its last record. Jobs that are done are kept: a final answer does not change.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaException

from schemas.canonical import RawPosition
from schemas.codec import Codec, WireError
from schemas.messages import position_of
from streams.stage import Message
from topology.model import Pipeline
from waybill import condemned
from waybill.gateway import problems
from waybill.gateway.capture import Answered, Job
from waybill.gateway.problems import Problem
from waybill.life import Marks, holds, marks_of, marks_of_condemned
from waybill.output import Fault
from waybill.reader import Decoder, Reader

KEPT = 10_000
"""Finished jobs; each is some hundred bytes, and its errors."""
MOST_WAITING = 32
"""Requests; each may take as long as it takes to read what was answered since its submission."""
CLOCKS = 600_000
"""ms by which the clocks of two brokers may differ: answers are looked for from so long before the submission on."""
AGAIN = 5


class KafkaJobs:
    """See `capture.Jobs`."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._thread = ThreadPoolExecutor(1, "jobs")
        self._waiting = 0
        self._reader: Reader | None = None
        self._decoders: dict[str, Decoder] = {}
        self._done: OrderedDict[tuple[str, int, int], Job] = OrderedDict()

    async def find(self, pipeline: Pipeline, partition: int, offset: int) -> Job | None:
        """See `capture.Jobs`."""
        key = (pipeline.raw_topic, partition, offset)
        if (done := self._done.get(key)) is not None:
            return done
        if self._waiting >= MOST_WAITING:
            words = f"{self._waiting} requests about jobs are open already; ask again"
            raise Problem(problems.BUSY, words, retry_after=1)
        self._waiting += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._find, pipeline, key)
        except (Fault, KafkaException) as away:
            words = "the broker does not answer now; ask again later"
            raise Problem(problems.NO_BROKER, words, retry_after=AGAIN) from away
        finally:
            self._waiting -= 1
        if found is not None and not found.running:
            self._done[key] = found
            if len(self._done) > KEPT:
                self._done.popitem(last=False)
        return found

    def close(self) -> None:
        """Waits for what is being read."""
        self._thread.shutdown(cancel_futures=True)
        if self._reader is not None:
            self._reader.close()

    def _find(self, pipeline: Pipeline, key: tuple[str, int, int]) -> Job | None:
        if self._reader is None:
            self._reader = Reader(self._brokers)
        topic, partition, offset = key
        submission = self._reader.at(topic, RawPosition(topic, 0, partition, offset, 0))
        if submission is None:
            return None
        count, answers = self._answers(pipeline, key, submission.timestamp)
        publisher = dict(submission.headers).get("waybill-publisher")
        return Job(
            None if publisher is None else publisher.decode("utf-8", "replace"),
            submission.timestamp,
            count,
            [answers[index] for index in sorted(answers)],
        )

    def _answers(
        self, pipeline: Pipeline, key: tuple[str, int, int], since: int
    ) -> tuple[int | None, Mapping[int, Answered]]:
        """How many records there are, if an answer has told, and the last answer of each by its index."""
        count: int | None = None
        lives: dict[int, int] = {}
        found: dict[int, Answered] = {}
        for message, fields, stage in self._about(pipeline, key, since):
            index, count = fields["raw_index"], fields["count"]
            life = (fields.get("passport") or {"attempt": 0})["attempt"]
            if life >= lives.get(index, 0):
                lives[index] = life
                found[index] = Answered(
                    index, message.timestamp, stage, fields.get("findings", ()), fields.get("reason", "")
                )
            if len(found) == count:
                break
        return count, found

    def _about(
        self, pipeline: Pipeline, key: tuple[str, int, int], since: int
    ) -> Iterator[tuple[Message, Mapping[str, Any], str | None]]:
        """The answers of a submission's records, and which stage refused."""
        assert self._reader is not None
        topic, partition, offset = key
        whole = RawPosition(topic, 0, partition, offset, 0).submission
        codec = self._decoders.setdefault(pipeline.pipeline, Decoder(pipeline)).codec
        letters: list[tuple[Message, Mapping[str, Any]]] = []
        for message, kind, fields in self._holding(pipeline, codec, marks_of(whole), since):
            if kind == "dead_letter" and condemned.topic_of(fields, pipeline):
                letters.append((message, fields))  # looked into when nothing else is being read
                continue
            stage = fields["stage"] if kind == "dead_letter" else None
            for one in fields["records"] if kind == "sent_batch" else [fields]:
                if position_of(one).submission == whole:
                    yield message, one, stage
        for message, letter in letters:
            for one in condemned.each(letter, pipeline, codec, self._reader):
                if position_of(one).submission == whole:
                    yield message, one, letter["stage"]

    def _holding(
        self, pipeline: Pipeline, codec: Codec, marks: Marks, since: int
    ) -> Iterator[tuple[Message, str, Mapping[str, Any]]]:
        """Answers that may be about the submission with these marks."""
        assert self._reader is not None
        for short in ("sent", "dead-letter"):
            name, wanted = pipeline.topic(short), [marks, *marks_of_condemned(pipeline)]
            start = self._reader.at_time(name, since - CLOCKS)
            for slice_ in self._reader.read(name, start, self._reader.ends(name).high):
                for message in slice_:
                    if message.value is None or not holds(message.value, wanted):
                        continue
                    try:
                        kind, fields = codec.decode(message.value)
                    except WireError:
                        continue  # `tail` and `audit verify` say so; here it cannot be about the submission
                    if holds(message.value, [marks]) or condemned.is_elsewhere(fields):
                        yield message, kind, fields
