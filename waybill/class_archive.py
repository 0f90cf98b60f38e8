"""Kafka's classes read and checked once, and kept in a file that each later start maps: half of what a start takes.

The JVM writes such an archive when it ends (class-data sharing, JEP 350), and takes it only if Java and class path are
those it was written with; else it starts as if there were none.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from waybill.kafka_jars import KAFKA_VERSION, BrokerError, cache_folder, only_one


def class_archive(
    java: str, libs: Path, run_once: Callable[[Path, str], None], say: Callable[[str], None]
) -> list[str]:
    """The JVM options that let a broker start from the archive, which is written first if there is none yet.

    java, libs: the program and the folder of jars. run_once(home, option): starts a broker in `home` with this JVM
    option and stops it. Where no archive can be written the options are empty, and `say` is told why: a broker starts
    without one too.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    archive = folder / f"classes-{_key(java, libs)}.jsa"
    try:
        if not archive.exists():
            with only_one(archive.with_suffix(".lock")):
                if not archive.exists():  # another process may have written it while this one waited
                    _write(archive, run_once)
    except (OSError, BrokerError) as failed:
        say(f"Kafka starts without an archive of its classes, more slowly: {failed}")
        return []
    return [f"-XX:SharedArchiveFile={archive}"]


def _write(archive: Path, run_once: Callable[[Path, str], None]) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="classes-") as scratch:
        written = Path(scratch) / archive.name
        run_once(Path(scratch) / "broker", f"-XX:ArchiveClassesAtExit={written}")
        if not written.exists():
            raise BrokerError(f"this Java has written none ({archive})")
        written.rename(archive)  # whole or not at all


def _key(java: str, libs: Path) -> str:
    """Changes with what an archive depends on, so that a new Java or other jars get one of their own."""
    program = Path(java).resolve()
    jars = sorted((jar.name, jar.stat().st_mtime_ns) for jar in libs.glob("*.jar"))
    known = repr((str(program), program.stat().st_mtime_ns, str(libs), jars))
    return hashlib.sha256(known.encode()).hexdigest()[:16]
