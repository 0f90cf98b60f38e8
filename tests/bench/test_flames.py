"""A flame graph shows the samples of one thread, each function as wide as its share."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bench.flames import fold, of_thread, parse, svg

RAW = [
    "thread (0x7f11): validate;run (ours.py:12);work (a.py:3) 60",
    "thread (0x7f11): validate;run (ours.py:12);commit (b.py:9) 40",
    "thread (0x7f22): watchdog validate of x;wait (threading.py:1) 100",
    "thread (0x7f33): MainThread;join (threading.py:1) 100",
]


def test_only_the_stages_own_thread_counts() -> None:
    stacks = of_thread(parse(RAW), "validate")
    assert stacks == {("run (ours.py:12)", "work (a.py:3)"): 60, ("run (ours.py:12)", "commit (b.py:9)"): 40}
    assert parse(fold(stacks).splitlines()) == stacks


def test_a_function_is_as_wide_as_its_share() -> None:
    drawn = ElementTree.fromstring(svg(of_thread(parse(RAW), "validate"), "validate <1>"))
    space = "{http://www.w3.org/2000/svg}"
    boxes = {group[0].text: float(group[1].attrib["width"]) for group in drawn.iter(f"{space}g")}
    assert boxes == {"run (ours.py:12) 100.0%": 1200, "work (a.py:3) 60.0%": 720, "commit (b.py:9) 40.0%": 480}


def test_what_is_no_stack_is_refused() -> None:
    with pytest.raises(ValueError):
        parse(["py-spy says hello"])
