"""The local broker starts once, stops cleanly, keeps its data, and says in one line what is wrong."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support import make_topic, wait_for
from waybill.broker import Broker, BrokerError, BrokerUnavailable
from waybill.kafka_jars import find_java


def values(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first so many values of a one-partition topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = consumer.consume(count, timeout=20)
        assert all(message.error() is None for message in messages)
        return [message.value() for message in messages]
    finally:
        consumer.close()


@pytest.mark.kafka
def test_a_stop_is_clean_and_a_restart_keeps_address_and_data(broker: Broker) -> None:
    assert not broker.status().running
    assert not broker.stop()  # nothing ran: said by the answer, not by an error

    bootstrap = broker.start()
    status = Broker(broker.home).status()  # another object, as another shell would
    assert (status.running, status.bootstrap) == (True, bootstrap)
    make_topic(bootstrap, "kept")
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    big = os.urandom(32 * 1024 * 1024)  # the largest message `raw` allows
    large = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 33 * 1024 * 1024, "acks": "all"})
    producer.produce("kept", b"first")
    assert producer.flush(20) == 0
    large.produce("kept", big)
    assert large.flush(30) == 0

    assert Broker(broker.home).stop()
    assert not broker.status().running
    assert (broker.home / "data" / ".kafka_cleanshutdown").exists()  # Kafka's own word for a clean stop

    assert broker.start() == bootstrap
    assert values(bootstrap, "kept", 2) == [b"first", big]

    assert broker.kill()  # a power cut: not clean, and an acknowledged record is still there after it
    assert not broker.status().running
    assert not (broker.home / "data" / ".kafka_cleanshutdown").exists()
    assert broker.start() == bootstrap
    assert values(bootstrap, "kept", 2) == [b"first", big]


@pytest.mark.kafka
def test_a_second_start_is_refused_in_one_line_and_leaves_the_first_alone(kafka_broker: Broker) -> None:
    broker, bootstrap, pid = kafka_broker, kafka_broker.status().bootstrap, kafka_broker.status().pid
    assert bootstrap is not None
    script = "import sys, pathlib; from waybill.broker import Broker; Broker(pathlib.Path(sys.argv[1])).start()"
    for second in (Broker(broker.home), Broker(broker.home, port=1)):
        with pytest.raises(BrokerError, match="already running") as refused:
            second.start()
        assert bootstrap in str(refused.value)
        assert "\n" not in str(refused.value)
    other = subprocess.run(
        [sys.executable, "-c", script, str(broker.home)], capture_output=True, text=True, check=False
    )
    assert "already running" in other.stderr
    assert (broker.status().pid, broker.status().running) == (pid, True)
    AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10)


@pytest.mark.kafka
def test_it_listens_on_this_machine_alone(kafka_broker: Broker) -> None:
    process = Path(f"/proc/{kafka_broker.status().pid}")
    tables = [process / "net" / name for name in ("tcp", "tcp6")]
    if not tables[0].exists():
        pytest.skip("needs Linux's /proc to see who listens")
    inodes = set()
    for link in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # a file that the broker has closed meanwhile
            inodes.add(os.readlink(link))
    rows = [row.split() for table in tables for row in table.read_text().splitlines()[1:]]
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert listening


@pytest.mark.kafka
def test_a_pid_file_left_by_a_dead_broker_is_no_broker(broker: Broker) -> None:
    """The pid may belong to somebody else by now: it must neither block a start nor be signalled."""
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        broker.home.mkdir(parents=True)
        (broker.home / "broker.lock").touch()
        stale = {"pid": stranger.pid, "port": 20_001, "controller_port": 20_002}
        (broker.home / "broker.json").write_text(json.dumps(stale))
        assert not broker.status().running
        assert not broker.stop()
        assert not broker.kill()
        assert stranger.poll() is None
        broker.start()
        assert broker.status().pid != stranger.pid
    finally:
        stranger.communicate(b"\n", timeout=20)
    assert stranger.returncode == 0  # it ended by itself


def test_a_taken_port_is_one_clear_line(broker: Broker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError) as refused:
            Broker(broker.home, port=port).start()
    assert str(refused.value) == f"port {port} on 127.0.0.1 is taken: stop what listens there, or choose another"
    assert not broker.status().running


@pytest.mark.kafka
def test_a_kafka_that_gives_up_shows_the_end_of_its_log(broker: Broker) -> None:
    (broker.home / "data").mkdir(parents=True)
    (broker.home / "data" / "meta.properties").write_text("version=1\ncluster.id=another\nnode.id=77\n")
    with pytest.raises(BrokerError, match="gave up at its start") as refused:
        broker.start()
    assert "77" in str(refused.value)  # Kafka's own complaint names the wrong node
    wait_for(lambda: not broker.status().running, 10, "a failed start leaves nothing running")


def test_without_java_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BrokerUnavailable) as absent:
        Broker(tmp_path / "broker").start()
    assert "Java" in str(absent.value)
    assert "install" in str(absent.value)
    assert "\n" not in str(absent.value)


def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(BrokerUnavailable, match=r"needs Java 17.* is 8"):
        find_java()
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    assert find_java() == str(java)
