"""Owns a broker under fire: one real Kafka node that is stopped, killed, paused and started again, maybe with a fault
proxy before it. It always ends with its context."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Self

from chaos.proxy import HOST, Proxy
from waybill import broker as kafka


class Broker:
    """Use as a context manager: entered, it runs; left, its process and its proxy are gone.

    Ports and data stay over every restart. Each call waits with the deadlines of waybill.broker and raises BrokerError
    after them. home: the node's folder. proxied: put a proxy before a second listener. seed: of the proxy's jitter.
    """

    def __init__(self, home: Path, proxied: bool = False, seed: int = 0) -> None:
        port, behind, front = free_ports(3)
        self.bootstrap = f"{HOST}:{port}"
        """For tests and checkers: past the proxy."""
        self._proxy = Proxy(behind, front, seed) if proxied else None
        self._node = kafka.Broker(home, port, proxied=kafka.Proxied(behind, front) if proxied else None, brief=True)
        self._paused = False

    def __enter__(self) -> Self:
        try:
            if self._proxy is not None:
                self._proxy.start()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def proxy(self) -> Proxy:
        """The proxy: workers come through `proxy.bootstrap`."""
        assert self._proxy is not None, "this broker was made without a proxy"
        return self._proxy

    @property
    def log_file(self) -> Path:
        """What the node has said since it was last started."""
        return self._node.log_file

    def start(self) -> None:
        """Starts it, or starts it again; returns when it answers."""
        self._node.start()

    def stop(self) -> None:
        """A clean stop."""
        self.resume()
        self._node.stop()

    def kill(self) -> None:
        """kill -9. What it has acknowledged is in the system's page cache, and survives."""
        self._node.kill()
        self._paused = False

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT; without effect where it was not paused."""
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def close(self) -> None:
        """Ends process and proxy; idempotent."""
        try:
            self.kill()
        finally:
            if self._proxy is not None:
                self._proxy.close()

    def _signal(self, number: signal.Signals) -> None:
        pid = self._node.status().pid
        assert pid is not None, f"no broker runs in {self._node.home}"
        os.kill(pid, number)


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(kafka.free_port(besides=None))
    return list(ports)
