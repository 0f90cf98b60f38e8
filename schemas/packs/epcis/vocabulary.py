"""The Core Business Vocabulary 2.0 as tables, and its spellings: one term is one word however it was written.

A standard term is written bare (`shipping`), as a web URI (`https://ref.gs1.org/cbv/BizStep-shipping`, also under
ns.gs1.org), as a CURIE (`cbv:BizStep-shipping`) or as a URN (`urn:epcglobal:cbv:bizstep:shipping`). A private term is a
URI outside these (CBV 2.0, 7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

WEB = "https://ref.gs1.org/cbv/"
VOC = "https://gs1.org/voc/"
_WEB = re.compile(r"(?:https?://(?:ref|ns)\.gs1\.org/cbv/|cbv:)(\w+)-(.+)")
_URN = re.compile(r"urn:epcglobal:cbv:(\w+):(.+)")
_VOC = re.compile(r"(?:https?://(?:www\.)?gs1\.org/voc/|https?://ref\.gs1\.org/voc/|gs1:)(.+)")


class Vocabulary(NamedTuple):
    """A list of standard terms and how its terms are written in full."""

    name: str
    web: str
    """`BizStep` of `https://ref.gs1.org/cbv/BizStep-shipping`; empty: a term of the GS1 Web Vocabulary."""
    urn: str
    terms: frozenset[str]

    def full(self, term: str) -> str:
        """A bare term as the web URI; what is no bare term as it is."""
        if ":" in term:
            return term
        return f"{WEB}{self.web}-{term}" if self.web else VOC + term

    def full_urn(self, term: str) -> str:
        """A bare term as EPCIS 1.2 writes it, a URN; what is no bare term, or has none, as it is."""
        return term if ":" in term or not self.urn else f"urn:epcglobal:cbv:{self.urn}:{term}"

    def bare(self, text: str) -> str:
        """The bare word of a term of this vocabulary, in whatever spelling; other texts as they are."""
        if ":" not in text:
            return text
        if not self.web:
            found = _VOC.fullmatch(text)
            return found[1] if found else text
        for pattern, kind in ((_WEB, self.web), (_URN, self.urn)):
            found = pattern.fullmatch(text)
            if found and found[1].lower() == kind.lower():
                return found[2]
        return text


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BIZ_STEP = Vocabulary(
    "bizStep", "BizStep", "bizstep",
    _words("""accepting arriving assembling collecting commissioning consigning creating_class_instance cycle_counting
    decommissioning departing destroying disassembling dispensing encoding entering_exiting holding inspecting
    installing killing loading other packing picking receiving removing repackaging repairing replacing reserving
    retail_selling sampling sensor_reporting shipping staging_outbound stock_taking stocking storing transporting
    unloading unpacking void_shipping"""),
)  # fmt: skip
DISPOSITION = Vocabulary(
    "disposition", "Disp", "disp",
    _words("""active container_closed damaged destroyed dispensed disposed encoded expired in_progress in_transit
    inactive no_pedigree_match non_sellable_other partially_dispensed recalled reserved retail_sold returned
    sellable_accessible sellable_not_accessible stolen unknown available completeness_inferred completeness_verified
    conformant container_open mismatch_class mismatch_instance mismatch_quantity needs_replacement non_conformant
    unavailable"""),
)  # fmt: skip
SINCE_2_0 = {
    "bizStep": _words("sampling sensor_reporting"),
    "disposition": _words("""available completeness_inferred completeness_verified conformant container_open
    mismatch_class mismatch_instance mismatch_quantity needs_replacement non_conformant unavailable"""),
}
"""Terms that CBV 1.2 does not have, by field."""
TRANSACTION_TYPE = Vocabulary(
    "bizTransaction type", "BTT", "btt",
    _words("bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt"),
)  # fmt: skip
SOURCE_DESTINATION_TYPE = Vocabulary(
    "source or destination type", "SDT", "sdt", _words("owning_party possessing_party location")
)
ERROR_REASON = Vocabulary("error reason", "ER", "er", _words("did_not_occur incorrect_data"))
COMPONENT = Vocabulary(
    "component", "Comp", "comp",
    _words("""x y z axial_distance azimuth height spherical_radius polar_angle elevation_angle easting northing latitude
    longitude altitude"""),
)  # fmt: skip
MEASUREMENT = Vocabulary(
    "measurement type", "", "",
    _words("""AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Radioactivity Altitude AmountOfSubstance
    AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum AngularVelocity Area Capacitance
    Conductance Conductivity Count Density Dimensionless DoseEquivalent DoseEquivalentRate DynamicViscosity
    ElectricCharge ElectricCurrent ElectricCurrentDensity ElectricFieldStrength Energy Exposure Force Frequency
    Illuminance Inductance Irradiance KinematicViscosity Length LinearMomentum Luminance LuminousFlux LuminousIntensity
    MagneticFlux MagneticFluxDensity MagneticVectorPotential Mass MassConcentration MassFlowRate MassPerAreaTime
    MemoryCapacity MolalityOfSolute MolarEnergy MolarMass MolarVolume Power Pressure RadiantFlux RadiantIntensity
    RelativeHumidity Resistance Resistivity SolidAngle SpecificVolume Speed SurfaceDensity SurfaceTension Temperature
    Time Torque Voltage Volume VolumeFlowRate VolumeFraction VolumetricFlux Wavenumber"""),
)  # fmt: skip
ALERT = Vocabulary("sensor alert type", "", "", _words("ALARM_CONDITION ERROR_CONDITION"))

BY_FIELD: Mapping[str, Vocabulary] = MappingProxyType(
    {"bizStep": BIZ_STEP, "disposition": DISPOSITION, "reason": ERROR_REASON, "component": COMPONENT,
     "exception": ALERT}
)  # fmt: skip
"""Vocabularies of fields whose name tells."""


def is_standard_namespace(text: str) -> bool:
    """Whether a URI lies where only GS1 defines terms."""
    return bool(_WEB.fullmatch(text) or _URN.fullmatch(text) or _VOC.fullmatch(text))
