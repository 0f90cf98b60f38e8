"""Logging of long-running commands: JSON for collectors, readable lines on a terminal (OBS-01).

Libraries log through the same pipe. A line that is repeated (aiokafka does so 11,000 times in 20 s without a broker) is
cut short: the same words from the same logger come once in ten seconds, with a count.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

REPEAT_SECONDS = 10.0
CLIENT_FORM = "%s [%s] %s"
"""How librdkafka's lines come from its Python client: facility, client, text."""
EXPECTED = re.compile(
    r"GroupCoordinatorNotAvailable|^Marking the coordinator dead \(node"
    r"|Failed to acquire transactional PID .* Coordinator (load in progress|not available): retrying"
)
"""What clients say of a broker that makes or loads its books of offsets and transactions, as a new one does when it is
first asked. They ask again by themselves."""
EXPECTED_SECONDS = 30.0
"""So long what is expected is not shown. If it goes on, it is the broker's fault, and is."""
KEYS = 5000
"""Different lines remembered at a time; the oldest is forgotten first."""
MEASURES = ("_ms", "_s")
"""How names of measured times end: what differs only in them says the same."""

Key = tuple[str, int, str]
"""Logger, level, and what it says."""


class Seen(NamedTuple):
    """A line that was let through, and what of it was held back since."""

    at: float
    held: int = 0
    last: logging.LogRecord | None = None


class Collapse(logging.Filter):
    """Lets a repeated line through once in REPEAT_SECONDS, and says how often it was held back. If it does not come
    again, the last one held back is let through with the next line of any kind, so that no count is lost.

    Lines about different records differ in what they say, so each comes through; so does every debug line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds."""
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[Key, Seen] = {}
        """The oldest first."""
        self._expected: dict[Key, tuple[float, float]] = {}
        """When each line that is expected began to come, and when it came last."""

    @property
    def remembered(self) -> int:
        """Different lines remembered now."""
        return len(self._seen)

    def filter(self, record: logging.LogRecord) -> bool:
        if self._is_expected(record):
            return False
        if record.levelno < logging.INFO or getattr(record, "was_held", False):
            return True
        with self._lock:
            shown = self._judge(record)
            late = self._forget()
        for one in late:
            logging.getLogger(one.name).handle(one)
        return shown

    def _is_expected(self, record: logging.LogRecord) -> bool:
        """Whether a line is one of EXPECTED, and began to come less than EXPECTED_SECONDS ago."""
        if not record.name.startswith(("aiokafka", "kafka.client")) or not EXPECTED.search(record.getMessage()):
            return False
        key, now = _key(record), self._clock()
        with self._lock:
            self._expected = {k: times for k, times in self._expected.items() if now - times[1] < EXPECTED_SECONDS}
            began, _ = self._expected.get(key, (now, now))
            self._expected[key] = began, now
        return now - began < EXPECTED_SECONDS

    def _judge(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown now."""
        key, now = _key(record), self._clock()
        seen = self._seen.get(key)
        if seen is not None and now - seen.at < REPEAT_SECONDS:
            held = copy.copy(record)
            held.exc_info = None  # its frames would live on; the first one showed them
            self._seen[key] = Seen(seen.at, seen.held + 1, held)
            return False
        if seen is not None:
            del self._seen[key]
            _say_held(record, seen.held)
        self._seen[key] = Seen(now)
        return True

    def _forget(self) -> list[logging.LogRecord]:
        """Drops what is old or too much. Returns the last held back of each line dropped."""
        late = []
        while self._seen:
            key, seen = next(iter(self._seen.items()))
            if self._clock() - seen.at < REPEAT_SECONDS and len(self._seen) <= KEYS:
                break
            del self._seen[key]
            if seen.last is not None:
                _say_held(seen.last, seen.held - 1)
                vars(seen.last)["was_held"] = True
                late.append(seen.last)
        return late


def _key(record: logging.LogRecord) -> Key:
    """What makes two lines the same: the format string of a library (facility and client, where it is librdkafka), the
    fields of a line of ours without its times."""
    if record.msg == CLIENT_FORM and isinstance(record.args, tuple):
        return record.name, record.levelno, str(record.args[:2])
    if not isinstance(record.msg, dict):
        return record.name, record.levelno, str(record.msg)
    fields = {name: value for name, value in record.msg.items() if not name.endswith(MEASURES)}
    fields.pop("timestamp", None)
    return record.name, record.levelno, repr(sorted(fields.items()))


def _say_held(record: logging.LogRecord, held: int) -> None:
    if not held:
        return
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "held_back": held}
    else:
        record.msg = f"{record.msg} (and {held} more of these)"


def configure(
    verbose: bool = False, json_lines: bool | None = None, clock: Callable[[], float] = time.monotonic
) -> None:
    """Sets up structlog and the standard library's logging, both to stderr. `json_lines` default: not a terminal;
    clock: seconds, for what is repeated."""
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    level = logging.DEBUG if verbose else logging.INFO
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        stamp,
        structlog.processors.format_exc_info,
    ]
    end: structlog.typing.Processor
    if as_json:
        end = structlog.processors.JSONRenderer()
    else:
        end = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, end],
        )
    )
    handler.addFilter(Collapse(clock))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("waybill").setLevel(level)
