"""Contender: the roof of delivery. A loop that hands over ready bodies and does nothing else.

`http` posts them with aiohttp, as many at a time as the product has connections. `folder` creates them, and their
sidecars, in threads, and syncs file, sidecar and folders as the product's sink does before it says "delivered".
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp

from bench.process import Meter, tell
from streams.delivery.object_store import sidecar_path

Ready = tuple[str, str, str]
"""Idempotency key, path, body."""


async def _post_all(url: str, bodies: list[Ready], at_once: int) -> None:
    left = iter(bodies)

    async def post(session: aiohttp.ClientSession) -> None:
        for key, _, body in left:
            headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
            async with session.post(url, data=body.encode(), headers=headers) as answer:
                await answer.read()
                answer.raise_for_status()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:
        await asyncio.gather(*(post(session) for _ in range(at_once)))


def _write_all(root: str, bodies: list[Ready], at_once: int) -> None:
    folder = Path(root)
    with ThreadPoolExecutor(at_once) as threads:
        for _ in threads.map(lambda ready: _write(folder, ready[1], ready[2].encode()), bodies):
            pass


def _write(root: Path, path: str, body: bytes) -> None:
    """One object, create-only, as durable as the product's: by another name first, so that it is whole or absent."""
    for name, data in ((path, body), (sidecar_path(path), b'{"content_type":"application/json"}')):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(target.name + "#1")
        staged.write_bytes(data)
        os.link(staged, target)
        staged.unlink()
    for place in _to_sync(root, path):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _to_sync(root: Path, path: str) -> Iterator[Path]:
    target = root / path
    yield from (target, root / sidecar_path(path))
    for parent in target.parents:
        yield parent
        if parent == root:
            return


def main() -> None:
    """Job: kind (http or folder), to (URL or folder), bodies (file of a JSON list of `Ready`), at_once, records."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    bodies = [tuple(one) for one in json.loads(Path(job["bodies"]).read_text())]
    work: dict[str, Callable[[], None]] = {
        "http": lambda: asyncio.run(_post_all(job["to"], bodies, job["at_once"])),
        "folder": lambda: _write_all(job["to"], bodies, job["at_once"]),
    }
    meter = Meter()
    meter.fetched(time.perf_counter())
    work[job["kind"]]()
    meter.committed()
    tell(meter.report(job["records"]))


if __name__ == "__main__":
    main()
