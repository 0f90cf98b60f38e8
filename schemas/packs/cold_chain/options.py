"""The options of the cold-chain pack: product limits and what is known about sources, as frozen models.

Default limits: USP <659> storage ranges (freezer, refrigerator, cool, controlled cold, controlled room), the
-90/-60 setting read from real ultra-low loggers, liquid nitrogen vapour at or below -150 °C. Default alarms: the WHO
vaccine setting (-0.5 °C for 60 min, +8 °C for 600 min) and cumulative 8 °C/60 min, 2 °C/40 min for refrigerators.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.packs.cold_chain.times import parse_offset
from schemas.packs.cold_chain.units import UNITS
from schemas.settings import Settings, Whole
from schemas.wording import RulesBroken, did_you_mean

Celsius = Annotated[Decimal, Field(ge=-274, le=1000, allow_inf_nan=False)]


class Alarm(Settings):
    """Threshold and duration. `single`: one excursion lasts that long; `cumulative`: all of them together."""

    side: Literal["low", "high"] = Field(description="alarm below or above the limit; the limit itself is allowed")
    limit: Celsius = Field(description="°C")
    minutes: Whole = Field(ge=0, description="duration that triggers; 0: at once")
    mode: Literal["single", "cumulative"] = "single"


class Product(Settings):
    """Temperature limits of a kind of goods. None: no limit on that side."""

    low: Celsius | None = Field(None, description="°C; below it is an excursion")
    high: Celsius | None = Field(None, description="°C; above it is an excursion")
    allowed_low: Celsius | None = Field(None, description="°C; excursions down to here may be tolerated")
    allowed_high: Celsius | None = Field(None, description="°C; excursions up to here may be tolerated")
    mkt_limit: Celsius | None = Field(None, description="°C; the mean kinetic temperature may not exceed it")
    bounds: tuple[Celsius, Celsius] = Field(
        (Decimal(-100), Decimal(100)), description="°C; a reading outside is refused as implausible"
    )
    alarms: tuple[Alarm, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, low, high in (("low", self.low, self.high), ("bounds", *self.bounds)):
            if low is not None and high is not None and low > high:
                raise RulesBroken([((name,), f"{low} is above the upper limit {high}; allowed: at most that")])
        return self


def _alarm(side: Literal["low", "high"], limit: str, minutes: int, mode: Any = "single") -> Alarm:
    return Alarm(side=side, limit=Decimal(limit), minutes=minutes, mode=mode)


def _product(low: str | None, high: str | None, *alarms: Alarm, **more: Any) -> Product:
    return Product.model_validate({"low": low, "high": high, "alarms": alarms, **more})


def _limited(low: str | None, high: str, **more: Any) -> Product:
    """Alarms where an excursion beyond a limit lasts an hour."""
    below = [_alarm("low", low, 60)] if low is not None else []
    return _product(low, high, *below, _alarm("high", high, 60), **more)


def _controlled(low: str, high: str, allowed: tuple[str, str], spike: str, day: str) -> Product:
    """USP <659>: excursions within `allowed` are tolerated, none beyond it below and `spike` above, and none above
    `day` for 24 h; the mean kinetic temperature stays within."""
    alarms = _alarm("low", allowed[0], 0), _alarm("high", spike, 0), _alarm("high", day, 1440)
    return _product(low, high, *alarms, allowed_low=allowed[0], allowed_high=allowed[1], mkt_limit=high)


UNSPECIFIED = "unspecified"
PRODUCTS: Mapping[str, Product] = {
    UNSPECIFIED: Product(),
    "freezer": _limited("-25", "-10"),
    "refrigerator": _product(
        "2",
        "8",
        _alarm("low", "-0.5", 60),
        _alarm("high", "8", 600),
        _alarm("low", "2", 40, "cumulative"),
        _alarm("high", "8", 60, "cumulative"),
    ),
    "cool": _limited("8", "15"),
    "controlled-cold": _controlled("2", "8", allowed=("2", "15"), spike="15", day="8"),
    "controlled-room": _controlled("20", "25", allowed=("15", "30"), spike="40", day="30"),
    "ultra-low": _limited("-90", "-60"),
    "vapour": _limited(None, "-150", bounds=("-200", "100")),
}


class Source(Settings):
    """What is known about a source that its records do not say themselves. The first rule that matches is used.

    A statement in the record or file wins over the rule."""

    match: str = Field(min_length=1, description="glob on waybill-source (whole path or file name) or waybill-site")
    sensor_id: str | None = Field(None, min_length=4, max_length=64, description="of every record of this source")
    unit: str | None = Field(None, description="C, F, K or UN/ECE CEL, FAH, KEL")
    utc_offset: str | None = Field(None, description="of times without one: Z or a form like -05:00")
    timestamp_format: str | None = Field(None, description="strptime pattern, where times are not ISO 8601")
    product: str | None = Field(None, description="name of the limits")
    zone_id: str | None = Field(None, pattern=r"^[A-Z0-9\-]+$", description="storage zone")
    logging_interval: Whole | None = Field(None, ge=1, le=86_400, description="seconds between readings")
    sentinels: tuple[Decimal, ...] = Field((), description="values as sent that mean a sensor fault, e.g. -127 and 85")

    @field_validator("unit")
    @classmethod
    def _unit(cls, unit: str | None) -> str | None:
        if unit is not None and unit not in UNITS:
            raise ValueError(f"{unit!r} is no unit{did_you_mean(unit, UNITS)}")
        return unit

    @field_validator("utc_offset")
    @classmethod
    def _offset(cls, text: str | None) -> str | None:
        if text is not None:
            parse_offset(text)
        return text

    @field_validator("timestamp_format")
    @classmethod
    def _format(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                # Only a text that fits tells a wrong pattern from a wrong text, and strftime makes one.
                made = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(pattern)
                datetime.strptime(made, pattern)  # noqa: DTZ007  # only whether it parses is asked
            except (ValueError, re.error) as wrong:
                raise ValueError(f"{pattern!r} is no strptime pattern: {wrong}") from None
        return pattern


NO_SOURCE = Source(match="*")


class Options(Settings):
    """The pack's part of a pipeline file."""

    products: Mapping[str, Product] = Field(
        default_factory=dict, description="added to, or replacing, the shipped ones"
    )
    default_product: str = Field(UNSPECIFIED, description="of records whose product nobody names")
    sources: tuple[Source, ...] = ()
    activation_energy: Decimal = Field(Decimal("83.144"), gt=0, le=1000, description="ΔH of the MKT, kJ/mol")
    stuck_readings: Whole = Field(30, ge=2, description="equal readings in a row that are flagged as stuck")
    jump_c: Celsius = Field(Decimal(10), description="°C between neighbouring readings above which a jump is flagged")
    max_bytes: Whole = Field(32 * 2**20, ge=1024, description="largest submission")
    max_depth: Whole = Field(16, ge=2, le=200, description="deepest JSON nesting")

    @model_validator(mode="after")
    def _known(self) -> Self:
        named: list[tuple[tuple[str | int, ...], str]] = [(("default_product",), self.default_product)]
        named += [(("sources", i, "product"), rule.product) for i, rule in enumerate(self.sources) if rule.product]
        known = sorted(self.catalogue())
        wrong = [(at, f"{name!r} has no limits{did_you_mean(name, known)}") for at, name in named if name not in known]
        if wrong:
            raise RulesBroken(wrong)
        return self

    def catalogue(self) -> dict[str, Product]:
        """Every product in force by name."""
        return {**PRODUCTS, **self.products}
