"""Owns where the public cases lie: real files with their verdicts, which are no part of the project."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "WAYBILL_CASES"
"""Says where, if they do not lie beside the repository."""
_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def cases_folder() -> Path:
    """Where they are, if they are on this machine."""
    return Path(os.environ.get(VARIABLE) or _BESIDE)
