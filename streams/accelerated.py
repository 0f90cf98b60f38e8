"""Which of our modules run compiled (`make accelerate`, ADR 27), and whether they are still what the sources say.

The compiled form of a module lies beside its source, and Python takes it first. It is never taken on trust: whatever
starts refuses to go on with one that was made from other sources.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIX = EXTENSION_SUFFIXES[0]
MODULES = (
    "audit.block",
    "schemas.avro",
    "schemas.validated",
    "streams.batch.identity",
    "streams.batch.lot",
    "streams.batch.strand",
    "streams.batch.versions",
    "streams.batch.window",
)
"""What is worth compiling: loops of our own over records and bytes."""
LIBRARY = "streams.accelerated__mypyc"
"""All of them; each module's own file only points to it."""
SOURCES = ("audit", "schemas", "streams", "topology")
"""Packages that compiled modules know the types of."""
RECORD = "streams/accelerated.digest"
"""SHA-256 of the sources that they were made from."""


class Stale(Exception):
    """Compiled modules were made from other sources than those that lie beside them."""


def files(root: Path = ROOT) -> list[Path]:
    """The compiled modules there are for this interpreter, one that is no longer in the list included."""
    return [path for package in SOURCES for path in (root / package).rglob(f"*{SUFFIX}")]


def source_digest(root: Path = ROOT) -> str:
    """SHA-256 over the sources, in hex."""
    digest = sha256()
    for path in sorted(path for package in SOURCES for path in (root / package).rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def compiled(root: Path = ROOT) -> int:
    """How many modules run compiled. Raises Stale where they were made from other sources, or are not those of the
    list."""
    made = {path.relative_to(root).as_posix().removesuffix(SUFFIX).replace("/", ".") for path in files(root)}
    if not made:
        return 0
    record = root / RECORD
    said = record.read_text("utf-8").strip() if record.exists() else "nothing"
    if said != source_digest(root) or made != {*MODULES, LIBRARY}:
        raise Stale(
            f"compiled modules in {root} were made from other sources: `make accelerate` makes them anew, `make plain` "
            "removes them"
        )
    return len(MODULES)
