"""`make accelerate`: our own hottest modules compiled by mypyc, from the very sources that run otherwise (ADR 27).

They stay only if they pass the tests of those modules and write, in all three stages, the bytes that the sources write.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mypyc.build import mypycify
from setuptools import Distribution

from bench.stages import report, turns
from streams.accelerated import LIBRARY, MODULES, RECORD, ROOT, SOURCES, compiled, files, source_digest

BUILD = ROOT / "build" / "accelerated"
TESTS = (
    "tests/audit/test_block.py",
    "tests/schemas/test_validated.py",
    "tests/streams/test_identity.py",
    "tests/streams/test_lot.py",
    "tests/streams/test_windows.py",
)
RECORDS, TURNS = 4_000, 9


def main() -> None:
    """Compiles, holds equal, or leaves nothing behind."""
    remove()
    try:
        build()
        subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, check=True)
        with tempfile.TemporaryDirectory(prefix="waybill-plain-") as folder:
            twin = Path(folder)
            for package in (*SOURCES, "bench", "waybill"):
                shutil.copytree(ROOT / package, twin / package, ignore=shutil.ignore_patterns("*.so", "results"))
            report(turns([ROOT, twin], RECORDS, TURNS))
    except BaseException as failed:
        remove()
        if isinstance(failed, KeyboardInterrupt):
            raise
        raise SystemExit(f"not accelerated, everything runs as before: {failed}") from failed
    print(f"{compiled()} modules run compiled; `make plain` undoes it")


def remove() -> None:
    """The sources run again."""
    for path in [*files(), ROOT / RECORD]:
        path.unlink(missing_ok=True)


def build() -> None:
    """Needs a C compiler and Python's headers. Raises what mypyc and setuptools do, SystemExit included."""
    os.chdir(ROOT)  # mypy's settings are there
    digest = source_digest()
    sources = [f"{name.replace('.', '/')}.py" for name in MODULES]
    group = LIBRARY.removesuffix("__mypyc")
    made = mypycify(sources, target_dir=str(BUILD), group_name=group, opt_level="2", debug_level="0")
    command: Any = Distribution({"name": "waybill", "ext_modules": made, "packages": []}).get_command_obj("build_ext")
    command.inplace, command.build_temp, command.build_lib = True, str(BUILD / "objects"), str(BUILD / "lib")
    command.ensure_finalized()
    command.run()
    (ROOT / RECORD).write_text(f"{digest}\n", "utf-8")


if __name__ == "__main__":
    main()
