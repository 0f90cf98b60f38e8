"""Owns whether the form in which a record's partner takes batches can say what the record says.

It is asked in validate, where the partner is decided (VA1): what would be found when the body is made would cost a
whole batch its delivery.
"""

from __future__ import annotations

from schemas import errors
from schemas.pack import CANONICAL_TYPE, Record, Refusal
from schemas.packs import document_checks
from topology.model import Pipeline
from topology.partner import DOCUMENT_FORMS


class Fitting:
    """The checks of a pipeline's partners."""

    def __init__(self, pipeline: Pipeline, pack: str) -> None:
        forms = {name: getattr(partner, "body", None) for name, partner in pipeline.partners.items()}
        checks = document_checks(pack) if DOCUMENT_FORMS.intersection(forms.values()) else {}
        self._checks = {name: checks[form] for name, form in forms.items() if form is not None and form in checks}
        self._partner_of = pipeline.partner_of

    def __bool__(self) -> bool:
        """Whether any partner takes a form that cannot say everything."""
        return bool(self._checks)

    def judge(self, item: Record | Refusal) -> Record | Refusal:
        """A record with warnings of what its document is sent without; refused, with its payload as a submission of its
        own, where no such document can be made of it."""
        if not self._checks or isinstance(item, Refusal):
            return item
        check = self._checks.get(self._partner_of(item.fields))
        found = tuple(check(item.payload)) if check else ()
        verdict = errors.judge(found)
        if verdict is None:
            return item
        if verdict.refused:
            return Refusal(found, item.payload, CANONICAL_TYPE, canonical=True)
        return item._replace(warnings=(*item.warnings, *found))
