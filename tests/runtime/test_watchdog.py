"""TX7: a step that overruns ends the process, from outside its thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from streams.runtime.watchdog import OVERRUN_EXIT, Watchdog

ROOT = Path(__file__).resolve().parents[2]


def test_tx7_an_overrun_ends_the_process_with_its_own_code() -> None:
    code = (
        "import threading; from streams.runtime.watchdog import Watchdog\n"
        "with Watchdog('slot 0').step('send-offsets', 0.05): threading.Event().wait()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == OVERRUN_EXIT, done.stderr
    assert "slot 0: transaction step send-offsets overran its deadline" in done.stderr


def test_tx7_a_step_in_time_is_left_alone() -> None:
    overruns: list[str] = []
    told = threading.Event()

    def overrun(message: str) -> None:
        overruns.append(message)
        told.set()

    dog = Watchdog("slot 0", overrun)
    with dog.step("begin", 0.02):
        pass
    with dog.step("commit", 60):
        pass
    with dog.step("abort", 0.02):
        assert told.wait(60)
    assert len(overruns) == 1
    assert "step abort" in overruns[0]
    dog.close()
    dog.close()
    assert not [t for t in threading.enumerate() if t.name == "watchdog slot 0"]
