"""Owns what settings in YAML have in common: models that nothing changes after loading, whose numbers are numbers.

pydantic would take `true` for 1, `4.0` for 4 and `"4"` for 4. In a file of settings each of these is a mistake.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError


class FromVariable(str):
    """Text in which a variable of the environment was replaced: the only text that may stand for a number."""

    __slots__ = ()


class Settings(BaseModel):
    """Unknown keys are refused and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _number(value: Any) -> Any:
    if isinstance(value, bool | str) and not isinstance(value, FromVariable):
        raise PydanticCustomError("float_type", "Input should be a valid number")
    return value


def _whole(value: Any) -> Any:
    digits = isinstance(value, FromVariable) and value.strip().lstrip("+-").isdecimal()
    if isinstance(value, bool | str | float) and not digits:
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_whole)]
