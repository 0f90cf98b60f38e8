"""Builds the Java peers and runs them, each as a process that measures itself as every contender does."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from bench.peers.job import Job, PeerError
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import Options
from topology.load import load_pipeline
from waybill.kafka_jars import BrokerUnavailable, find_java

PEERS = Path(__file__).resolve().parent
TARGET = PEERS / "target"
BUILD_SECONDS = 900.0
Peer = Literal["streams", "flink", "openepcis"]
HEAP = "2g"
JVM = {
    "streams": ["-XX:+UseParallelGC", f"-Xms{HEAP}", f"-Xmx{HEAP}"],
    "flink": [
        "-XX:+UseParallelGC", f"-Xms{HEAP}", f"-Xmx{HEAP}",
        "--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
    ],
    "openepcis": ["-XX:+UseParallelGC", f"-Xms{HEAP}", f"-Xmx{HEAP}"],
}  # fmt: skip


# ---- building --------------------------------------------------------------------------------------


def build(peer: Peer, folder: Path = TARGET) -> str:
    """The classpath of a peer, built into `folder` first unless this very source was built there before.

    Maven works offline where its own repository has all that is needed. Raises PeerError.
    """
    java_path()
    stamp, wanted = folder / f"{peer}.built", _source_digest()
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        _maven(peer, folder)
        stamp.write_text(wanted, encoding="utf-8")
    jars = [*(folder / peer).glob("*.jar"), *(folder / peer / "libs").glob("*.jar")]
    return os.pathsep.join(map(str, sorted(jars)))


def java_path() -> str:
    """Path of a Java that can run the peers. Raises PeerError."""
    try:
        return find_java()
    except BrokerUnavailable as missing:
        raise PeerError(str(missing).replace("the local Kafka broker needs", "the Java peers need")) from None


def _maven(peer: Peer, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise PeerError("the Java peers are built with Maven, and no `mvn` is on the PATH: install Maven (Debian: apt-get install maven)")  # noqa: E501  # fmt: skip
    shutil.rmtree(folder / peer, ignore_errors=True)  # no jar of an older version stays behind
    command = [
        maven, "-B", "-q", "-f", str(PEERS / "pom.xml"), "-pl", peer, "-am", f"-Dpeers.build={folder.absolute()}",
        "package",
    ]  # fmt: skip
    said = ""
    for more in (["-o"], []):
        try:
            done = subprocess.run(
                command + more, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS, cwd=PEERS
            )
        except subprocess.TimeoutExpired as slow:
            raise PeerError(f"Maven did not build {peer} within {BUILD_SECONDS:g} s: check the network") from slow
        if done.returncode == 0:
            return
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
    raise PeerError(f"Maven could not build {peer}; it said:\n{said}")


def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(PEERS)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for part in ("common", "streams", "flink", "openepcis"):
        yield PEERS / part / "pom.xml"
        yield from (PEERS / part / "src").rglob("*.java")
    yield PEERS / "pom.xml"


# ---- running ---------------------------------------------------------------------------------------


def command(peer: Peer, job: Job, scratch: Path, jvm: Sequence[str] = ()) -> list[str]:
    """The command line of a peer; it keeps its state in `scratch`, with the native libraries that it unpacks."""
    return start(peer, {**asdict(job), **limits(), "state": str(scratch / "state")}, scratch, jvm)


def start(peer: Peer, given: Mapping[str, Any], scratch: Path, jvm: Sequence[str] = ()) -> list[str]:
    """The command line of a program that is given a job as it stands."""
    (scratch / "tmp").mkdir(exist_ok=True)
    options = [*JVM[peer], *jvm, f"-Djava.io.tmpdir={scratch / 'tmp'}"]
    return [java_path(), *options, "-cp", build(peer), f"waybill.peers.{peer}.Main", json.dumps(given)]


def limits() -> dict[str, Any]:
    """The products and limits of the shipped pipeline, as the pack compares with them."""
    options = Options.model_validate(load_pipeline("cold-chain").options)
    found = {
        name: [_finite(one.low), _finite(one.high), one.bound_low, one.bound_high, one.judged]
        for name, one in Rules(options, "strict").limits.items()
    }
    return {"limits": found, "default_product": options.default_product}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
