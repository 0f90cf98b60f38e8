"""Run at the start of a Python process under libfaketime, and by nothing else.

time.sleep waits for a moment of the monotonic clock; libfaketime 0.9.10 counts that moment from the faked wall clock
even when told to leave the monotonic clock alone, and the sleep ends with EINVAL. select takes a duration instead.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    """As time.sleep."""
    duration = float(seconds)
    if duration < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], duration)


time.sleep = sleep
