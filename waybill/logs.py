"""Logging of long-running commands: JSON for collectors, readable lines on a terminal (OBS-01).

Libraries log through the same pipe. A client that repeats one line (aiokafka does so 11,000 times in 20 s without a
broker) is cut short: the same words from the same logger come once in ten seconds, with a count.
"""

from __future__ import annotations

import logging
import sys
import time

import structlog

REPEAT_SECONDS = 10.0


class Collapse(logging.Filter):
    """Lets a repeated warning through once in REPEAT_SECONDS, and says how often it was held back."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("aiokafka") and "GroupCoordinatorNotAvailable" in record.getMessage():
            return False  # a new broker is still making its offsets topic; it is asked again
        key = record.name, str(record.msg)
        last, held = self._seen.get(key, (0.0, 0))
        now = time.monotonic()
        if now - last < REPEAT_SECONDS:
            self._seen[key] = (last, held + 1)
            return False
        if held:
            record.msg = f"{record.msg} (and {held} more of these)"
        self._seen[key] = (now, 0)
        return True


def configure(verbose: bool = False, json_lines: bool | None = None) -> None:
    """Sets up structlog and the standard library's logging, both to stderr. `json_lines` default: not a terminal."""
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
    handler.addFilter(Collapse())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("waybill").setLevel(level)
