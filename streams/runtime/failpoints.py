"""Named places where a test may kill, hang or break the process: `WAYBILL_FAILPOINT=stage:step[:nth][=action]`.

Steps: after-fetch, after-process, mid-produce, before-offsets, before-commit, after-commit; dispatch has before-send
and after-send too. `nth` counts from 1 (the default). Actions: `kill` (the default) is SIGKILL to oneself, so that
nothing is flushed or closed; `hang` stops the calling thread for ever; `error` raises FailpointError. Without the
variable a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from typing import NamedTuple

VARIABLE = "WAYBILL_FAILPOINT"
STEPS = (
    "after-fetch",
    "after-process",
    "mid-produce",
    "before-offsets",
    "before-commit",
    "after-commit",
    "before-send",
    "after-send",
)
FORM = re.compile(r"(?P<name>[a-z]+:(?P<step>[a-z-]+))(?::(?P<nth>[1-9][0-9]*))?(?:=(?P<action>kill|hang|error))?")


class FailpointError(RuntimeError):
    """Raised by the action `error`: a fault nobody expects."""


class Failpoint(NamedTuple):
    """What the variable asks for."""

    name: str
    """`stage:step`"""
    nth: int
    action: str


def parse(text: str) -> Failpoint:
    """The failpoint a value of the variable names. Raises ValueError on any other form."""
    found = FORM.fullmatch(text)
    if found is None or found["step"] not in STEPS:
        raise ValueError(f"{VARIABLE}={text!r}: must be stage:step[:nth][=kill|hang|error], step {', '.join(STEPS)}")
    return Failpoint(found["name"], int(found["nth"] or 1), found["action"] or "kill")


_armed: Failpoint | None = parse(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
_hits = 0


def arm(text: str | None) -> None:
    """Sets the failpoint of this process, or none; counting starts again."""
    global _armed, _hits
    _armed, _hits = (parse(text) if text else None), 0


def hit(name: str) -> None:
    """Says that the process is at `stage:step` now."""
    if _armed is None or _armed.name != name:
        return
    global _hits
    _hits += 1
    if _hits != _armed.nth:
        return
    if _armed.action == "error":
        raise FailpointError(f"failpoint {name}")
    if _armed.action == "hang":
        threading.Event().wait()
    os.kill(os.getpid(), signal.SIGKILL)
