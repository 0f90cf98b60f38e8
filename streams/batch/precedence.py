"""Which of the records that wait must not overtake which (ADR 22). Owns that order and nothing else: a record is known
by its place, an offset, and by the things it is about. Pure.

Whoever is about a thing stands behind those before it that are about it, and is about all of their things, too: it may
be by the time they have passed. Those about one thing are therefore a chain, and all chains together a forest: each
record knows the first that stands behind it. Places grow along every path, whom a record stands behind lies in the tree
below it, and nothing is held twice, however many stand in line. (It is the elimination tree of the graph in which two
records about one thing are neighbours: J. W. H. Liu, "The role of elimination trees in sparse factorization", SIAM
Journal on Matrix Analysis and Applications 11, 1990. It follows from who there is and what they are about, not from the
order in which they came; so a restart has the same.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Line:
    """A tree of the forest. Lines that were joined lead to one (union-find)."""

    last: _Place
    """Its root: nobody stands behind it."""
    size: int = 1
    joined: _Line | None = None


@dataclass(slots=True, eq=False)
class _Estate:
    """Things, and who is about them. When a record goes, its estate and its heir's become one (union-find)."""

    things: set[bytes] | frozenset[bytes]
    """Frozen, while they are the record's own: whoever entered it has the same ones."""
    place: _Place = field(init=False)
    joined: _Estate | None = None

    def join(self, larger: _Estate) -> None:
        """Becomes part of another."""
        things = larger.things if isinstance(larger.things, set) else set(larger.things)
        things |= self.things
        larger.things, self.things, self.joined = things, frozenset(), larger


@dataclass(slots=True, eq=False)
class _Place:
    """A record in the order."""

    at: int
    makes: set[bytes]
    """What it is about only in that it brings it into being: for that it stands behind nobody."""
    still: bool
    """It stands still: it is not on its way."""
    estate: _Estate
    """What it is about, and what those were that went and that it stood behind."""
    line: _Line = field(init=False)
    next: _Place | None = None
    """The first that stands behind it."""
    below: set[_Place] = field(default_factory=set)
    """Those it is next to."""
    holding: int = 0
    """How many of those stand still, or behind one that does."""

    @property
    def holds(self) -> bool:
        """Whether it holds up who stands behind it."""
        return self.still or self.holding > 0


class Precedence:
    """The order of those that wait in one partition."""

    def __init__(self) -> None:
        self._places: dict[int, _Place] = {}
        self._first: dict[bytes, list[_Estate]] = {}
        """By thing, the first of each chain about it, by their estates: those of records that went lead to their heirs.
        There are several where a record that waits brings the thing into being."""
        self._parted: set[bytes] = set()
        """The things of several chains: whoever comes to be about one may come behind the first of another."""

    def before(self, things: Iterable[bytes], at: int) -> list[int]:
        """Whom a record at a place, about things that it does not bring into being, would stand behind: of each line
        the last; those before these follow."""
        found = set()
        for thing in things:
            for first in self._firsts(thing):
                if first.at < at:
                    found.add(_last_before(first, at).at)
        return sorted(found)

    def held(self, at: int) -> bool:
        """Whether one that a record stands behind stands still."""
        return self._places[at].holding > 0

    def behind(self, at: int) -> Iterator[int]:
        """All that stand behind a record, in order: each also behind those before it."""
        place = self._places[at].next
        while place is not None:
            yield place.at
            place = place.next

    # ---- changes ---------------------------------------------------------------------------------

    def enter(self, at: int, things: frozenset[bytes], makes: frozenset[bytes], still: bool) -> None:
        """A record takes its place, also between others. makes: of its things, those it brings into being."""
        place = self._places[at] = _Place(at, set(makes), still, _Estate(things))
        place.estate.place, place.line = place, _Line(place)
        self._stand(place, things)

    def called(self, at: int) -> None:
        """A record stands still no more."""
        place = self._places[at]
        held = place.holds
        place.still = False
        if held and not place.holds:
            _hold(place.next, -1)

    def leave(self, at: int) -> int | None:
        """A record goes. Returns the place of its heir, the first behind it, which is about its things from now on; or
        None, where nobody is."""
        place = self._places.pop(at)
        heir, below = place.next, list(place.below)
        _move(place, None)
        for one in below:
            _move(one, heir)
        if heir is None:
            self._forget(place, below)
            return None
        held = place.estate.things & heir.makes
        heir.makes -= held
        fewer, more = sorted((heir.estate, place.estate), key=lambda estate: len(estate.things))
        fewer.join(more)
        more.place, heir.estate = heir, more
        self._stand(heir, held | (heir.estate.things & self._parted))
        return heir.at

    # ---- how -------------------------------------------------------------------------------------

    def _firsts(self, thing: bytes) -> list[_Place]:
        there = self._first.get(thing)
        if there is None:
            return []
        found = list(dict.fromkeys(_living(estate).place for estate in there))
        self._begin(thing, found)
        return found

    def _begin(self, thing: bytes, firsts: list[_Place]) -> None:
        """With whom the chains about a thing begin."""
        if firsts:
            self._first[thing] = [first.estate for first in firsts]
        else:
            self._first.pop(thing, None)
        if len(firsts) > 1:
            self._parted.add(thing)
        else:
            self._parted.discard(thing)

    def _stand(self, place: _Place, things: Iterable[bytes]) -> None:
        """A record stands behind those before it that are about these things, and those after it behind it."""
        lower: set[_Place] = set()
        upper: set[_Place] = set()
        for thing in things:
            makes, firsts, after = thing in place.makes, self._firsts(thing), []
            for first in firsts:
                if first.at < place.at:
                    after.append(first)
                    if not makes:
                        lower.add(_last_before(first, place.at))
                elif thing in first.makes:
                    after.append(first)
                elif first is not place:
                    upper.add(first)
            if makes or not any(first.at < place.at for first in firsts):
                after.append(place)
            if place in after:
                self._begin(thing, after)
        for one in lower:
            _link(one, place)
        for one in upper:
            _link(place, one)

    def _forget(self, place: _Place, below: list[_Place]) -> None:
        """The last of a line went. Those that stood only before it are lines of their own."""
        for thing in place.estate.things:
            self._begin(thing, [first for first in self._firsts(thing) if first is not place])
        if len(below) == 1:
            _line(place).last = below[0]
            return
        for one in below:
            line, left = _Line(one), [one]
            while left:
                found = left.pop()
                found.line = line
                left += found.below


def _living(estate: _Estate) -> _Estate:
    """What an estate is part of now."""
    while estate.joined is not None:
        if estate.joined.joined is not None:
            estate.joined = estate.joined.joined
        estate = estate.joined
    return estate


def _line(place: _Place) -> _Line:
    line = place.line
    while line.joined is not None:
        if line.joined.joined is not None:
            line.joined = line.joined.joined
        line = line.joined
    place.line = line
    return line


def _last_before(place: _Place, at: int) -> _Place:
    """The last before `at` of a record and those behind it."""
    last = _line(place).last
    if last.at < at:
        return last
    while place.next is not None and place.next.at < at:
        place = place.next
    return place


def _link(lower: _Place, upper: _Place) -> None:
    """Whoever stands behind `lower` from `upper` on stands behind `upper`, too: two paths become one, by place."""
    _join(_line(lower), _line(upper))
    while lower is not upper:
        after = lower.next
        if after is not None and after.at <= upper.at:
            lower = after
            continue
        _move(lower, upper)
        if after is None:
            return
        lower, upper = upper, after


def _join(one: _Line, other: _Line) -> None:
    if one is other:
        return
    if one.size < other.size:
        one, other = other, one
    other.joined = one
    one.size += other.size
    if other.last.at > one.last.at:
        one.last = other.last


def _move(place: _Place, upper: _Place | None) -> None:
    """`upper` is the first behind a record."""
    if place.next is not None:
        place.next.below.remove(place)
        if place.holds:
            _hold(place.next, -1)
    place.next = upper
    if upper is not None:
        upper.below.add(place)
        if place.holds:
            _hold(upper, 1)


def _hold(place: _Place | None, by: int) -> None:
    """One more below a record holds it up, or one less; and so on as far as that changes anything."""
    while place is not None:
        held = place.holds
        place.holding += by
        if place.holds == held:
            return
        place = place.next
