"""Loads pipelines from their YAML files. A wrong file names every mistake with file, line, field and what is
allowed; nothing is guessed and no key is ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schemas.pack import Pack
from schemas.packs import PACKS, documents, load_pack, options_model
from schemas.profiles import PROFILES, STATEFUL
from schemas.state import state_rules
from schemas.wording import did_you_mean
from topology.explain import PARTNER_KINDS, explain, mistake
from topology.lanes import lane_named, lanes_of
from topology.model import Pipeline, has_one_partition, items_of, rules_broken
from topology.partner import DOCUMENT_FORMS, Partner
from topology.sections import is_name
from topology.source import SOURCE_KINDS, Source
from topology.yaml_file import Location, Mistake, TopologyError, YamlFile, expand, read_yaml

__all__ = [
    "Mistake",
    "TopologyError",
    "find_pipeline",
    "load_all",
    "load_partners",
    "load_pipeline",
    "load_source",
    "load_sources",
    "pipeline_names",
    "topology_folder",
]

PACKAGED = Path(__file__).parent / "pipelines"
PARTNERS = "partners.yaml"
SOURCES = "sources.yaml"
NO_NAME = "is no name; allowed: small letters, digits and ._-"
PARTNER: TypeAdapter[Partner] = TypeAdapter(Partner)


def topology_folder() -> Path:
    """The folder of pipelines: WAYBILL_TOPOLOGY, else the one that is shipped."""
    named = os.environ.get("WAYBILL_TOPOLOGY")
    return Path(named) if named else PACKAGED


def pipeline_names(folder: Path | None = None) -> list[str]:
    """File names of the pipelines in a folder, without `.yaml`, sorted. Raises TopologyError if it is no folder."""
    folder = folder or topology_folder()
    if not folder.is_dir():
        raise TopologyError([Mistake(str(folder), 0, "", "no such folder; allowed: a folder of NAME.yaml files")])
    return sorted(path.stem for path in folder.glob("*.yaml") if path.name not in (PARTNERS, SOURCES))


def load_all(folder: Path | None = None) -> dict[str, Pipeline]:
    """Every pipeline of a folder, by file name without `.yaml`. Raises TopologyError with the mistakes of all files,
    and for two pipelines that would write the same topics."""
    folder = folder or topology_folder()
    pipelines: dict[str, Pipeline] = {}
    mistakes: list[Mistake] = []
    owners: dict[str, str] = {}
    for name in pipeline_names(folder):
        try:
            pipeline = load_pipeline(str(folder / f"{name}.yaml"))
        except TopologyError as error:
            mistakes += error.mistakes
            continue
        file = str(folder / f"{name}.yaml")
        written = [lane.topic("validated") for lane in lanes_of(pipeline).values()]
        if other := next((owners[topic] for topic in written if topic in owners), None):
            what = f"writes the same topics as {other}; allowed: another `pipeline`, `application` or `region`"
            mistakes.append(Mistake(file, 0, "pipeline", what))
        owners |= dict.fromkeys(written, file)
        pipelines[name] = pipeline
    if mistakes:
        raise TopologyError(mistakes)
    return pipelines


def find_pipeline(name_or_path: str, folder: Path | None = None) -> Path:
    """The file of a pipeline, given as a path, or by its name in a folder (default: `topology_folder()`): its
    `pipeline:`, or its file name without `.yaml`, which need not be the same. Raises TopologyError."""
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    named = " (the folder that WAYBILL_TOPOLOGY names)" if folder is None and os.environ.get("WAYBILL_TOPOLOGY") else ""
    folder = folder or topology_folder()
    declared = {name: _declared(folder / f"{name}.yaml") for name in pipeline_names(folder)}
    if declared.get(name_or_path) == name_or_path:
        return folder / f"{name_or_path}.yaml"
    found = [file for file, name in declared.items() if name_or_path in (file, name)]
    if len(found) == 1:
        return folder / f"{found[0]}.yaml"
    if found:
        which = " and ".join(f"{file}.yaml (`pipeline: {declared[file]}`)" for file in found)
        what = f"{name_or_path!r} may mean {which}; allowed: the path of the file"
    else:
        names = sorted({name or file for file, name in declared.items()} | declared.keys())
        what = f"no pipeline {name_or_path!r}{did_you_mean(name_or_path, names)}{named}"
    raise TopologyError([Mistake(str(folder), 0, "", what)])


def _declared(path: Path) -> str | None:
    """What a file says after `pipeline:`; None where it cannot be told, which loading it will explain."""
    try:
        source = read_yaml(path)
    except TopologyError:
        return None
    name, mistakes = expand(source.data.get("pipeline"), ("pipeline",), source, os.environ)
    return name if isinstance(name, str) and not mistakes else None


def load_pipeline(name_or_path: str, *, folder: Path | None = None) -> Pipeline:
    """One pipeline, as `find_pipeline` finds it.

    `partners.yaml` is looked for beside the file, then one folder up. Raises TopologyError with every mistake.
    """
    path = find_pipeline(name_or_path, folder)
    source = read_yaml(path)
    data, mistakes = expand(source.data, (), source, os.environ)
    if "partners" in data:
        mistakes.append(source.mistake(("partners",), f"unknown key; allowed: declare partners in {PARTNERS}"))
    partners, wrong = _partners(source, data, path.parent)
    mistakes += wrong + _pack_mistakes(source, data) + _body_mistakes(source, data, partners)
    data["partners"] = partners
    try:
        pipeline = Pipeline.model_validate(data)
    except ValidationError as error:
        mistakes += explain(error, source, Pipeline, ())
        broken = rules_broken(data, _doubted(error, mistakes))
        mistakes += [mistake(source, at, what) for at, what in broken]
    if mistakes:
        raise TopologyError(mistakes)
    return pipeline


def _doubted(error: ValidationError, mistakes: list[Mistake]) -> frozenset[str]:
    """The fields of a pipeline whose value is not known: those that are wrong or missing, and those that a key which
    there is not may have been meant for."""
    names = {str(detail["loc"][0]) for detail in error.errors(include_url=False) if detail["loc"]}
    names |= {re.split(r"[.\[]", wrong.field)[0] for wrong in mistakes}
    return frozenset(names.union(*(get_close_matches(name, Pipeline.model_fields, n=1) for name in names)))


def load_partners(folder: Path | None = None) -> tuple[Path | None, dict[str, Partner]]:
    """Every partner that a folder's pipelines may name, whether one does or not, by name, and the file that declares
    them; None where there is no such file. Raises TopologyError with the mistakes of all of them."""
    file = _partners_file(folder or topology_folder())
    if file is None:
        return None, {}
    declared = read_yaml(file)
    partners: dict[str, Partner] = {}
    mistakes: list[Mistake] = []
    for name in declared.data:
        if not is_name(name):
            mistakes.append(declared.mistake((name,), NO_NAME))
            continue
        partner, wrong = _partner(declared, name)
        mistakes += wrong
        if partner is not None:
            partners[name] = partner
    if mistakes:
        raise TopologyError(mistakes)
    return file, partners


def load_source(name: str, folder: Path | None = None) -> Source:
    """One source of the folder's `sources.yaml`. Raises TopologyError with every mistake in it; other sources are not
    looked at: their variables may not be set here."""
    return _source(read_yaml((folder or topology_folder()) / SOURCES), name)


def _source(declared: YamlFile, name: str) -> Source:
    if name not in declared.data:
        what = f"source {name!r} is not declared{did_you_mean(name, sorted(declared.data))}"
        raise TopologyError([declared.mistake((), what)])
    if not is_name(name):
        raise TopologyError([declared.mistake((name,), NO_NAME)])
    value, mistakes = expand(declared.data[name], (name,), declared, os.environ)
    kind = value.get("kind") if isinstance(value, dict) else None
    model = SOURCE_KINDS.get(str(kind))
    if model is None:
        what = f"`kind: {kind}` is not known{did_you_mean(kind, sorted(SOURCE_KINDS))}"
        raise TopologyError([*mistakes, declared.mistake((name,), what)])
    try:
        source = model.model_validate(value)
    except ValidationError as error:
        mistakes += explain(error, declared, model, (name,))
    if mistakes:
        raise TopologyError(mistakes)
    return source


def load_sources(folder: Path | None = None) -> dict[str, Source]:
    """Every source of the folder's `sources.yaml`, by name; none where there is no such file. Raises TopologyError with
    the mistakes of all of them, pipelines and lanes that the folder does not have among them."""
    folder = folder or topology_folder()
    if not (folder / SOURCES).is_file():
        return {}
    declared = read_yaml(folder / SOURCES)
    sources: dict[str, Source] = {}
    mistakes: list[Mistake] = []
    for name in declared.data:
        try:
            source = sources[name] = _source(declared, name)
            lane_named(load_pipeline(str(find_pipeline(source.pipeline, folder))), source.lane)
        except TopologyError as error:
            mistakes += error.mistakes if name not in sources else _elsewhere(declared, name, error)
        except ValueError as error:
            mistakes.append(declared.mistake((name, "lane"), str(error)))
    if mistakes:
        raise TopologyError(mistakes)
    return sources


def _elsewhere(declared: YamlFile, name: str, error: TopologyError) -> list[Mistake]:
    """The mistakes of a pipeline's name, at the line that names it."""
    return [declared.mistake((name, "pipeline"), wrong.what) for wrong in error.mistakes]


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
    file = _partners_file(beside)
    if file is None:
        allowed = " or ".join(map(str, _partners_places(beside)))
        return {}, [source.mistake(uses[0][0], f"no {PARTNERS} found; allowed: {allowed}")]
    try:
        declared = read_yaml(file)
    except TopologyError as error:
        return {}, list(error.mistakes)
    partners: dict[str, Partner] = {}
    mistakes: list[Mistake] = []
    for at, name in uses:
        if name not in declared.data:
            what = f"partner {name!r} is not declared in {file}{did_you_mean(name, sorted(declared.data))}"
            mistakes.append(mistake(source, at, what))
        elif name not in partners:
            partner, wrong = _partner(declared, name)
            mistakes += wrong
            if partner is not None:
                partners[name] = partner
    return partners, mistakes


def _partners_places(beside: Path) -> list[Path]:
    return [beside / PARTNERS, beside.parent / PARTNERS]


def _partners_file(beside: Path) -> Path | None:
    """Where the partners of a folder's pipelines are declared."""
    return next((place for place in _partners_places(beside) if place.is_file()), None)


def _partner(declared: YamlFile, name: str) -> tuple[Partner | None, list[Mistake]]:
    value, mistakes = expand(declared.data[name], (name,), declared, os.environ)
    try:
        return PARTNER.validate_python(value), mistakes
    except ValidationError as error:
        kind = value.get("kind") if isinstance(value, dict) else None
        return None, mistakes + explain(error, declared, PARTNER_KINDS.get(str(kind)), (name,))


def _pack_mistakes(source: YamlFile, data: Mapping[str, Any]) -> list[Mistake]:
    """Builds the pack with its options and checks the names of record fields against it."""
    name, options, profile = data.get("pack"), data.get("options", {}), data.get("profile", "strict")
    if not (isinstance(name, str) and isinstance(options, dict) and profile in PROFILES):
        return []  # the model says so
    if name not in PACKS:
        return [mistake(source, ("pack",), f"no pack {name!r}{did_you_mean(name, sorted(PACKS))}")]
    wrong: list[Mistake] = []
    try:
        pack = load_pack(name, options, profile)
    except ValidationError as error:
        wrong = explain(error, source, options_model(name), ("options",))
        faulty = {detail["loc"][0] for detail in error.errors(include_url=False) if detail["loc"]}
        try:  # without them, so that the names of fields are looked at all the same
            pack = load_pack(name, {key: value for key, value in options.items() if key not in faulty}, profile)
        except ValidationError:
            return wrong
    except ValueError as error:
        return [mistake(source, ("profile",), str(error))]
    raw = data.get("raw")
    if pack.parties and isinstance(raw, dict) and raw.get("timestamps", "log-append") != "log-append":
        why = "must be log-append: trading partners are judged by when a record was taken in, and not by its sender"
        wrong.append(mistake(source, ("raw", "timestamps"), why))
    wrong += _item_mistakes(source, data, pack)
    used: list[tuple[Location, Any]] = [(("ordering_by",), data.get("ordering_by"))]
    for field in ("partition_by", "idempotency", "group_by"):
        if isinstance(data.get(field), list):
            used += [((field, index), item) for index, item in enumerate(data[field])]
    if isinstance(data.get("partner"), dict):
        used.append((("partner", "by"), data["partner"].get("by")))
    return wrong + [
        mistake(source, at, f"pack {name} has no field {item!r}{did_you_mean(item, sorted(pack.fields))}")
        for at, item in used
        if isinstance(item, str) and item not in pack.fields
    ]


def _item_mistakes(source: YamlFile, data: Mapping[str, Any], pack: Pack) -> list[Mistake]:
    """State rules that the pack does not have, or that it does not have within such a domain."""
    items = items_of(data)
    if items is None:
        return []
    rules = state_rules(pack)
    if rules is None:
        return [mistake(source, ("items",), f"pack {pack.name} has no state rules; allowed: none")]
    if not isinstance(items, dict):
        return []  # the model says so
    domain, allowed = items.get("domain"), sorted(rules.domains)
    if data.get("profile") == STATEFUL and "domain" not in (data.get("items") or ()):
        if domain in rules.domains or has_one_partition(data):
            return []
        fields = " or ".join(f"[{field}]" for field in allowed)
        what = f"must be {fields} with profile {STATEFUL}, or `partitions` 1: all records about an item lie in one"
        return [mistake(source, ("partition_by",), what)]
    if not isinstance(domain, str) or domain in rules.domains:
        return []  # any other mistake is the model's to name
    what = f"items of pack {pack.name} have no history by {domain!r}{did_you_mean(domain, allowed)}"
    return [mistake(source, ("items", "domain"), what)]


def _body_mistakes(source: YamlFile, data: Mapping[str, Any], partners: Mapping[str, Partner]) -> list[Mistake]:
    """Partners that want a document of another pack."""
    pack = data.get("pack")
    if not isinstance(pack, str) or pack not in PACKS:
        return []  # the model says so
    wanted = [(at, name, partners[name].body) for at, name in _partner_uses(data) if name in partners]
    return [
        mistake(source, at, f"partner {name} wants `body: {form}`, which pack {pack} does not make")
        for at, name, form in wanted
        if form in DOCUMENT_FORMS and form not in documents(pack)
    ]
