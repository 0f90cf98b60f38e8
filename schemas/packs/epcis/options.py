"""The options of the EPCIS pack, as frozen models."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field, PrivateAttr, field_validator, model_validator

from schemas.gs1.characters import has_check_digit, is_digits
from schemas.packs.epcis.official import Official
from schemas.profiles import RecordProfile
from schemas.settings import Settings, Whole
from schemas.wording import RulesBroken


class Jurisdiction(Settings):
    """A name for the receivers that one law binds."""

    match: str = Field(min_length=1, description="glob on the receiver: a GLN, or the identifier it was named by")
    name: str = Field(min_length=1, max_length=64, description="value of the field `jurisdiction`")


class Feed(Settings):
    """A partner's feed with a profile of its own."""

    match: str = Field(min_length=1, description="glob on waybill-source (whole path or file name) or waybill-site")
    profile: RecordProfile = Field(description="how strict validation of it is")


class OfficialSchemas(Settings):
    """GS1's own schema files for an extra pass; loading fails where one is missing or no schema."""

    folder: str = Field(min_length=1, description="holds GS1's XSDs of 1.2 and 2.0 and the JSON schema, at any depth")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="digest that the files must have; `waybill config` shows it"
    )
    max_envelope_bytes: Whole = Field(
        16 * 2**20, ge=1024, description="largest XML envelope, its master data included; a larger one is refused"
    )

    _loaded: Official = PrivateAttr()

    @property
    def loaded(self) -> Official:
        """The pass with the files as they were found."""
        return self._loaded

    @model_validator(mode="after")
    def _loads(self) -> OfficialSchemas:
        self._loaded = Official(Path(self.folder), self.max_envelope_bytes)
        found = self._loaded.files.digest
        if self.sha256 not in (None, found):
            raise ValueError(f"the files in {self.folder} have the digest {found}, not the one of `sha256`")
        return self


class Options(Settings):
    """The pack's part of a pipeline file."""

    partners: tuple[str, ...] = Field(
        (), description="GLNs of the known trading partners; none: every sender and receiver is taken"
    )
    profiles: tuple[Feed, ...] = Field(
        (), description="of partners' feeds; the first that matches is used, else the pipeline's `profile`"
    )
    jurisdictions: tuple[Jurisdiction, ...] = Field((), description="the first that matches is used; else `none`")
    product_data: bool = Field(
        True,
        description="whether commissioning names lot and expiry, and shipping both parties and a transaction",
    )
    dscsa: bool = Field(
        False,
        description="whether a shipment carries the transaction information and statement of US law, down to the "
        "product identifier of each item, between trading partners of the list `waybill master` keeps",
    )
    max_file_items: Whole = Field(
        500_000,
        ge=1,
        description="with `dscsa`: items that a document mentions, or that its shipments hold, at most",
    )
    cascade: bool = Field(
        True, description="with `items`: whether what is decommissioned takes along what is packed in it"
    )
    official_schemas: OfficialSchemas | None = Field(
        None, description="an extra pass with the official schemas; needs the extra `official-schemas`"
    )
    max_bytes: Whole = Field(256 * 2**20, ge=1024, description="largest submission")
    max_event_bytes: Whole = Field(4 * 2**20, ge=1024, description="largest event, as it was sent")
    max_items: Whole = Field(20_000, ge=1, description="identifiers in one event")
    max_depth: Whole = Field(64, ge=8, le=200, description="deepest nesting of elements or of JSON")

    @field_validator("partners")
    @classmethod
    def _glns(cls, partners: tuple[str, ...]) -> tuple[str, ...]:
        for gln in partners:
            if len(gln) != 13 or not is_digits(gln) or not has_check_digit(gln):
                raise ValueError(f"{gln!r} is no GLN: 13 digits, the last one the check digit")
        return partners

    @model_validator(mode="after")
    def _business(self) -> Options:
        wrong = [place for place, feed in enumerate(self.profiles) if self.dscsa and feed.profile == "schema"]
        if wrong:
            what = "must be strict or lenient with dscsa, which is a business rule: `schema` has none"
            raise RulesBroken([(("profiles", place, "profile"), what) for place in wrong])
        return self

    def jurisdiction_of(self, receiver: str) -> str:
        """The name of the receiver's jurisdiction; `none` where no rule matches."""
        return next((rule.name for rule in self.jurisdictions if fnmatchcase(receiver, rule.match)), "none")
