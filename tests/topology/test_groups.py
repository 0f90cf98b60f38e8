"""Groups: two records share one only if they agree in every field of group_by, whatever stands in it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from topology.model import Pipeline
from topology.sections import PartnerRule

VALUES = st.lists(st.text("a|\\", min_size=1, max_size=4), min_size=2, max_size=2)


def pipeline() -> Pipeline:
    return Pipeline(
        pipeline="p",
        pack="any",
        partition_by=["a"],
        idempotency=["a"],
        group_by=["a", "b"],
        partner=PartnerRule(by="b", map={"a": "clinic"}, default="lake"),
    )


@given(VALUES, VALUES)
@example(["a|a", "l"], ["a", "a|l"])
@example(["a\\", "|a"], ["a\\|", "a"])
def test_other_values_are_another_group_and_a_group_has_one_partner(one: list[str], other: list[str]) -> None:
    made = pipeline()
    fields = [dict(zip("ab", values, strict=True)) for values in (one, other)]
    groups = [made.group_of(each) for each in fields]
    assert (groups[0] == groups[1]) == (one == other)
    if groups[0] == groups[1]:
        assert made.partner_of(fields[0]) == made.partner_of(fields[1])


def test_plain_values_are_joined_as_they_are() -> None:
    assert pipeline().group_of({"a": "fridge-07", "b": "vaccine"}) == "fridge-07|vaccine"
