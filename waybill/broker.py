"""The local broker: one real Apache Kafka (KRaft, one node) in a folder of its own, started and stopped cleanly.

It never leaves 127.0.0.1 and never touches a cluster it did not start. Everything about it lies in its home folder, so
that any shell can ask for it or stop it:

    broker.json        pid and ports of the last start
    broker.lock        locked by the Kafka process itself for as long as it lives
    broker.log         what Kafka says
    server.properties  written anew at each start
    data/              Kafka's logs; kept over restarts

"Is it running?" is asked of the lock, not of the pid: the Kafka process inherits the locked file, so the lock ends with
it however it dies, and a pid that was given to another program is never mistaken for a broker.
"""

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from waybill.class_archive import class_archive
from waybill.kafka_jars import BrokerError, BrokerUnavailable, find_java, kafka_libs

__all__ = ["Broker", "BrokerError", "BrokerStatus", "BrokerUnavailable", "Proxied", "free_port"]

HOST: Final = "127.0.0.1"
MIB: Final = 1024 * 1024
MESSAGE_BYTES: Final = 33 * MIB  # a 32 MiB message, its headers and the batch around them
PORTS: Final = range(20_000, 32_000)  # below the range clients get theirs from: none can sit on ours after a kill
# A start takes 3 s; one after a kill, on a disk that hung for 6 s at a time, took 60. A node that ends is seen at once.
START_SECONDS: Final = 180
STOP_SECONDS: Final = 60  # Kafka flushes its logs and closes; a disk that hangs is reported
BRIEF: Final = "-XX:TieredStopAtLevel=1"
SOON: Final = "-XX:CompileThresholdScaling=0.1"
"""Code is compiled when it is met the tenth part as often as by default: with one quick compiler that pays off within
the first hundred transactions, and costs half a second at the start."""
JVM: Final = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=256m", "-Djava.awt.headless=true")
LOG_SETTINGS: Final = """\
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS} %p %c{1} %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.groups.name = org.apache.kafka.coordinator
logger.groups.level = INFO
"""


@dataclass(frozen=True)
class BrokerStatus:
    """What is known of the broker of a home folder; pid and bootstrap are None where none runs."""

    running: bool
    pid: int | None
    bootstrap: str | None
    home: Path


@dataclass(frozen=True)
class _Started:
    """broker.json: the last start. Ports are kept so that a restart is found where clients look for it."""

    pid: int | None
    port: int
    controller_port: int


_children: dict[int, subprocess.Popen[bytes]] = {}  # started by this process: to be reaped by whoever stops them


@dataclass(frozen=True)
class Proxied:
    """A second listener, for clients that come through a proxy on this machine."""

    port: int
    """Where Kafka listens for the proxy."""
    advertised: int
    """Where the proxy listens: the port these clients are told to come back to."""


def settings(home: Path, port: int, controller_port: int, proxied: Proxied | None = None) -> dict[str, str | int]:
    """Kafka's settings for one node: a small machine, one replica of everything, the rest as a cluster has it."""
    second = f",PROXIED://{HOST}:{proxied.port}" if proxied else ""
    second_advertised = f",PROXIED://{HOST}:{proxied.advertised}" if proxied else ""
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}{second}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}{second_advertised}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(home / "data"),
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "min.insync.replicas": 1,
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "offsets.retention.minutes": 525_600,  # a laptop is left alone for weeks; its offsets must still be there
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        # an open transaction of a dead worker holds everyone up until this scan finds it (rule TX1)
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        # after a kill the node must wait for its own old session to end before it is let in again (default 9 s)
        "broker.session.timeout.ms": 5000,
        "broker.heartbeat.interval.ms": 1000,
        # by default a record of nothing, flushed to the disk, twice a second: a fifth of what an idle node costs
        "metadata.max.idle.interval.ms": 0,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "message.max.bytes": MESSAGE_BYTES,
        "replica.fetch.max.bytes": MESSAGE_BYTES,
        "socket.request.max.bytes": 128 * MIB,
        "log.cleaner.threads": 1,
        "log.cleaner.dedupe.buffer.size": 4 * MIB,
        "log.cleaner.backoff.ms": 1000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
    }


class Broker:
    """The broker of one home folder. Any number of these objects, in any process, may speak of the same broker.

    home: its folder, made when it starts. port: on 127.0.0.1; None takes the port of the last start, or a free one.
    say: gets one line when something slow is done (jars are fetched); stderr unless given. proxied: a second listener,
    for tests that put a proxy between a client and Kafka. brief: for a broker that is started often and has little to
    do; its code is compiled once, quickly, which takes a third of the processor time of the first minutes, and its
    classes come from an archive, which halves what a start takes.
    """

    def __init__(
        self,
        home: Path,
        port: int | None = None,
        say: Callable[[str], None] | None = None,
        proxied: Proxied | None = None,
        brief: bool = False,
    ) -> None:
        self.home = home.absolute()
        self.port = port
        self.proxied = proxied
        self.brief = brief
        self._say = say or _to_stderr

    @property
    def log_file(self) -> Path:
        """Where Kafka's own messages go; those of the start before lie beside it, in `broker.log.1`."""
        return self.home / "broker.log"

    def start(self) -> str:
        """Start Kafka and wait until it answers; the bootstrap address.

        Raises BrokerUnavailable (no Java, no Maven), BrokerError (already running, port taken, Kafka gave up: with the
        end of its log).
        """
        if "," in str(self.home):
            raise BrokerError(f"Kafka cannot keep its data in a folder with a comma in its name: {self.home}")
        java = find_java()
        libs = kafka_libs(self._say)

        def run_once(home: Path, option: str) -> None:
            other = Broker(home, say=self._say)
            try:
                other._start(other._java(java, libs, BRIEF), option)
                other.stop()
            finally:
                other.kill()  # nothing stays behind of one that did not stop

        options = [BRIEF, SOON, *class_archive(java, libs, run_once, self._say)] if self.brief else []
        return self._start(self._java(java, libs, *options))

    def _java(self, java: str, libs: Path, *options: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.home / 'log4j2.properties'}"
        return [java, *JVM, *options, logging, "-cp", f"{libs}{os.sep}*"]

    def _start(self, java: list[str], *broker_only: str) -> str:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "broker.lock").open("w") as lock:
            if not _try_lock(lock, fcntl.LOCK_EX, seconds=1.0):
                raise BrokerError(self._running_message())
            started = self._choose_ports()
            self._write_state(started)  # no pid yet: nobody may signal the one of the last start
            self._write_settings(started)
            self._format(java)
            if self.log_file.exists():  # what it said before it died may be what somebody is looking for
                self.log_file.replace(self.log_file.with_suffix(".log.1"))
            with self.log_file.open("wb") as log:
                process = subprocess.Popen(
                    [*java, *broker_only, "kafka.Kafka", str(self.home / "server.properties")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.home,
                    start_new_session=True,  # Ctrl-C in the terminal is for us; we stop Kafka when we have drained
                    pass_fds=(lock.fileno(),),  # Kafka holds the lock from here on
                )
        _children[process.pid] = process
        self._write_state(_Started(process.pid, started.port, started.controller_port))
        bootstrap = f"{HOST}:{started.port}"
        try:
            self._wait_ready(process, bootstrap)
        except BaseException:  # Ctrl-C too: a start that did not succeed leaves nothing running
            self.kill()
            raise
        return bootstrap

    def status(self) -> BrokerStatus:
        """Whether it runs, and where. A broker that is starting counts as running."""
        started = self._read_state()
        if not self._locked() or started is None:
            return BrokerStatus(False, None, None, self.home)
        return BrokerStatus(True, started.pid, f"{HOST}:{started.port}", self.home)

    def stop(self) -> bool:
        """Stop Kafka cleanly and wait until it is gone; False where none ran. Raises BrokerError if it does not end."""
        return self._end(signal.SIGTERM)

    def kill(self) -> bool:
        """Kill Kafka as a power cut would (SIGKILL) and wait until it is gone; False where none ran. For tests."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> bool:
        status = self.status()
        if not status.running:
            return False
        if status.pid is None:
            raise BrokerError(f"a broker is being started in {self.home} right now: try again in a moment")
        with contextlib.suppress(ProcessLookupError):  # it may end by itself between the two lines
            os.kill(status.pid, number)
        with (self.home / "broker.lock").open("w") as lock:
            if not _try_lock(lock, fcntl.LOCK_EX, seconds=STOP_SECONDS):
                raise BrokerError(
                    f"the broker (pid {status.pid}) did not stop within {STOP_SECONDS} s: see {self.log_file}"
                )
        _reap(status.pid)
        return True

    def _locked(self) -> bool:
        path = self.home / "broker.lock"
        if not path.exists():
            return False
        with path.open("r") as lock:
            return not _try_lock(lock, fcntl.LOCK_SH, seconds=0.0)

    def _running_message(self) -> str:
        status = self.status()
        where = f" at {status.bootstrap} (pid {status.pid})" if status.running else ""
        return f"a broker is already running in {self.home}{where}: use it, or stop it with `waybill broker stop`"

    def _choose_ports(self) -> _Started:
        last = self._read_state()
        if self.port is not None:
            if not _is_free(self.port):
                raise BrokerError(f"port {self.port} on {HOST} is taken: stop what listens there, or choose another")
            port = self.port
        else:
            port = last.port if last and _is_free(last.port) else free_port(besides=None)
        controller = last.controller_port if last else port
        if controller == port or not _is_free(controller):
            controller = free_port(besides=port)
        return _Started(None, port, controller)

    def _write_settings(self, started: _Started) -> None:
        chosen = settings(self.home, started.port, started.controller_port, self.proxied)
        lines = [f"{name}={value}\n" for name, value in chosen.items()]
        (self.home / "server.properties").write_text("".join(lines), encoding="utf-8")
        (self.home / "log4j2.properties").write_text(LOG_SETTINGS, encoding="utf-8")

    def _format(self, java: list[str]) -> None:
        """Kafka wants its data folder formatted once, with a cluster id of its own."""
        if (self.home / "data" / "meta.properties").exists():
            return
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = [
            "format",
            f"--cluster-id={cluster_id}",
            "-c",
            str(self.home / "server.properties"),
            "--ignore-formatted",
        ]
        done = subprocess.run(
            [*java, BRIEF, "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
        if done.returncode != 0:
            raise BrokerError(
                f"Kafka could not format {self.home / 'data'}; it said:\n{done.stdout}{done.stderr}".rstrip()
            )

    def _wait_ready(self, process: subprocess.Popen[bytes], bootstrap: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                _reap(process.pid)
                raise BrokerError(f"Kafka gave up at its start (exit {process.returncode}); {self._log_tail()}")
            if _answers(bootstrap):
                return
            time.sleep(0.05)
        raise BrokerError(f"Kafka did not answer at {bootstrap} within {START_SECONDS} s; {self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        return f"the end of {self.log_file}:\n" + "\n".join(lines)

    def _read_state(self) -> _Started | None:
        try:
            return _Started(**json.loads((self.home / "broker.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as broken:
            raise BrokerError(f"{self.home / 'broker.json'} is not readable ({broken}): delete it") from broken

    def _write_state(self, started: _Started) -> None:
        scratch = self.home / "broker.json.new"
        scratch.write_text(json.dumps(asdict(started)), encoding="utf-8")
        scratch.replace(self.home / "broker.json")


def _reap(pid: int) -> None:
    child = _children.pop(pid, None)
    if child is not None:
        child.wait()


def _try_lock(file: IO[str], kind: int, seconds: float) -> bool:
    """Take the lock within so many seconds. The wait covers another shell asking for the status at this very moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Kafka does: closing connections do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(besides: int | None) -> int:
    """A port that is free now and that the system gives to no client later. Raises BrokerError where there is none."""
    for port in random.sample(PORTS, k=200):
        if port != besides and _is_free(port):
            return port
    raise BrokerError(f"no free port between {PORTS.start} and {PORTS.stop} on {HOST}")


def _answers(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    try:
        # log_level 0: a broker still starting may reset the connection; that is no news for the terminal
        brokers = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2).brokers
    except KafkaException:
        return False
    return len(brokers) == 1


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
