"""How strict validation may be. A pack has some of these profiles, a pipeline has one, and so may a partner's feed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, get_args

RecordProfile = Literal["strict", "lenient", "schema"]
"""Judges each record by itself."""
Profile = Literal[RecordProfile, "stateful"]
STATEFUL: Final = "stateful"
"""What packs take as `strict`, with state rules: a pipeline's `items` need not be named then."""
PROFILES: tuple[Profile, ...] = get_args(Profile)
RECORD_PROFILES: tuple[RecordProfile, ...] = get_args(RecordProfile)


def check_profile(profile: str, known: Collection[str]) -> None:
    """Raises ValueError for a profile that a pack does not know."""
    if profile not in known:
        raise ValueError(f"profile {profile!r} is unknown; allowed: {', '.join(known)}")
