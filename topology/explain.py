"""Says what pydantic found wrong in the words of the file: field, value, what is allowed, and the environment variable
a value comes from. Values of fields or variables whose name looks like a secret's are never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas.wording import RulesBroken, did_you_mean
from topology.partner import HttpPartner, KafkaPartner, ObjectStorePartner, PostgresPartner, SftpPartner
from topology.yaml_file import Location, Mistake, YamlFile, expand, is_secret, origin

PARTNER_KINDS: dict[str, type[BaseModel]] = {
    "object-store": ObjectStorePartner,
    "http": HttpPartner,
    "kafka": KafkaPartner,
    "postgres": PostgresPartner,
    "sftp": SftpPartner,
}


def mistake(source: YamlFile, at: Location, what: str) -> Mistake:
    """A mistake at a value, with the variable it comes from."""
    came = origin(_at(source.data, at), os.environ)
    return source.mistake(at, f"{what} (the value comes from {came})" if came else what)


def explain(error: ValidationError, source: YamlFile, model: type[BaseModel] | None, prefix: Location) -> list[Mistake]:
    """Mistakes for the errors of one model, which was built from the value at `prefix`."""
    mistakes = []
    for detail in error.errors(include_url=False):
        broken = detail.get("ctx", {}).get("error")
        at = _location(detail, source, prefix)
        if isinstance(broken, RulesBroken):
            mistakes += [mistake(source, (*(at or prefix), *inner), what) for inner, what in broken.rules]
        elif at is not None:
            mistakes.append(mistake(source, at, _words(detail, at, source, model, prefix)))
    return mistakes


def _at(data: Any, location: Location) -> Any:
    """The value at a location; None where the file has none."""
    for part in location:
        inside = isinstance(data, dict) and part in data
        listed = isinstance(data, list) and isinstance(part, int) and part < len(data)
        data = data[part] if inside or listed else None
    return data


def _location(detail: ErrorDetails, source: YamlFile, prefix: Location) -> Location | None:
    """Where the error is in the file. pydantic's path also names branches of unions, which the file does not;
    None for the branch of a union that was not meant (text was written, a mapping is complained of)."""
    location = prefix
    parts = detail["loc"]
    for place, part in enumerate(parts):
        value = _at(source.data, location)
        last = place == len(parts) - 1
        known = isinstance(value, dict) and part in value
        indexed = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if known or indexed or (last and detail["type"] == "missing"):
            location = (*location, part)
        elif part in ("PartnerRule", "constrained-str") and (part == "PartnerRule") != isinstance(value, dict):
            return None
    return location


def _words(
    detail: ErrorDetails, at: Location, source: YamlFile, model: type[BaseModel] | None, prefix: Location
) -> str:
    """What is wrong and what is allowed."""
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        owner = _owner(model, at[len(prefix) : -1], _at(source.data, prefix))
        # A pipeline's own `partners` is put together out of partners.yaml.
        names = [name for name in owner.model_fields if at[:-1] or name != "partners"] if owner else []
        return "unknown key" + (did_you_mean(at[-1], names) if names else "; allowed: see the pack's options")
    field = _field(model, at[len(prefix) :], _at(source.data, prefix))
    about = f" ({field.description})" if field and field.description else ""
    if kind == "missing":
        return f"is required{about}; allowed: {_allowed(field)}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        value = _at(source.data, at)
        given = value.get("kind") if isinstance(value, dict) else None
        what = f"`kind: {given}` is not known" if given is not None else "has no `kind`"
        return what + did_you_mean(given, _kinds(field.annotation) if field else PARTNER_KINDS)
    given, _ = expand(_at(source.data, at), at, source, os.environ)
    shown = _shown(given, at, source)
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", str(ctx["expected"]))
        return f"{shown} is not known{about}{did_you_mean(given, choices)}"
    if kind == "value_error":
        return str(ctx["error"])  # the model's own words, which say what is allowed
    message = re.sub("^(Input|String|Value) should", "should", detail["msg"])
    return f"{message}, not {shown}{about}; allowed: {_allowed(field)}"


def _shown(value: Any, at: Location, source: YamlFile) -> str:
    """A value in force as a message may show it."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    written = _at(source.data, at)
    if not is_secret(at, written, value):
        return repr(value)
    return repr(written) if written != value else "the value there, which is not shown"


def _field(model: type[BaseModel] | None, location: Location, data: Any) -> FieldInfo | None:
    """The field at a location inside `model`, which was built from `data`; of a place in a list the list's, with what
    is allowed in it."""
    if not location:
        return None
    if not isinstance(location[-1], int):
        owner = _owner(model, location[:-1], data)
        return owner.model_fields.get(location[-1]) if owner else None
    field = _field(model, location[:-1], data)
    if field is None or not get_args(field.annotation):
        return field
    item = FieldInfo.from_annotation(get_args(field.annotation)[0])
    item.description = field.description
    return item


def _owner(model: type[BaseModel] | None, location: Location, data: Any) -> type[BaseModel] | None:
    """The model that a location inside `model` belongs to; of several kinds the one that `data` names."""
    parts = iter(location)
    for part in parts:
        if model is None or part not in model.model_fields:
            return None
        annotation, data = model.model_fields[str(part)].annotation, _at(data, (part,))
        if _holds_many(annotation):
            data = _at(data, (next(parts, ""),))  # a name in the mapping, or a place in the list
        kinds = _kinds(annotation)
        model = kinds.get(str(_at(data, ("kind",)))) if kinds else _model_in(annotation)
    return model


def _holds_many(annotation: Any) -> bool:
    kind = get_origin(annotation)
    return isinstance(kind, type) and issubclass(kind, Mapping | Sequence)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in get_args(annotation) for found in _models_in(arg)]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    return next(iter(_models_in(annotation)), None)


def _kinds(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models that a value may be of, by the word after `kind`."""
    fields = [(model, model.model_fields.get("kind")) for model in _models_in(annotation)]
    return {str(word): model for model, field in fields if field for word in get_args(field.annotation)}


BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def _allowed(field: FieldInfo | None) -> str:
    """The values a field takes, in words."""
    if field is None:
        return "a value of that type"
    words = [
        text.format(getattr(item, name))
        for item in field.metadata
        for name, text in BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    words += [f"text like {item.pattern}" for item in field.metadata if getattr(item, "pattern", None)]
    if words:
        return " and ".join(words)
    if of_kind := _kinds(field.annotation):
        return f"a mapping with `kind` {' or '.join(of_kind)}"
    inner = _model_in(field.annotation)
    if inner:
        return f"a mapping of {', '.join(inner.model_fields)}"
    given = field.annotation
    while get_origin(given) in (Annotated, Union, UnionType):
        given = get_args(given)[0]
    name = str(getattr(given, "__name__", given))
    kinds = {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "Decimal": "a number",
        "bool": "true, false",
        "list": "a list",
        "dict": "a mapping",
    }
    return kinds.get(name, "a value of that type")
