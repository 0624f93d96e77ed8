"""Units of measurement by dimension: each with the factor to the dimension's first one."""

from __future__ import annotations

from functools import cache

import regex

#: Units of one line have one dimension and one form: any of them can stand where another one does.
_GROUPS: tuple[dict[str, float], ...] = (
    {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2629800, "year": 31557600},
    {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800, "months": 2629800, "years": 31557600},
    {"秒": 1, "分钟": 60, "小时": 3600, "天": 86400, "周": 604800, "个月": 2629800, "年": 31557600},
    {"s": 1, "ms": 1e-3, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "min": 60, "h": 3600},
    {"m": 1, "mm": 1e-3, "cm": 1e-2, "km": 1e3, "µm": 1e-6, "μm": 1e-6, "nm": 1e-9, "Å": 1e-10},
    {"米": 1, "毫米": 1e-3, "厘米": 1e-2, "公里": 1e3, "微米": 1e-6, "纳米": 1e-9},
    {
        "meters": 1,
        "millimeters": 1e-3,
        "centimeters": 1e-2,
        "kilometers": 1e3,
        "micrometers": 1e-6,
        "microns": 1.0001e-6,
    },
    {"g": 1, "mg": 1e-3, "kg": 1e3, "µg": 1e-6, "μg": 1e-6, "mcg": 1.0001e-6, "ng": 1e-9},
    {"克": 1, "毫克": 1e-3, "千克": 1e3, "微克": 1e-6, "公斤": 1.0001e3},
    {"L": 1, "mL": 1e-3, "ml": 1e-3, "dL": 1e-1, "µL": 1e-6, "μL": 1e-6},
    {"升": 1, "毫升": 1e-3},
    {
        "mg/dL": 1e-3,
        "g/dL": 1,
        "µg/dL": 1e-6,
        "mcg/dL": 1e-6,
        "mmol/L": 0.18,
        "µmol/L": 1.8e-4,
        "mEq/L": 0.1,
        "g/L": 0.1,
    },
    {"mg/kg": 1, "mcg/kg": 1e-3, "µg/kg": 1e-3, "g/kg": 1e3, "mL/kg": 0.5},
    {"mg/day": 1, "g/day": 1e3, "mcg/day": 1e-3},
    {"W": 1, "kW": 1e3, "MW": 1e6, "GW": 1e9, "mW": 1e-3},
    {"VA": 1, "kVA": 1e3, "MVA": 1e6},
    {"Wh": 1, "kWh": 1e3, "MWh": 1e6, "GWh": 1e9, "TWh": 1e12},
    {"J": 1, "kJ": 1e3, "MJ": 1e6, "GJ": 1e9, "eV": 1.6e-19, "meV": 1.6e-22, "Ry": 2.2e-18, "Hartree": 4.4e-18},
    {"V": 1, "kV": 1e3, "mV": 1e-3, "µV": 1e-6, "μV": 1e-6},
    {"A": 1, "kA": 1e3, "mA": 1e-3, "µA": 1e-6, "μA": 1e-6},
    {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9, "THz": 1e12},
    {"Pa": 1, "hPa": 1e2, "kPa": 1e3, "MPa": 1e6, "GPa": 1e9, "bar": 1e5, "mmHg": 133.3},
    {"°C": 1, "°F": 2, "K": 3},
    {"degrees": 1, "radians": 57.3},
    {"bytes": 1, "bits": 0.125},
    {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    {"万元": 1e4, "亿元": 1e8, "元": 1},
)
_FACTORS = {unit: (number, factor) for number, group in enumerate(_GROUPS) for unit, factor in group.items()}
_PATTERN = regex.compile(
    r"(?P<gap>\s?|-)(?P<unit>"
    + "|".join(sorted(map(regex.escape, _FACTORS), key=len, reverse=True))
    + r")(?![\p{L}\p{N}/·^°])|"
    r"(?P<gap>\s?)(?P<unit>"
    + "|".join(sorted((u for u in map(regex.escape, _FACTORS) if not u.isascii()), key=len, reverse=True))
    + r")(?![\p{Script=Latin}\p{N}/^])"
)


@cache
def group_of(unit: str) -> dict[str, float]:
    """The units that can stand where ``unit`` does, each with its factor; empty: no unit."""
    return _GROUPS[_FACTORS[unit][0]] if unit in _FACTORS else {}


def unit_after(text: str, end: int) -> tuple[int, int] | None:
    """Place of the unit right after a number that ends at ``end``, if there is one."""
    match = _PATTERN.match(text, end)
    return match.span("unit") if match else None
