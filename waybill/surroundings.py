"""What `up` and `demo` need around the workers: a broker, topics, and partners to send to where none are real."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from waybill.context import BROKERS_VARIABLE, local_broker
from waybill.output import say

if TYPE_CHECKING:
    from topology.model import Pipeline

LOOK_SECONDS = 2.0
"""Between two looks at a broker that `up` has started."""
CLINIC_VARIABLE = "WAYBILL_CLINIC_URL"
"""Where the shipped HTTP partner is; see topology/partners.yaml."""

SHIPPED_CLINIC = "http://127.0.0.1:8081/batches"
"""Its default there."""
CONNECT_SECONDS = 1.0


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there now."""
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS):
            return True
    except OSError:
        return False


class Surroundings:
    """A context manager: what it started, it stops."""

    def __init__(self, brokers: str | None, partner_sim: bool) -> None:
        self._brokers, self._partner_sim = brokers or os.environ.get(BROKERS_VARIABLE), partner_sim
        self._broker: Any = None
        self._next_look = 0.0
        self.partner: Any = None
        self.bootstrap = ""

    def __enter__(self) -> Surroundings:
        self.bootstrap = self._brokers or self._local()
        if self._partner_sim:
            from waybill.partner_sim import Server

            self.partner = Server().__enter__()
            os.environ[CLINIC_VARIABLE] = self.partner.url
            say(f"partner simulator at {self.partner.url}")
        return self

    def _local(self) -> str:
        broker = local_broker()
        known = broker.status()
        if known.running and known.bootstrap:
            say(f"using the local broker at {known.bootstrap}; it stays when this ends")
            return known.bootstrap
        say("starting Apache Kafka")
        bootstrap = broker.start()
        self._broker = broker
        say(f"broker at {bootstrap}, data in {broker.home}")
        return bootstrap

    def tend(self) -> None:
        """Starts the broker again if it was ours and is gone; its ports and data are the old ones."""
        now = time.monotonic()
        if self._broker is None or now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if not self._broker.status().running:
            say("the broker is gone; starting it again")
            self._broker.start()
            say(f"broker at {self.bootstrap}")

    def create_topics(self, pipelines: Sequence[Pipeline]) -> None:
        """Makes the topics that are missing; existing ones are left as they are."""
        from streams.runtime.admin import create_topics
        from topology.topics import topic_specs

        specs = {spec.name: spec for pipeline in pipelines for spec in topic_specs(pipeline)}
        create_topics(self.bootstrap, list(specs.values()))

    def say_partners(self, pipelines: Sequence[Pipeline]) -> None:
        """Where batches will go, and which of the HTTP partners nobody listens at now."""
        from urllib.parse import urlsplit

        from topology.describe import place_of
        from topology.partner import HttpPartner

        partners = {name: partner for pipeline in pipelines for name, partner in pipeline.partners.items()}
        for name, partner in sorted(partners.items()):
            if not isinstance(partner, HttpPartner):
                say(f"batches for {name} go to {place_of(partner)}")
                continue
            if self.partner is not None and partner.url == self.partner.url:
                say(f"batches for {name} go to the partner simulator")
                continue
            url = urlsplit(partner.url)
            more = "/…" if url.path.strip("/") or url.query else ""  # may hold a secret
            port = url.port or (443 if url.scheme == "https" else 80)
            word = "" if listens(url.hostname or "", port) else ", where nobody listens now"
            hint = " (--partner-sim stands in for it)" if word and partner.url == SHIPPED_CLINIC else ""
            say(f"batches for {name} go to {url.scheme}://{url.hostname}:{port}{more}{word}{hint}")

    def say_what_is_left(self, pipeline: Pipeline) -> None:
        """After a stop: what is still in flight, so that nobody has to guess."""
        from waybill.commands.reconcile import tally

        result = tally(self.bootstrap, pipeline)
        say(f"{pipeline.pipeline}: {result}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.partner is not None:
            self.partner.__exit__(kind, error, trace)
        if self._broker is not None:
            self._broker.stop()
            say("broker stopped; its data stays")
