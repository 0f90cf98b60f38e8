"""Mean kinetic temperature: the one temperature whose heat load equals that of a varying one.

T = (ΔH/R) / -ln( Σ wᵢ·exp(-ΔH/(R·Tᵢ)) / Σ wᵢ ), in kelvin, over durations wᵢ; ΔH 83.144 kJ/mol unless told, R 8.3144
J/(mol·K) (USP <1079.2>). Computed by log-sum-exp, so that no term underflows. Sums may be carried on and merged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

GAS = 8.3144
"""J/(mol·K)"""
ENERGY = 83.144
"""Activation energy ΔH, kJ/mol."""
ZERO = 273.15


class HeatLoad(NamedTuple):
    """Σ wᵢ·exp(-ΔH/(R·Tᵢ)) as exp(`peak`)·`scaled`, and Σ wᵢ. Of readings so far; `merge` joins two."""

    peak: float
    scaled: float
    weight: float
    energy: float = ENERGY

    @classmethod
    def of(cls, celsius: Sequence[float], weights: Sequence[float] | None = None, energy: float = ENERGY) -> HeatLoad:
        """From readings in °C (above absolute zero) and their weights, equal ones if None."""
        exponents = [-energy * 1000 / (GAS * (value + ZERO)) for value in celsius]
        shares = [1.0] * len(exponents) if weights is None else list(weights)
        if not exponents:
            return cls(-math.inf, 0.0, 0.0, energy)
        peak = max(exponents)
        scaled = math.fsum(w * math.exp(x - peak) for w, x in zip(shares, exponents, strict=True))
        return cls(peak, scaled, math.fsum(shares), energy)

    def merge(self, other: HeatLoad) -> HeatLoad:
        """Of both sets of readings together. Raises ValueError where the energies differ."""
        if self.energy != other.energy:
            raise ValueError("heat loads of different activation energies cannot be joined")
        peak = max(self.peak, other.peak)
        if peak == -math.inf:
            return self
        scaled = self.scaled * math.exp(self.peak - peak) + other.scaled * math.exp(other.peak - peak)
        return HeatLoad(peak, scaled, self.weight + other.weight, self.energy)

    def celsius(self) -> float | None:
        """The mean kinetic temperature, °C; None without readings."""
        if self.weight <= 0:
            return None
        return self.energy * 1000 / GAS / -(self.peak + math.log(self.scaled / self.weight)) - ZERO


def mkt(celsius: Sequence[float], weights: Sequence[float] | None = None, energy: float = ENERGY) -> float | None:
    """Mean kinetic temperature of readings, °C; None without readings or weight."""
    return HeatLoad.of(celsius, weights, energy).celsius()
