"""One round: a pipeline of its own under load, faults as planned, rest, and the outside checker's word.

A round's folder keeps everything that judging it again needs: see chaos.checker.evidence. `history.json` beside it
holds the plan, what was really done and when, and how the workers ended.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from chaos.brokers import Broker
from chaos.crew import Crew
from chaos.faults import FAULTS, Scene, under
from chaos.fork_server import ROOT
from chaos.load import MORE_PRODUCTS
from chaos.plan import CLINIC, LAKE, OTHERS, PIPELINE, SESSION, SEVERAL, Plan, Planned
from chaos.publisher import Publisher
from chaos.store import Moto, Store
from chaos.timeline import Timeline, timeline
from streams.runtime.admin import create_topics
from topology.load import load_pipeline
from topology.model import SHORT_NAMES, Pipeline
from topology.partner import HttpPartner, ObjectStorePartner
from topology.topics import topic_specs
from waybill.partner_sim import NO_FAULT, Partner, Server

READY_SECONDS = 90.0
"""For all workers to come up, with nothing wrong: imports on a busy machine, and their groups."""
AFTER_SECONDS = 2.0
"""How long the load goes on after the last fault."""
REST_SECONDS = 300.0
"""From the end of the last fault until everything is answered; more is a failure of liveness (I10). A backlog of a
thousand batches of one group, delivered one after the other on a machine that other work keeps busy, took more than two
minutes."""
TRIES = 3
"""Bounded runs until one ends well: what is still open at the partner may take a second."""
DAMAGED = 71
"""Exit code of a worker that refuses to go on: another try would say the same."""
CHECK_SECONDS = 120.0
PARTNER_SECONDS = 2.0
"""Time-out of an attempt."""
MAX_RESTARTS = 40


@dataclass
class Result:
    """What a round came to."""

    plan: Plan
    seconds: float
    verdict: dict[str, Any]
    """The checker's answer; `error` where it gave none."""
    history: dict[str, Any]
    timeline: Timeline | None = None

    @property
    def failed(self) -> bool:
        """Whether the checker found anything, or could not look."""
        return bool(self.verdict.get("error") or self.verdict["findings"])


class Stage:
    """Where a round plays: pipeline, topics, partner, publisher and crew."""

    def __init__(self, plan: Plan, folder: Path, broker: Broker, worker: str, moto: Moto | None) -> None:
        """worker: the module that is run as `waybill`. moto: for a lake in a store; None: one of its own."""
        self.plan, self.folder, self.broker = plan, folder, broker
        folder.mkdir(parents=True)
        capacities = {CLINIC: None, **{other.partner: other.capacity for other in plan.others if other.partner != LAKE}}
        self.servers = {name: Server(Partner(keep_bodies=True)) for name in capacities}
        """The HTTP partners."""
        for name, capacity in capacities.items():
            self.servers[name].change(capacity=capacity)
        self.store = Store(plan.name, moto) if plan.lake == "s3" else None
        self.history: list[dict[str, Any]] = []
        self.began = 0.0
        """Seconds since epoch when the first message was published."""
        self._lake = folder / "objects" / LAKE
        self._worker = worker

    def play(self) -> None:
        """Load and faults, then rest; what the checker wants to know of it is in the folder afterwards."""
        for server in self.servers.values():
            server.start()
        if self.store is not None:
            self.store.start()
        try:
            self.pipeline = self._deploy()
            self.publisher = Publisher(
                self.broker.bootstrap, self.pipeline.raw_topic, self.pipeline.partitions, self.plan.seed,
                bool(self.plan.others),
            )  # fmt: skip
            with self._crew() as crew:
                for slot in range(self.plan.workers):
                    crew.add(slot)
                self._under_load(crew)
                ended = time.monotonic()
                drained = self._rest(crew)
                self.history += crew.history
                facts = self._facts(crew, drained, time.monotonic() - ended)
            self._write(facts)
        finally:
            for server in self.servers.values():
                server.stop()
            if self.store is not None:
                self.store.stop()

    def _deploy(self) -> Pipeline:
        lake: dict[str, Any] = {"kind": "object-store", "url": self._lake.as_uri()}
        if self.store is not None:
            lake = self.store.partner()
        partners = {
            **{
                name: {"kind": "http", "url": server.url, "timeout": PARTNER_SECONDS, **OTHERS.get(name, {})}
                for name, server in self.servers.items()
            },
            LAKE: lake | {"prefix": "cc", "timeout": PARTNER_SECONDS},
        }
        (self.folder / "partners.yaml").write_text(json.dumps(partners))
        settings = PIPELINE | self.plan.settings
        settings |= {"application": self.plan.name, "raw": {"topic": f"{self.plan.name}.raw"}}
        file = self.folder / "cc.yaml"
        file.write_text(json.dumps(settings))
        pipeline = load_pipeline(str(file))
        create_topics(self.broker.bootstrap, topic_specs(pipeline))
        return pipeline

    def _crew(self) -> Crew:
        arguments = ["worker", "--pipeline", str(self.folder / "cc.yaml")]
        arguments += ["--brokers", self.broker.proxy.bootstrap, "--web-port", "0"]
        arguments += ["--session", str(SESSION), "--drain", "10"]
        return Crew(self._worker, arguments, {"WAYBILL_HOME": str(self.folder / "home")}, self.folder)

    def _under_load(self, crew: Crew) -> None:
        """Load and faults begin when every worker is ready: a fault before that would meet nobody at work."""
        assert crew.wait_ready(None, READY_SECONDS), f"not every worker was ready within {READY_SECONDS:g} s"
        self.began = time.time()
        over = threading.Event()
        with ThreadPoolExecutor() as pool:
            publishing = pool.submit(self.publisher.run, over.is_set)
            try:
                by_theme = sorted(self.plan.faults, key=lambda planned: (FAULTS[planned.fault].theme, planned.at))
                courses = [
                    pool.submit(self._course, crew, theme, list(faults), CLINIC)
                    for theme, faults in groupby(by_theme, key=lambda planned: FAULTS[planned.fault].theme)
                ]
                courses += [
                    pool.submit(self._course, crew, other.partner, list(other.faults), other.partner)
                    for other in self.plan.others
                ]
                for course in courses:
                    course.result()
                time.sleep(AFTER_SECONDS)
            finally:
                over.set()
                self._well()
            publishing.result()
        self.publisher.flush()
        crew.wait_up(None, READY_SECONDS)  # the last fault may have killed some; they are to stop by themselves

    def _well(self) -> None:
        """Takes away what is still dealt to partners."""
        for server in self.servers.values():
            server.partner.faults.clear()
        if self.store is not None:
            self.store.gate.faults.clear()
            self.store.gate.read_faults.clear()

    def _course(self, crew: Crew, name: str, faults: list[Planned], partner: str) -> None:
        """The faults of one theme, or of one more partner, one after the other. `partner`: whom those are for that
        befall an HTTP partner."""
        chance = random.Random(f"{self.plan.name} {name}")
        scene = Scene(
            chance, crew, self.broker, self.servers.get(partner, self.servers[CLINIC]), SESSION, self.publisher.flood,
            partial(self.publisher.recent, products=self._products(partner)), time.sleep, self.store,
        )  # fmt: skip
        for planned in faults:
            scene.dealt = planned.kinds
            time.sleep(max(0.0, self.began + planned.at - time.time()))
            begun = time.time()
            with under(FAULTS[planned.fault], scene):
                time.sleep(planned.seconds)
            event = {"at": begun, "until": time.time(), "what": planned.fault, "said": " ".join(scene.said)}
            if partner != CLINIC:
                event["partner"] = partner
            self.history.append(event if scene.happened else event | {"happened": False})
            scene.said.clear()
            scene.happened = True

    def _products(self, partner: str) -> list[str]:
        """Those whose records count as a partner's; all of them where there is one HTTP partner."""
        alone = not self.plan.others
        return [product for product in MORE_PRODUCTS if alone or SEVERAL.get(product, CLINIC) == partner]

    def _rest(self, crew: Crew) -> bool:
        """Nothing is wrong any more: stops the workers, and lets a bounded run finish what there is."""
        crew.stop()
        deadline = time.monotonic() + REST_SECONDS
        for _ in range(TRIES):
            code = crew.run_once(0, ["--until-end"], max(1.0, deadline - time.monotonic()))
            if code in (0, None, DAMAGED):
                return code == 0
        return False

    def _facts(self, crew: Crew, drained: bool, seconds: float) -> dict[str, Any]:
        return {
            "seed": self.plan.seed,
            "number": self.plan.number,
            **facts_of(self.pipeline),
            "harmed": self._harmed(),
            "deadline_met": seconds <= REST_SECONDS,
            "drained": drained,
            "restarts": {str(slot): count for slot, count in crew.restarts.items()},
            "max_restarts": MAX_RESTARTS,
            "exits": [ended._asdict() for ended in crew.exits],
        }

    def _harmed(self) -> list[str]:
        """See chaos.checker.evidence.Round.harmed. A fault that counts as not met may still have done some harm."""
        played = {event["what"] for event in self.history} & FAULTS.keys()
        themes = {FAULTS[name].theme for name in played}
        brokers = any(FAULTS[name].id.startswith("B") for name in played)  # a flood does them no harm
        down = {event.get("partner", CLINIC) for event in self.history if event["what"] == "partner-down"}
        found = {name: name in down for name in self.servers}
        found |= {LAKE: "stores" in themes, "cluster": brokers}
        return [name for name, harmed in found.items() if harmed]

    def met(self) -> dict[str, dict[str, int]]:
        """How many requests to each partner met which kind of fault; of one that was down, how many times it was."""
        counts = {name: Counter(line["fault"] for line in one.partner.attempts) for name, one in self.servers.items()}
        if self.store is not None:
            counts[LAKE] = Counter(request["fault"] for request in self.store.gate.requests)
        for event in self.history:
            if event["what"] == "partner-down":
                counts[event.get("partner", CLINIC)][event["said"]] += 1
        for count in counts.values():
            del count[NO_FAULT]
        return {name: dict(sorted(count.items())) for name, count in counts.items()}

    def _write(self, facts: dict[str, Any]) -> None:
        """The round's evidence, as far as it is not in Kafka."""
        (self.folder / "round.json").write_text(json.dumps(facts, indent=1))
        lines = [json.dumps(sent.line()) for sent in self.publisher.taken]
        (self.folder / "manifest.jsonl").write_text("".join(line + "\n" for line in lines))
        ledger = [
            json.dumps({"partner": name, **line})
            for name, server in self.servers.items()
            for line in server.partner.lines
        ]
        (self.folder / "ledger.jsonl").write_text("".join(line + "\n" for line in ledger))
        bodies = self.folder / "bodies"
        bodies.mkdir()
        for server in self.servers.values():
            for key, body in server.partner.bodies.items():
                (bodies / key).write_bytes(body)
        listing = self.store.dump(self._lake) if self.store is not None else list(self._listed())
        objects = [json.dumps({"partner": LAKE, **entry}) for entry in listing]
        (self.folder / "objects.jsonl").write_text("".join(line + "\n" for line in objects))

    def _listed(self) -> Iterator[dict[str, Any]]:
        """What lies in the folder that is the lake; nothing there has versions."""
        for path in sorted(self._lake.rglob("*")):
            if path.is_file():
                name, written = path.relative_to(self._lake).as_posix(), path.stat().st_mtime
                yield {"path": name, "sha256": sha256(path.read_bytes()).hexdigest(), "versions": 1, "time": written}


def facts_of(pipeline: Pipeline) -> dict[str, Any]:
    """What the checker must know of the pipeline, see chaos.checker.evidence.Round."""
    inputs = {"validate": "raw", "batch": "validated", "dispatch": "batched"}
    return {
        "application": pipeline.application,
        "pipeline": pipeline.pipeline,
        "raw": pipeline.raw_topic,
        "topics": {short: pipeline.topic(short) for short in SHORT_NAMES},
        "partitions": pipeline.partitions,
        "groups": {stage: pipeline.group_id(stage) for stage in inputs},
        "inputs": inputs,
        "on_conflict": pipeline.on_conflict,
        "acks": pipeline.acks,
        "ordering": pipeline.ordering,
        "partners": _partners(pipeline),
        "routing": _routing(pipeline),
        "group_by": list(pipeline.group_by),
        "idempotency": list(pipeline.idempotency),
        "unknown_attempts": pipeline.retry.unknown_attempts,
    }


def _partners(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, partner in pipeline.partners.items():
        found[name] = {"kind": partner.kind}
        if isinstance(partner, HttpPartner) and partner.adaptive is not None:
            found[name] |= {"adaptive": [partner.adaptive.min_records, pipeline.cap_for(name, None)]}
        if isinstance(partner, ObjectStorePartner):
            found[name] |= {"prefix": partner.prefix, "folder": partner.url.startswith("file:")}
    return found


def _routing(pipeline: Pipeline) -> dict[str, Any]:
    """Which partner a record is for, as the checker reads it."""
    rule = pipeline.partner
    return {"by": None, "map": {}, "default": rule} if isinstance(rule, str) else rule.model_dump()


def run(plan: Plan, folder: Path, broker: Broker, worker: str, moto: Moto | None = None) -> Result:
    """Plays a round and has it judged. The broker must run, and runs afterwards; see Stage for worker and moto."""
    started = time.monotonic()
    stage = Stage(plan, folder, broker, worker, moto)
    verdict: dict[str, Any]
    try:
        stage.play()
        verdict = judge(folder, broker.bootstrap)
    except Exception as failed:  # noqa: BLE001 - a round that cannot be played is a failed round, and the rest goes on
        verdict = {"error": f"{type(failed).__name__}: {failed}"}
    history = {
        "plan": plan.as_json(), "began": stage.began, "events": stage.history,
        "met": stage.met(), "network": dict(broker.proxy.counts),
    }  # fmt: skip
    (folder / "history.json").write_text(json.dumps(history, indent=1))
    times = timeline(folder, stage.began) if "invariants" in verdict else None
    return Result(plan, time.monotonic() - started, verdict, history, times)


def judge(folder: Path, bootstrap: str) -> dict[str, Any]:
    """The checker's answer, from a process of its own."""
    command = [sys.executable, "-m", "chaos.checker", str(folder), "--brokers", bootstrap, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    if done.returncode not in (0, 1) or not done.stdout:  # a program that crashed ends with 1, too
        return {"error": f"the checker ended with {done.returncode}: {done.stderr.strip()[-2000:]}"}
    answer: dict[str, Any] = json.loads(done.stdout)
    (folder / "verdict.json").write_text(json.dumps(answer, indent=1))
    return answer
