"""Contender: a stock Faust agent with default settings (at least once) that does the same validation.

It is given the product's own pack, which is a pydantic model and some rules, so that only the way around it differs:
topic, agent, await send. Its output are the canonical payloads, whose digests must equal the product's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterable
from typing import Any

import faust

from bench.process import Meter, tell
from bench.world import pipeline
from schemas.pack import Record, Submission
from schemas.packs import load_pack


def main() -> None:
    """Job: bootstrap, application, raw, lake, target (topic), records."""
    job = json.loads(sys.argv[1])
    made = pipeline(job["application"], job["lake"], job["raw"])
    pack = load_pack(made.pack, made.options, made.profile)
    # The web server is off: nobody asks it anything, and its port may be taken.
    app = faust.App(f"{job['application']}.faust", broker=f"kafka://{job['bootstrap']}", web_enabled=False)
    source = app.topic(job["raw"], value_serializer="raw")
    target = app.topic(job["target"], value_serializer="raw")
    meter = Meter()

    async def validate(stream: AsyncIterable[Any]) -> None:
        done = 0
        async for event in stream.events():  # type: ignore[attr-defined]
            if not done:
                meter.fetched(time.perf_counter())
            for item in pack.unpack(Submission(event.value)).records():
                if isinstance(item, Record):
                    await target.send(key=event.key, value=item.payload)
            done += 1
            if done == job["records"]:
                await app.producer.flush()
                await app.consumer.commit()
                meter.committed()
                tell(meter.report(done))

    app.agent(source, name="validate")(validate)
    app.finalize()
    faust.Worker(app, loglevel="ERROR").execute_from_commandline()


if __name__ == "__main__":
    main()
