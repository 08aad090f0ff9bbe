"""UCUM codes, and the spellings of them that people use (https://ucum.org)."""

# What people write, and the UCUM code that they mean.
SPELLINGS = {
    **dict.fromkeys(("degC", "°C", "deg C", "celsius", "Celsius", "degree_Celsius"), "Cel"),
    **dict.fromkeys(("degF", "°F", "fahrenheit", "Fahrenheit"), "[degF]"),
    **dict.fromkeys(("degC/min", "°C/min", "Cel/min"), "K/min"),
    **dict.fromkeys(("psi", "PSI", "psig"), "[psi]"),
    **dict.fromkeys(("rpm", "RPM", "r/min", "rev/min", "min-1", "min^-1", "U/min"), "1/min"),
    **dict.fromkeys(("lpm", "LPM", "l/min", "liter/min", "litre/min", "NL/min", "Nl/min", "sLpm"), "L/min"),
    **dict.fromkeys(("gpm", "GPM"), "[gal_us]/min"),
    **dict.fromkeys(("m³/h", "m^3/h"), "m3/h"),
    **dict.fromkeys(("Nm", "N·m", "N*m"), "N.m"),
    **dict.fromkeys(("kNm", "kN*m"), "kN.m"),
    **dict.fromkeys(("kWh", "kW*h"), "kW.h"),
    **dict.fromkeys(("kWh/kg",), "kW.h/kg"),
    **dict.fromkeys(("°", "degree", "degrees"), "deg"),
    **dict.fromkeys(("°/s", "degrees/s"), "deg/s"),
    **dict.fromkeys(("arcmin",), "'"),
    **dict.fromkeys(("arcsec",), "''"),
    **dict.fromkeys(("µm", "μm", "micron"), "um"),
    **dict.fromkeys(("ue", "µe", "ustrain", "microstrain", "um/m", "µm/m"), "um/m"),
    **dict.fromkeys(("m/s²", "m/s^2"), "m/s2"),
    **dict.fromkeys(("mm²/s", "mm^2/s"), "mm2/s"),
    **dict.fromkeys(("mm/sec",), "mm/s"),
    **dict.fromkeys(("sec", "second", "seconds"), "s"),
    **dict.fromkeys(("ppm",), "[ppm]"),
    **dict.fromkeys(("hp", "HP"), "[HP]"),
    **dict.fromkeys(("inch", "in"), "[in_i]"),
    **dict.fromkeys(("pct", "percent"), "%"),
    **dict.fromkeys(("", "-", "none", "dimensionless", "{code}", "code"), "1"),
}


def ucum_code(unit: str) -> str:
    """The UCUM code for what was written (``degC`` gives ``Cel``); what is not a known spelling stays as it is."""
    trimmed = unit.strip()
    return SPELLINGS.get(trimmed, trimmed)
