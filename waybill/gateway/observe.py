"""What the gateway counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from waybill.raw_producer import Receipt


class Metrics:
    """One registry for each gateway."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "waybill_gateway_requests", "requests by answer", ["pipeline", "status"], registry=self.registry
        )
        self._submissions = Counter(
            "waybill_gateway_submissions", "submissions by result", ["pipeline", "result"], registry=self.registry
        )
        self._bytes = Counter("waybill_gateway_bytes", "bytes of submissions", ["pipeline"], registry=self.registry)
        self._seconds = Histogram(
            "waybill_gateway_request_seconds", "from the first header to the answer", ["pipeline"],
            registry=self.registry,
        )  # fmt: skip
        self._backlog = Gauge(
            "waybill_gateway_backlog", "submissions that validate has not read; NaN: not known", ["pipeline"],
            registry=self.registry,
        )  # fmt: skip
        self.open_bytes = Gauge("waybill_gateway_open_bytes", "bytes of open submissions", registry=self.registry)

    @contextmanager
    def request(self, pipeline: str) -> Iterator[Callable[[int], None]]:
        """Measures one request; gives what to call with its status. `pipeline` is empty for whatever is none of ours,
        so that nobody can make labels."""
        begun = time.monotonic()
        yield lambda status: self._requests.labels(pipeline, str(status)).inc()
        self._seconds.labels(pipeline).observe(time.monotonic() - begun)

    def taken(self, pipeline: str, receipts: Sequence[Receipt], size: int) -> None:
        """What the broker said of some submissions of so many bytes."""
        failed = sum(receipt.error is not None for receipt in receipts)
        self._submissions.labels(pipeline, "acknowledged").inc(len(receipts) - failed)
        self._submissions.labels(pipeline, "unknown").inc(failed)
        self._bytes.labels(pipeline).inc(size)

    def backlog(self, pipeline: str, waiting: int | None) -> None:
        """How many wait."""
        self._backlog.labels(pipeline).set(float("nan") if waiting is None else waiting)

    def page(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
