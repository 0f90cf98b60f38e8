"""Loads pipelines from their YAML files. A wrong file names every mistake with file, line, field and what is
allowed; nothing is guessed and no key is ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas.packs import PACKS, load_pack
from topology.model import HttpPartner, ObjectStorePartner, Partner, Pipeline, Profile, RulesBroken
from topology.yaml_file import (
    Location,
    Mistake,
    TopologyError,
    YamlFile,
    did_you_mean,
    expand,
    read_yaml,
)

__all__ = ["Mistake", "TopologyError", "load_all", "load_pipeline", "pipeline_names", "topology_folder"]

PACKAGED = Path(__file__).parent / "pipelines"
PARTNERS = "partners.yaml"
PARTNER_KINDS: dict[str, type[BaseModel]] = {"object-store": ObjectStorePartner, "http": HttpPartner}
PARTNER: TypeAdapter[Partner] = TypeAdapter(Partner)


def topology_folder() -> Path:
    """The folder of pipelines: WAYBILL_TOPOLOGY, else the one that is shipped."""
    named = os.environ.get("WAYBILL_TOPOLOGY")
    return Path(named) if named else PACKAGED


def pipeline_names(folder: Path | None = None) -> list[str]:
    """Names of the pipelines in a folder, sorted. Raises TopologyError if it is no folder."""
    folder = folder or topology_folder()
    if not folder.is_dir():
        raise TopologyError([Mistake(str(folder), 0, "", "no such folder; allowed: a folder of NAME.yaml files")])
    return sorted(path.stem for path in folder.glob("*.yaml") if path.name != PARTNERS)


def load_all(folder: Path | None = None) -> dict[str, Pipeline]:
    """Every pipeline of a folder, by name. Raises TopologyError with the mistakes of all files, and for two
    pipelines that would write the same topics."""
    folder = folder or topology_folder()
    pipelines: dict[str, Pipeline] = {}
    mistakes: list[Mistake] = []
    owners: dict[str, str] = {}
    for name in pipeline_names(folder):
        try:
            pipeline = load_pipeline(name, folder=folder)
        except TopologyError as error:
            mistakes += error.mistakes
            continue
        file = str(folder / f"{name}.yaml")
        if other := owners.get(pipeline.topic("validated")):
            what = f"writes the same topics as {other}; allowed: another `pipeline`, `application` or `region`"
            mistakes.append(Mistake(file, 0, "pipeline", what))
        owners[pipeline.topic("validated")] = file
        pipelines[name] = pipeline
    if mistakes:
        raise TopologyError(mistakes)
    return pipelines


def load_pipeline(name_or_path: str, *, folder: Path | None = None) -> Pipeline:
    """One pipeline, by its name in a folder (default: `topology_folder()`) or by the path of its file.

    `partners.yaml` is looked for beside the file, then one folder up. Raises TopologyError with every mistake.
    """
    path = _find(name_or_path, folder)
    source = read_yaml(path)
    data, mistakes = expand(source.data, (), source, os.environ)
    if "partners" in data:
        mistakes.append(source.mistake(("partners",), f"unknown key; allowed: declare partners in {PARTNERS}"))
    partners, wrong = _partners(source, data, path.parent)
    mistakes += wrong + _pack_mistakes(source, data)
    data["partners"] = partners
    try:
        pipeline = Pipeline.model_validate(data)
    except ValidationError as error:
        mistakes += _explain(error, source, Pipeline, ())
    if mistakes:
        raise TopologyError(mistakes)
    return pipeline


def _find(name_or_path: str, folder: Path | None) -> Path:
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    folder = folder or topology_folder()
    names = pipeline_names(folder)
    if name_or_path not in names:
        raise TopologyError(
            [Mistake(str(folder), 0, "", f"no pipeline {name_or_path!r}{did_you_mean(name_or_path, names)}")]
        )
    return folder / f"{name_or_path}.yaml"


def _partner_uses(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Every partner a pipeline names and where; values of a wrong type are left to the model."""
    partner = data.get("partner")
    if isinstance(partner, dict):
        uses: list[tuple[Location, Any]] = [(("partner", "default"), partner.get("default"))]
        if isinstance(partner.get("map"), dict):
            uses += [(("partner", "map", value), name) for value, name in partner["map"].items()]
    else:
        uses = [(("partner",), partner)]
    yield from ((at, name) for at, name in uses if isinstance(name, str))


def _partners(source: YamlFile, data: Mapping[str, Any], beside: Path) -> tuple[dict[str, Partner], list[Mistake]]:
    """The declared partners this pipeline names. Others are not looked at: their variables may not be set here."""
    uses = list(_partner_uses(data))
    if not uses:
        return {}, []
    places = [beside / PARTNERS, beside.parent / PARTNERS]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return {}, [source.mistake(uses[0][0], f"no {PARTNERS} found; allowed: {' or '.join(map(str, places))}")]
    try:
        declared = read_yaml(file)
    except TopologyError as error:
        return {}, list(error.mistakes)
    partners: dict[str, Partner] = {}
    mistakes: list[Mistake] = []
    for at, name in uses:
        if name not in declared.data:
            what = f"partner {name!r} is not declared in {file}{did_you_mean(name, sorted(declared.data))}"
            mistakes.append(source.mistake(at, what))
        elif name not in partners:
            value, wrong = expand(declared.data[name], (name,), declared, os.environ)
            mistakes += wrong
            try:
                partners[name] = PARTNER.validate_python(value)
            except ValidationError as error:
                kind = value.get("kind") if isinstance(value, dict) else None
                mistakes += _explain(error, declared, PARTNER_KINDS.get(str(kind)), (name,))
    return partners, mistakes


def _pack_mistakes(source: YamlFile, data: Mapping[str, Any]) -> list[Mistake]:
    """Builds the pack with its options and checks the names of record fields against it."""
    name, options, profile = data.get("pack"), data.get("options", {}), data.get("profile", "strict")
    if not (isinstance(name, str) and isinstance(options, dict) and profile in get_args(Profile)):
        return []  # the model says so
    if name not in PACKS:
        return [source.mistake(("pack",), f"no pack {name!r}{did_you_mean(name, sorted(PACKS))}")]
    try:
        pack = load_pack(name, options, profile)
    except ValidationError as error:
        return _explain(error, source, None, ("options",))
    used: list[tuple[Location, Any]] = [(("ordering_by",), data.get("ordering_by"))]
    for field in ("partition_by", "idempotency", "group_by"):
        if isinstance(data.get(field), list):
            used += [((field, index), item) for index, item in enumerate(data[field])]
    if isinstance(data.get("partner"), dict):
        used.append((("partner", "by"), data["partner"].get("by")))
    return [
        source.mistake(at, f"pack {name} has no field {item!r}{did_you_mean(item, sorted(pack.fields))}")
        for at, item in used
        if isinstance(item, str) and item not in pack.fields
    ]


# What pydantic says, in the words of the file.


def _explain(
    error: ValidationError, source: YamlFile, model: type[BaseModel] | None, prefix: Location
) -> list[Mistake]:
    """Mistakes for the errors of one model, which was built from the value at `prefix`."""
    mistakes = []
    for detail in error.errors(include_url=False):
        broken = detail.get("ctx", {}).get("error")
        if isinstance(broken, RulesBroken):
            mistakes += [source.mistake((*prefix, *at), what) for at, what in broken.rules]
            continue
        at = _location(detail, source, prefix)
        if at is not None:
            mistakes.append(source.mistake(at, _words(detail, at, source, model, prefix)))
    return mistakes


def _at(data: Any, location: Location) -> Any:
    """The value at a location; None where the file has none."""
    for part in location:
        inside = isinstance(data, dict) and part in data
        data = data[part] if inside or (isinstance(data, list) and isinstance(part, int)) else None
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
    """What is wrong and what is allowed. Values are shown as the file has them, so that no secret is printed."""
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        owner = _owner(model, at[len(prefix) : -1])
        names = [name for name in owner.model_fields if name != "partners"] if owner else []
        return "unknown key" + (did_you_mean(at[-1], names) if names else "; allowed: see the pack's options")
    owner = _owner(model, at[len(prefix) : -1])
    field = owner.model_fields.get(str(at[-1])) if owner and at else None
    about = f" ({field.description})" if field and field.description else ""
    if kind == "missing":
        return f"is required{about}; allowed: {_allowed(field)}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        value = _at(source.data, at)
        given = value.get("kind") if isinstance(value, dict) else None
        what = f"`kind: {given}` is not known" if given is not None else "has no `kind`"
        return what + did_you_mean(given, PARTNER_KINDS)
    given = _at(source.data, at)
    shown = (
        f"{given!r}"
        if isinstance(given, str | int | float | None)
        else "a list"
        if isinstance(given, list)
        else "a mapping"
    )
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", str(ctx["expected"]))
        return f"{shown} is not known{about}{did_you_mean(given, choices)}"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return f"{message}, not {shown}{about}; allowed: {_allowed(field)}"


def _owner(model: type[BaseModel] | None, location: Location) -> type[BaseModel] | None:
    """The model that a location inside `model` belongs to."""
    for part in location:
        if model is None or part not in model.model_fields:
            return None
        model = _model_in(model.model_fields[str(part)].annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


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
    inner = _model_in(field.annotation)
    if inner:
        return f"a mapping of {', '.join(inner.model_fields)}"
    name = str(getattr(field.annotation, "__name__", field.annotation))
    kinds = {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "true, false",
        "list": "a list",
        "dict": "a mapping",
    }
    return kinds.get(name, "a value of that type")
