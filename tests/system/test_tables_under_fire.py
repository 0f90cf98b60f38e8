"""T1 and T2: tables and topics damaged, cut, made anew or moved under a real deployment. A worker stops loudly, naming
what is wrong, or rebuilds; it never goes on with a part, and after a repair every law holds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import orjson
import pytest

from streams.runtime.rocks_versions import RocksVersions
from streams.runtime.worker import EXIT_FATAL, EXIT_GAP
from tests.support import Names, freeze, wait_for
from tests.system.judge import CODEC, STAGES, Entry, Judge, judge
from tests.system.meddling import add_partition, configure, cut, forget_offsets, recreate, set_offsets, write
from tests.system.plant import DRAIN_SECONDS, READY_SECONDS, Plant, Worker

pytestmark = pytest.mark.kafka

EXIT_USAGE = 2
OUTPUTS = ("validated", "batched", "sent", "dead-letter", "audit")
ANOTHER_TABLES = bytes.fromhex((Path(__file__).parents[1] / "schemas" / "recorded" / "control.hex").read_text())


def reading(number: int, celsius: float = 4.0) -> tuple[str, bytes]:
    """A good record with an idempotency key of its own."""
    sensor, minute = f"FRIDGE-{number % 8}", f"{number // 60:02}:{number % 60:02}"
    message = {"sensor_id": sensor, "timestamp_utc": f"2026-03-02T{minute}:00Z", "product": "refrigerator"}
    return sensor, orjson.dumps(message | {"temperature_c": celsius})


def readings(first: int, last: int) -> list[tuple[str, bytes]]:
    return [reading(number) for number in range(first, last)]


def run(plant: Plant, stages: str) -> None:
    """A bounded run of some stages."""
    worker = plant.worker(options=["--stages", stages, "--until-end"])
    assert worker.wait(DRAIN_SECONDS) == 0, worker.tail()


def ended(worker: Worker, *words: str, code: int = EXIT_GAP) -> None:
    """It ends with this code, in so many words, and with no traceback."""
    assert worker.wait(READY_SECONDS) == code, worker.tail()
    said = worker.log.read_text("utf-8", "replace")
    assert "Traceback" not in said, said[-4000:]
    for word in words:
        assert word in said, f"{word!r} is not in:\n{said[-4000:]}"


def refused(plant: Plant, stage: str, *words: str, code: int = EXIT_GAP) -> None:
    """A worker with this stage ends like that, and commits nothing."""
    before = {short: Judge(plant).ends(short) for short in OUTPUTS}
    ended(plant.worker(options=["--stages", stage]), *words, code=code)
    assert {short: Judge(plant).ends(short) for short in OUTPUTS} == before


def partition_of(plant: Plant, short: str, partition: int) -> str:
    """A partition as messages name it."""
    return f"{plant.pipeline.topic(short)}[{partition}]"


def live_row(plant: Plant, short: str, prefix: str = "") -> tuple[int, bytes, bytes]:
    """Some row of a table: partition, key, value."""
    rows: dict[tuple[int, bytes | None], Entry] = {(e.partition, e.key): e for e in Judge(plant).messages(short)}
    found = next(e for e in rows.values() if e.value is not None and (e.key or b"").startswith(prefix.encode()))
    return found.partition, found.key or b"", found.value or b""


# ---- T1: tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_t1_a_row_that_cannot_be_read_ends_the_worker_until_it_is_repaired(
    kafka: str, tmp_path: Path, names: Names, store: str
) -> None:
    with Plant(kafka, tmp_path, names.prefix, store=store) as plant:
        plant.publish(readings(0, 80))
        plant.finish()

        partition, key, row = live_row(plant, "heads", "validate")
        write(plant, "heads", partition, key, b"\0garbage" * 9)
        refused(plant, "validate", partition_of(plant, "heads", partition), "cannot be read", "write it again")
        write(plant, "heads", partition, key, row)

        partition, key, row = live_row(plant, "delivery")
        write(plant, "delivery", partition, key, ANOTHER_TABLES)
        refused(plant, "dispatch", partition_of(plant, "delivery", partition), key.hex(), "a control message")
        write(plant, "delivery", partition, key, row)

        write(plant, "windows", 0, b"no window", b"")
        refused(plant, "batch", partition_of(plant, "windows", 0), "cannot be read")
        write(plant, "windows", 0, b"no window", None)

        partition, key, row = live_row(plant, "idempotency")
        version = CODEC.decode(row)[1]
        original = plant.published[version["raw_partition"], version["raw_offset"]]
        plant.publish([(orjson.loads(original or b"")["sensor_id"], original)])
        run(plant, "validate")  # the duplicate: rows of this table are read when their key is asked for
        write(plant, "idempotency", partition, key, row[: len(row) // 2])
        refused(plant, "batch", partition_of(plant, "idempotency", partition), "cannot be read")
        write(plant, "idempotency", partition, key, row)

        plant.finish()
        assert judge(plant).outcomes() == {"delivered": 80, "duplicate": 1}


def test_t1_a_store_that_missed_tombstones_compacted_away_is_rebuilt(kafka: str, tmp_path: Path, names: Names) -> None:
    """Else a key that was released while its worker was away would stay taken for ever."""
    with Plant(kafka, tmp_path, names.prefix, store="rocksdb") as plant:
        (refused_at,) = plant.publish([reading(0)])
        run(plant, "validate,batch")
        partition, key, _ = live_row(plant, "idempotency")
        plant.partner.faults.append("status:400")
        other = plant.worker(slot=1).wait_ready()
        wait_for(lambda: not Judge(plant).table("idempotency"), DRAIN_SECONDS, "its version is released")
        clean = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "100"}
        configure(plant, "idempotency", {**clean, "delete.retention.ms": "0"})
        number = 8

        def tombstone_gone() -> bool:
            nonlocal number
            plant.publish([reading(number)])  # the open segment is never compacted
            number += 8
            Judge(plant).wait_until_batched_through()
            return all(e.value is not None for e in Judge(plant).messages("idempotency") if e.partition == partition)

        wait_for(tombstone_gone, DRAIN_SECONDS, "the tombstone is compacted away")
        configure(plant, "idempotency", {"segment.ms": "604800000", "delete.retention.ms": "86400000"})
        assert other.stop() == 0
        aged(plant, partition, key, 2 * 86_400)
        (corrected,) = plant.publish([reading(0, celsius=5.0)])
        plant.finish()
        answers = judge(plant).answers()
        assert answers[(*refused_at, 0)] == ["dead in dispatch"]
        assert answers[(*corrected, 0)] == ["delivered"]


def aged(plant: Plant, partition: int, key: bytes, seconds: float) -> None:
    """Makes slot 0's store older: it has not been brought up to date for so much longer."""
    (folder,) = (plant.folder / "home" / "stores").rglob(f"0/idempotency-{partition}")
    store = RocksVersions(folder)
    assert store.origin is not None
    assert key in dict(store.items()), "it never had the row"
    store.arrived(store.origin._replace(caught_up_at=time.time() - seconds), store.position)
    store.close()


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_t1_a_table_that_was_cut_or_made_anew_ends_the_worker(
    kafka: str, tmp_path: Path, names: Names, store: str
) -> None:
    """One after the other on one deployment: what is left of each table is a part, or nothing."""
    with Plant(kafka, tmp_path, names.prefix, store=store) as plant:
        plant.publish(readings(0, 80))
        plant.finish()
        plant.publish(readings(0, 80))  # a table that knew only a part would let some of these pass
        run(plant, "validate")
        for table, stage in (("delivery", "dispatch"), ("idempotency", "batch"), ("windows", "batch")):
            cut(plant, table, {0: Judge(plant).ends(table)[0] - 1})
            refused(plant, stage, partition_of(plant, table, 0), "were deleted")
            recreate(plant, table)
            refused(plant, stage, plant.pipeline.topic(table), "deleted and created again")
        cut(plant, "heads", Judge(plant).ends("heads"))
        refused(plant, "validate", partition_of(plant, "heads", 0), "were deleted")
        recreate(plant, "heads")
        refused(plant, "validate", "there is no head")


# ---- T2: topics ------------------------------------------------------------------------------------


def test_t2_input_that_was_cut_or_made_anew_ends_the_worker(kafka: str, tmp_path: Path, names: Names) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        plant.publish(readings(0, 80))
        plant.finish()
        for number, (stage, before) in enumerate(
            [("dispatch", "validate,batch"), ("batch", "validate"), ("validate", "")], start=1
        ):
            plant.publish(readings(80 * number, 80 * number + 80))
            if before:
                run(plant, before)
            cut(plant, STAGES[stage], Judge(plant).ends(STAGES[stage]))
            refused(plant, stage, f"{stage} partition 0 of {STAGES[stage]}", "retention has passed it")
            recreate(plant, STAGES[stage])
            refused(plant, stage, f"{stage} partition 0 of {STAGES[stage]}", "deleted and created again")


def test_t2_a_frozen_batch_that_is_gone_before_it_was_settled_ends_the_worker(
    kafka: str, tmp_path: Path, names: Names
) -> None:
    """Its offset is committed, so only the table knows that it is still needed."""
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = plant.worker().wait_ready()
        plant.partner.faults.extend(["hang"] * 4)
        plant.publish(readings(0, 1))
        wait_for(lambda: plant.partner.attempts, DRAIN_SECONDS, "the partner has the batch in hand")
        worker.kill()
        cut(plant, "batched", Judge(plant).committed("dispatch"))
        refused(plant, "dispatch", "unsettled batch", f"{plant.pipeline.topic('batched')}/", "cannot be read")


def test_t2_input_cut_before_a_running_worker_ends_it(kafka: str, tmp_path: Path, names: Names) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = plant.worker().wait_ready()
        plant.publish(readings(0, 40))
        wait_for(lambda: Judge(plant).answers(), DRAIN_SECONDS, "it works")
        freeze(worker.process.pid)
        plant.publish(readings(40, 60))  # answers the fetch that the broker may still hold for it
        plant.publish(readings(60, 80))
        cut(plant, "raw", Judge(plant).ends("raw"))
        os.kill(worker.process.pid, signal.SIGCONT)
        plant.publish(readings(80, 120))
        ended(worker, "retention has passed it")  # found when it reads on, or after it has lost its place in the group


@pytest.mark.parametrize("short", ["raw", "validated", "batched", "idempotency", "delivery"])
def test_t2_a_topic_made_anew_under_a_running_worker_ends_it(
    kafka: str, tmp_path: Path, names: Names, short: str
) -> None:
    """More lies in the new raw topic than was read of the old one: going on at the old offset would skip records."""
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = plant.worker().wait_ready()
        plant.publish(readings(0, 20))
        wait_for(lambda: Judge(plant).answers(), DRAIN_SECONDS, "it works")
        recreate(plant, short)
        if short in ("raw", "idempotency"):
            plant.publish(readings(20, 200))
        code = worker.wait(READY_SECONDS)
        assert code in (EXIT_GAP, EXIT_FATAL), worker.tail()
        ended(worker, plant.pipeline.topic(short), code=code)
        ended(plant.worker(), "deleted and created again")


def test_t2_partitions_added_end_a_running_worker_and_refuse_a_start(kafka: str, tmp_path: Path, names: Names) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        plant.publish(readings(0, 80))
        worker = plant.worker().wait_ready()
        add_partition(plant, "raw")
        ended(worker, f"{plant.pipeline.raw_topic} has 3", "needs 2 partitions", code=EXIT_FATAL)
        for short in ("raw", "validated", "idempotency"):
            if short != "raw":
                add_partition(plant, short)
            words = f"{plant.pipeline.topic(short)}: partitions is 3, must be 2"
            ended(plant.worker(), words, code=EXIT_USAGE)


def test_t2_a_group_whose_offsets_were_moved_ends_the_worker_until_they_are_put_back(
    kafka: str, tmp_path: Path, names: Names
) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        plant.publish(readings(0, 80))
        plant.finish()
        for stage, topic in STAGES.items():
            right = Judge(plant).committed(stage)
            earlier, later = {p: at - 1 for p, at in right.items()}, {p: at + 1 for p, at in right.items()}
            if stage == "batch":
                earlier = dict.fromkeys(right, 0)  # every record that was delivered, once more
            for offsets in (earlier, later):
                set_offsets(plant, stage, offsets)
                said = f"{stage} partition 0 of {topic}: offset {offsets[0]} is committed"
                refused(plant, stage, said, f"{right[0]}")
            forget_offsets(plant, stage)
            refused(plant, stage, f"{stage} partition 0 of {topic}", "no committed offset", f"{right[0]}")
            set_offsets(plant, stage, right)
        plant.publish(readings(80, 160))
        plant.finish()
        assert judge(plant).outcomes() == {"delivered": 160}
