"""A pipeline on the real broker, worked stage by stage at the test's word with the real stages and no worker, so that
a command can be asked at every point of a record's life."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.codec import SingleObjectCodec
from schemas.packs import load_pack
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.pipeline import Parts
from streams.progress import Identity
from streams.runtime.admin import Cluster, create_topics
from streams.stage import Chunk, Message, Output, Work
from streams.tables import table_rows
from topology.load import load_pipeline
from topology.topics import topic_specs
from waybill.context import client_settings
from waybill.reader import Reader

DELIVERED = Outcome(OutcomeKind.DELIVERED, "201 created")

PIPELINE = """\
pipeline: demo
application: {prefix}
raw: {{topic: {prefix}.raw, max_message_bytes: 4096}}
pack: cold_chain
partitions: 2
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
group_by: [product]
partner: lake
retry: {{attempts: 1}}
"""


class Bench:
    """One pipeline, its file, its topics."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, text: str = PIPELINE) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "partners.yaml").write_text("lake: {kind: object-store, url: 'file:lake'}\n")
        (folder / "demo.yaml").write_text(text.format(prefix=prefix))
        self.pipeline = load_pipeline("demo", folder=folder)
        self.bootstrap = bootstrap
        self.codec = SingleObjectCodec()
        create_topics(bootstrap, topic_specs(self.pipeline))
        self._admin: Any = AdminClient(client_settings(bootstrap))
        self._producer: Any = Producer(client_settings(bootstrap))
        pack = load_pack(self.pipeline.pack, self.pipeline.options, self.pipeline.profile)
        self._stores: dict[int, dict[str, Any]] = {}
        self._parts = Parts(self.pipeline, self.codec, pack, Identity("w", "test", "1"), random=Random(1))

    def write(self, output: Output) -> None:
        """One message on a topic by its short name."""
        self._producer.produce(
            self.pipeline.topic(output.topic), output.value, output.key, output.partition, headers=list(output.headers)
        )
        self._producer.flush(30)

    def messages(self, short: str) -> list[Message]:
        """Everything on a topic."""
        with Reader(self.bootstrap) as reader:
            return list(reader.all(self.pipeline.topic(short)))

    def validate(self) -> None:
        """Works everything on `raw`."""
        self._work(self._parts.validate())

    def batch(self, ending: bool = True, fails: str | None = None) -> None:
        """Works everything on `validated`; `ending` seals what is open; `fails`: what every message raises."""
        self._work(self._parts.batch(), ending=ending, fails=fails)

    def dispatch(self, outcome: Outcome | None = DELIVERED, fails: str | None = None) -> None:
        """Works everything on `batched`; every attempt ends like this; None: attempts begin and nothing comes back;
        `fails`: what every message raises."""
        stage = self._parts.dispatch(self._fetch)
        stage.may_send = True
        self._work(stage, outcome=outcome, fails=fails)

    def _fetch(self, partition: int, offset: int) -> Message | None:
        found = [m for m in self.messages("batched") if (m.partition, m.offset) == (partition, offset)]
        return found[0] if found else None

    @property
    def now(self) -> int:
        """Wall clock, ms."""
        return int(time.time() * 1000)

    def _work(self, stage: Any, ending: bool = False, outcome: Outcome | None = None, fails: str | None = None) -> None:
        topic = self.pipeline.topic(stage.input)
        group = self.pipeline.group_id(stage.name)
        stage.input_topic_id = Cluster({"bootstrap.servers": self.bootstrap}).topic_id(topic)
        with Reader(self.bootstrap) as reader:
            committed = reader.committed(group, topic)
            start = {}
            self._stores = {}
            for partition in range(self.pipeline.partitions):
                stores = self._stores[partition] = {}
                for table in stage.tables:
                    stores[table] = stage.store(table, partition)
                    rows = reader.table(self.pipeline.topic(table)).items()
                    mine = [(key, row.value) for (where, key), row in rows if where == partition]
                    stores[table].apply(mine, 0)
                start[partition] = stage.restore(partition, stores, committed[partition], self.now)
            slices = reader.read(topic, start, reader.ends(topic).high)
            read = [message for slice_ in slices for message in slice_]
        condemned = {(message.partition, message.offset): fails for message in read} if fails is not None else {}
        work = stage.process(Chunk(read, self.now, condemned=condemned))
        self._commit(stage, group, topic, work)
        if ending:
            self._commit(stage, group, topic, stage.drain(Chunk([], self.now), True))
        if outcome is not None and work.effects:
            answers = [(envelope, outcome) for envelope in work.effects]
            self._commit(stage, group, topic, stage.process(Chunk([], self.now, answers=answers)))

    def _commit(self, stage: Any, group: str, topic: str, work: Work) -> None:
        if work.empty:
            return
        for output in work.outputs:
            self.write(output)
        offsets = [TopicPartition(topic, partition, offset) for partition, offset in work.offsets.items()]
        request = ConsumerGroupTopicPartitions(group, offsets)
        self._admin.alter_consumer_group_offsets([request])[group].result(30)
        for (table, partition), rows in table_rows(work.outputs, stage.tables).items():
            self._stores[partition][table].apply(rows, 0)
        stage.committed(work, self.now)
