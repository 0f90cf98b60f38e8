"""Flame graphs of stages at load: `python -m bench.flames [--py-spy PROGRAM] [--records N] [--results FOLDER]`.

A contender of `bench.ours` works a filled topic while py-spy looks at where the stage's own thread stands. Written are
the stacks (`<stage>.txt`, a line for each with its count, as every tool for flame graphs reads them) and a picture
(`<stage>.svg`). Native code counts for the Python function that called it. py-spy is no dependency of the project:
`pip install py-spy` somewhere, and say where unless it is on the PATH.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from zlib import crc32

from bench.contenders import Turn, prepare
from bench.process import ROOT
from bench.world import RAW, broker, read, readings

RECORDS = 200_000
RATE = 250
"""Looks a second."""
STAGES = ("validate", "batch", "dispatch")
WIDTH, ROW, LEAST = 1_200, 16, 0.002
"""Of the picture, pixels; shares below LEAST are left out."""

Stack = tuple[str, ...]
"""Function names from the outside in."""


class Node:
    """A function in its place, with all that it called."""

    def __init__(self) -> None:
        self.count = 0
        self.inner: dict[str, Node] = {}

    @property
    def depth(self) -> int:
        """Rows below and with this one."""
        return 1 + max((node.depth for node in self.inner.values()), default=0)


def tree(stacks: Mapping[Stack, int]) -> Node:
    """The stacks put together by what they begin with."""
    root = Node()
    for stack, count in stacks.items():
        node = root
        node.count += count
        for name in stack:
            node = node.inner.setdefault(name, Node())
            node.count += count
    return root


def parse(lines: Iterable[str]) -> Counter[Stack]:
    """Stacks from `outer;inner;… count`. Raises ValueError for anything else."""
    found: Counter[Stack] = Counter()
    for line in lines:
        names, _, count = line.rstrip("\n").rpartition(" ")
        found[tuple(names.split(";"))] += int(count)
    return found


def fold(stacks: Mapping[Stack, int]) -> str:
    """The reverse of `parse`, in the order of the names."""
    return "".join(f"{';'.join(stack)} {count}\n" for stack, count in sorted(stacks.items()))


def svg(stacks: Mapping[Stack, int], title: str) -> str:
    """The flame graph, the outermost function at the bottom; the text of a box, with its share, shows over it."""
    root = tree(stacks)
    height = (root.depth + 2) * ROW
    boxes: list[str] = []
    _draw(boxes, root, 0.0, height - ROW, root.count)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" '
        f'font-size="11"><rect width="100%" height="100%" fill="#fff"/><text x="4" y="13">{escape(title)}, '
        f"{root.count:,} samples</text>\n{''.join(boxes)}</svg>\n"
    )


def _draw(boxes: list[str], node: Node, left: float, bottom: float, whole: int) -> None:
    for name, inner in sorted(node.inner.items()):
        width = inner.count / whole * WIDTH
        if inner.count >= LEAST * whole:
            said = f"{name} {inner.count / whole:.1%}"
            text = name.partition(" (")[0][: int(width / 7)] if width > 24 else ""
            boxes.append(
                f'<g><title>{escape(said)}</title><rect x="{left:.1f}" y="{bottom - ROW}" width="{width:.1f}" '
                f'height="{ROW - 1}" fill="{_colour(name)}"/><text x="{left + 2:.1f}" y="{bottom - 5}">'
                f"{escape(text)}</text></g>\n"
            )
            _draw(boxes, inner, left, bottom - ROW, whole)
        left += width


def _colour(name: str) -> str:
    """One for each file, always the same."""
    return f"hsl({crc32(name.partition('(')[2].partition(':')[0].encode()) % 60},80%,70%)"


def record(spy: str, job: Mapping[str, object], stage: str, raw: Path) -> Counter[Stack]:
    """Runs a contender under py-spy; the stacks of the stage's thread. Raises RuntimeError with what was said."""
    command = [spy, "record", "--format", "raw", "--threads", "--function", "--rate", str(RATE), "--output", str(raw)]
    command += ["--", sys.executable, "-m", "bench.ours", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not raw.is_file():
        raise RuntimeError(f"py-spy ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return of_thread(parse(raw.read_text().splitlines()), stage)


def of_thread(stacks: Mapping[Stack, int], name: str) -> Counter[Stack]:
    """Those of one thread, which stands first (`thread (0x7f): validate`) and is left out."""
    found: Counter[Stack] = Counter()
    for stack, count in stacks.items():
        if stack[0].startswith("thread (") and stack[0].endswith(f": {name}"):
            found[stack[1:]] += count
    return found


def main() -> None:
    """Every stage works what the one before it has written."""
    parser = argparse.ArgumentParser(prog="python -m bench.flames", description=__doc__)
    parser.add_argument("--py-spy", default="py-spy", help="the program")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "flames")
    given = parser.parse_args()
    spy = shutil.which(given.py_spy)
    if spy is None:
        parser.error(
            f"there is no {given.py_spy}: pip install py-spy, and name it with --py-spy if it is not on the PATH"
        )
    given.results.mkdir(parents=True, exist_ok=True)
    with broker() as (bootstrap, folder):
        prepare(bootstrap, RAW, readings(given.records))
        turn = Turn(bootstrap, folder, given.records, 0, RAW)
        made = turn.pipeline("flames")
        due: int = given.records
        for stage in STAGES:
            if stage == "dispatch":
                due = sum(1 for _ in read(bootstrap, made.topic("batched")))
            job = turn.job(made, records=given.records, due={stage: due})
            stacks = record(spy, job, stage, folder / f"{stage}.raw")
            (given.results / f"{stage}.txt").write_text(fold(stacks))
            picture = given.results / f"{stage}.svg"
            picture.write_text(svg(stacks, f"{stage}, {given.records:,} readings"))
            print(f"{picture}: {sum(stacks.values()):,} samples")


if __name__ == "__main__":
    main()
