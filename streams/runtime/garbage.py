"""How often the garbage collector of a worker looks for cycles."""

from __future__ import annotations

import gc

THRESHOLDS = (50_000, 20, 20)
"""A chunk makes some hundred thousand tuples that live until it has committed and form no cycles. With Python's
defaults each 700 of them are looked at again, and all of them several times per chunk: a sixth of a stage's time."""


STARTING = (100_000, 20, 20)
"""While a program starts: imports make many objects and no garbage, so that each look is in vain."""


def tune() -> None:
    """Leaves what is loaded so far out of every later look, and makes the looks rare. Once, as a worker starts.

    Not before a last look: of 77,000 objects it found 600 to be garbage, and took a twelfth of the start.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
