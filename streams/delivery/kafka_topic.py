"""Owns the way to one topic of another Kafka cluster: a batch is a message, written in a transaction of its own.

Kafka has no create-only write. What takes its place: `init_transactions` ends whatever a predecessor under the same
transactional id had open and fences it, so that nothing of it can appear any more; then the topic is read to its end;
what is not there then is written, and nobody else can have written it in between. So the same three steps also answer
every doubt (law 4, DI2): after a commit whose answer was lost, the topic is asked what is there.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.delivery import answers
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.delivery.secrets import SecretMissing, Secrets
from streams.runtime.clients import CLIENT_LOG, FIXED
from topology.partner import KafkaPartner

TURNS = 3
"""Of init, read and write in one attempt: another pipeline under the same transactional id may fence it."""
MAX_MESSAGE = 512 * 2**20
"""The client refuses nothing that the topic may take."""
STEP_SECONDS = 0.5
"""Of one call of the client: how soon a sink that is closed lets go."""
PAUSE_SECONDS = 0.02
SLICE = 500
SLICE_SECONDS = 0.05
AGAIN = 1.0
"""Seconds of pause while a long topic is still being read: that is no failure of the partner."""
OURS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
"""What speaks of our login, rights or topic, and of no batch."""
LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
"""What speaks of the message's size: halves of it may be taken (DI4)."""
BATCH = {KafkaError.INVALID_RECORD} | LARGE
"""What speaks of the message."""
BATCH_HEADER = "waybill-batch"


class _Late(Exception):
    """The attempt's time is over. `reading`: the topic was being read and came on."""

    def __init__(self, what: str, reading: bool = False) -> None:
        super().__init__(what)
        self.reading = reading


class _Stored(NamedTuple):
    """What the topic holds under a key."""

    digest: bytes
    position: str
    at: int
    """Ms since the epoch, as the topic has it."""


class KafkaSink:
    """Writes each batch as one message. Blocking calls of the client are made on a thread of its own."""

    def __init__(self, name: str, partner: KafkaPartner, clock: Callable[[], float] = time.monotonic) -> None:
        """Opens nothing yet. Raises ValueError for options that would break a guarantee."""
        given = partner.options.keys() | partner.secrets.keys()
        if fixed := sorted((FIXED | {"bootstrap.servers", "message.max.bytes"}) & given):
            raise ValueError(f"partner {name}: options {', '.join(fixed)} cannot be set: create-only rests on them")
        self.name = name
        self._partner = partner
        self._clock = clock
        self._secrets = Secrets()
        self._thread: ThreadPoolExecutor | None = None
        self._topic = _Topic(name, partner, self._secrets, clock)

    async def send(self, envelope: Envelope) -> Outcome:
        """See Sink. Every call of the client gets what is left of `partner.timeout` seconds."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix=f"kafka-{self.name}")
        deadline = self._clock() + self._partner.timeout
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._deliver, envelope, deadline)

    async def close(self) -> None:
        """See Sink. It sends nothing afterwards."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._topic.give_up()
            await asyncio.get_running_loop().run_in_executor(thread, self._topic.close)
            thread.shutdown(wait=False)

    def _deliver(self, envelope: Envelope, deadline: float) -> Outcome:
        """One attempt, in turns: what became of a write is known once the topic was opened and read again."""
        topic, begun = self._topic, False
        why: Exception = _Late("not begun in time")
        for _ in range(TURNS):
            try:
                topic.open(deadline)
                topic.read_on(deadline)
            except Exception as error:  # noqa: BLE001  (law 5: whatever the client raises is this attempt's outcome)
                if isinstance(error, _Late) and error.reading and not begun:
                    return Outcome(OutcomeKind.PAUSED, str(error), AGAIN)
                topic.close()
                if _fenced(error):
                    continue
                return self._failed(why if begun else error, sent=begun)
            stored = topic.stored.get(envelope.idempotency_key)
            if stored is not None:
                return _compare(stored, envelope)
            if begun and _code(why) in OURS | BATCH:
                return self._failed(why, sent=False)
            # What was begun is not there and cannot come any more: it is written again.
            begun = True
            try:
                return Outcome(OutcomeKind.DELIVERED, f"written: {topic.write(envelope, deadline)}")
            except Exception as error:  # noqa: BLE001  (as above)
                why = error
                topic.close()
        return self._failed(why, sent=begun)

    def _failed(self, error: Exception, *, sent: bool) -> Outcome:
        text, code = answers.excerpt(str(error), self._secrets.texts), _code(error)
        if sent:
            return Outcome(OutcomeKind.UNKNOWN, text)
        if code in OURS or isinstance(error, SecretMissing):
            return Outcome(OutcomeKind.STOPPED, text)
        if code in LARGE:
            return Outcome(OutcomeKind.TOO_LARGE, text)
        return Outcome(OutcomeKind.REFUSED if code in BATCH else OutcomeKind.FAILED, text)


def _code(error: Exception) -> int | None:
    found = error.args[0] if isinstance(error, KafkaException) else None
    return found.code() if isinstance(found, KafkaError) else None


def _fenced(error: Exception) -> bool:
    return _code(error) in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


def _compare(stored: _Stored, envelope: Envelope) -> Outcome:
    if stored.digest == envelope.body_digest:
        return Outcome(OutcomeKind.DELIVERED, f"already there: {stored.position}")
    digests = f"stored digest {stored.digest.hex()} differs from {envelope.body_digest.hex()}"
    return Outcome(OutcomeKind.CONFLICT, f"{stored.position}: {digests}")


class _Topic:
    """The clients of one topic, and what it holds. Used from one thread."""

    def __init__(self, name: str, partner: KafkaPartner, secrets: Secrets, clock: Callable[[], float]) -> None:
        self.stored: dict[str, _Stored] = {}
        """By idempotency key, the oldest first."""
        self._partner, self._secrets, self._clock = partner, secrets, clock
        self._who = partner.producer_of(name)
        self._common: dict[str, Any] = {}
        self._positions: dict[int, int] = {}
        """Read up to here, by partition."""
        self._whole = False
        """Read to its end since `open`: from then on only we add."""
        self._given_up = threading.Event()
        self._producer: Any = None
        self._consumer: Any = None

    def open(self, deadline: float) -> None:
        """Fences every predecessor and ends what it had open. Raises KafkaException, SecretMissing, _Late."""
        if self._producer is not None:
            return
        secret = {name: self._secrets.read(one) for name, one in self._partner.secrets.items()}
        self._common = {
            "bootstrap.servers": self._partner.brokers, "client.id": self._who, **self._partner.options, **secret
        }  # fmt: skip
        ms = max(1000, round(self._partner.timeout * 1000))
        settings = {
            "transactional.id": self._who,
            "transaction.timeout.ms": ms,
            "message.timeout.ms": ms,
            "message.max.bytes": MAX_MESSAGE,
            "retry.backoff.ms": 1,  # TX6
            "retry.backoff.max.ms": 20,
            "linger.ms": 0,
            "compression.type": "lz4",
        }
        self._producer = Producer({**self._common, **settings}, logger=CLIENT_LOG)
        self._repeat(self._producer.init_transactions, deadline)
        self._whole = False

    def read_on(self, deadline: float) -> None:
        """Reads the topic to where it ends now, other producers' open transactions included, unless that is known.
        Raises KafkaException, _Late."""
        if self._whole:
            return
        try:
            self._read(deadline)
        except KafkaException as error:
            if _code(error) in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                self._positions.clear()  # retention has passed it: from the beginning of what is left
                self.stored.clear()
            raise
        self._whole = True

    def write(self, envelope: Envelope, deadline: float) -> str:
        """The position of the message, once it is committed. Raises KafkaException, _Late: it may be there or not."""
        reports: list[tuple[Any, Any]] = []
        producer, key = self._producer, envelope.idempotency_key
        producer.begin_transaction()
        producer.produce(
            self._partner.topic,
            envelope.body,
            _bytes(key),
            headers=_headers(envelope),
            on_delivery=lambda error, message: reports.append((error, message)),
        )
        while not reports:
            producer.poll(min(STEP_SECONDS, self._left(deadline)))
        error, message = reports[0]
        if error is not None:
            raise KafkaException(error)
        self._repeat(producer.commit_transaction, deadline)
        return self._add(key, message, envelope.body_digest)

    def close(self) -> None:
        """Drops the clients; what was read stays known."""
        producer, self._producer = self._producer, None
        consumer, self._consumer = self._consumer, None
        if producer is not None:
            producer.purge()  # else letting it go would wait for what is under way
        if consumer is not None:
            consumer.close()

    def give_up(self) -> None:
        """For another thread: no further step is begun."""
        self._given_up.set()

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0 or self._given_up.is_set():
            raise _Late("the time-out is over" if left <= 0 else "given up")
        return left

    def _repeat(self, step: Callable[[float], object], deadline: float) -> None:
        """Calls a step of the client, which goes on where it was, until it is done. Raises KafkaException, _Late."""
        why = ""
        while True:
            try:
                left = self._left(deadline)
            except _Late as late:
                raise _Late(f"{late}; {why}" if why else str(late)) from late
            try:
                step(min(STEP_SECONDS, left))
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                why = error.args[0].str()
            time.sleep(PAUSE_SECONDS)

    def _read(self, deadline: float) -> None:
        ends = self._ends(deadline)
        consumer = self._assigned(ends, deadline)
        moved = False
        while behind := [number for number, end in ends.items() if self._positions[number] < end]:
            if self._clock() >= deadline or self._given_up.is_set():
                done = ", ".join(f"{self._positions[number]} of {ends[number]}" for number in behind)
                raise _Late(f"still reading what {self._partner.topic} holds: {done}", reading=moved)
            for message in consumer.consume(SLICE, SLICE_SECONDS):
                error, number, reached = message.error(), message.partition(), message.offset()
                if error is None:
                    self._look_at(message)
                    reached += 1
                elif error.code() != KafkaError._PARTITION_EOF:  # its offset passes the markers of transactions (TX4)
                    raise KafkaException(error)
                moved = moved or reached > self._positions[number]
                self._positions[number] = max(reached, self._positions[number])

    def _ends(self, deadline: float) -> dict[int, int]:
        """High watermarks by partition: the last stable offset would leave out what others have not committed yet."""
        admin = AdminClient(self._common, logger=CLIENT_LOG)
        topic = self._partner.topic
        found = admin.list_topics(topic, timeout=self._left(deadline)).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        where = {TopicPartition(topic, number): OffsetSpec.latest() for number in found.partitions}
        asked = admin.list_offsets(
            where, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=self._left(deadline)
        )
        return {one.partition: int(future.result().offset) for one, future in asked.items()}

    def _assigned(self, ends: dict[int, int], deadline: float) -> Any:
        """The consumer, at the positions; at those of `key_retention` ago where there are none yet."""
        topic = self._partner.topic
        settings = {
            "group.id": f"{self._who}.{uuid.uuid4().hex[:8]}",  # asked for by the client; nothing is ever committed
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": 20,
        }
        self._consumer = self._consumer or Consumer({**self._common, **settings})
        if new := ends.keys() - self._positions.keys():
            since = self._oldest()
            asked = [TopicPartition(topic, number, since) for number in new]
            for one in self._consumer.offsets_for_times(asked, self._left(deadline)):
                if one.error is not None:
                    raise KafkaException(one.error)
                self._positions[one.partition] = one.offset if one.offset >= 0 else ends[one.partition]
        self._consumer.assign([TopicPartition(topic, number, offset) for number, offset in self._positions.items()])
        return self._consumer

    def _look_at(self, message: Any) -> None:
        """Keeps what is one of ours."""
        key, names = message.key(), {name for name, _ in message.headers() or ()}
        if key is not None and BATCH_HEADER in names:
            self._add(key.decode("utf-8", "replace"), message, sha256(message.value() or b"").digest())

    def _add(self, key: str, message: Any, digest: bytes) -> str:
        """Remembers a message and forgets those that are too old; its position."""
        number, offset, at = message.partition(), message.offset(), message.timestamp()[1]
        position = f"{message.topic()}/{number}" + ("" if offset is None else f"/{offset}")
        self.stored.setdefault(key, _Stored(digest, position, at))
        if self._whole and offset is not None:
            self._positions[number] = offset + 1
        while (first := next(iter(self.stored))) != key and self.stored[first].at < self._oldest():
            del self.stored[first]
        return position

    def _oldest(self) -> int:
        """Ms since the epoch; what is older is not looked for."""
        return max(0, round((time.time() - self._partner.key_retention) * 1000))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    named = {
        "content-type": envelope.content_type,
        BATCH_HEADER: envelope.batch_id.hex(),
        "waybill-body-digest": envelope.body_digest.hex(),
        "waybill-attempt": str(envelope.attempt),
        "waybill-life": str(envelope.life),
        **{f"waybill-{name.replace('_', '-')}": value for name, value in envelope.metadata.items()},
    }
    return [(_bytes(name).decode(), _bytes(value)) for name, value in named.items()]
