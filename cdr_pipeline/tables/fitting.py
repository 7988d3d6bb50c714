"""Converts values to the type that a user declared: exactly, or to null."""

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from cdr_pipeline.tables.types import DECIMAL, DECLARED, as_written, type_of

#: Declared types that are written in a format.
WITH_FORMAT: Final = ("date", "datetime")

#: Words, in any case, that a bool takes beside true, false, 1 and 0.
WORDS: Final = {
    **dict.fromkeys(("true", "yes", "y", "on", "có", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "không", "0"), False),
}

_NUMBERS: Final = ("string", "integer", "decimal", "number")

#: Declared type -> JSON types (`values.JSON_TYPES`) of which a value may fit.
_MAY_FIT: Final = {
    **dict.fromkeys(("int", "float", "decimal", *WITH_FORMAT), _NUMBERS),
    "bool": ("string", "integer", "boolean"),
    "string": (*_NUMBERS, "boolean", "object", "array"),
}

#: A time outside these years is a mistake (a year of two digits read as a year of four).
_YEARS: Final = (1000, 9999)

#: From this number on, Float64 cannot distinguish all neighbouring whole numbers.
_FLOAT_EXACT: Final = 2**53

_WHOLE: Final = r"^[+-]?[0-9]+$"
_WHOLE_WITH_ZEROS: Final = r"^[+-]?[0-9]+(?:\.0*)?$"
_DECIMAL: Final = r"^[+-]?0*[0-9]{1,29}(?:\.[0-9]{0,9}0*)?$"
_NUMBER: Final = r"^[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?$"
_WITH_EXPONENT: Final = r"^[+-]?[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]+$"

#: A number with an exponent and this many digits or more fits no type and is not written out.
_MOST_DIGITS: Final = 60


def fit(declared: str, form: str, kind: str, values: Sequence[Any], zone: ZoneInfo) -> pl.Series:
    """Values of a JSON type (`kind`) in the declared type; null for "" and for what does not fit.

    Numbers may come as their JSON text (see `contract.Declared.by_its_digits`). `form`: how a date
    or a datetime is written (strftime).

    - int: whole numbers within 64 bits, and their text: 33, "33", " 33 ", 33.0.
    - float: finite numbers and their text, the nearest; whole ones below 2^53, which are exact.
    - decimal: numbers and their text of at most 29 digits before the point and 9 behind it.
    - bool: true and false, 1 and 0, and `WORDS`.
    - date, datetime: text, or a number's digits, in the declared format; years 1000 to 9999, no
      finer than microseconds.
    - string: anything; an object or a list as compact JSON.
    """
    dtype = as_written(type_of(DECLARED[declared]), zone)
    if kind not in _MAY_FIT[declared]:
        return pl.Series([None] * len(values), dtype=dtype)
    if declared == "float" and kind == "decimal":
        return pl.Series(values, dtype=dtype)
    text = _as_text(kind, values)
    if declared == "string":
        return text.set(text == "", None)
    return _FITTING[declared](text.str.strip_chars(), form, zone)


def _as_text(kind: str, values: Sequence[Any]) -> pl.Series:
    if kind == "boolean":
        return pl.Series(values, dtype=pl.Boolean).cast(pl.String)
    if kind == "integer" and not isinstance(values[0], str):
        return pl.Series(values, dtype=pl.Int64).cast(pl.String)
    return pl.Series(values, dtype=pl.String)


def _int(text: pl.Series, _: str, __: ZoneInfo) -> pl.Series:
    text = _written_out(text)
    whole = text.set(~text.str.contains(_WHOLE_WITH_ZEROS), None)
    return whole.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)


def _decimal(text: pl.Series, _: str, __: ZoneInfo) -> pl.Series:
    text = _written_out(text)
    return text.set(~text.str.contains(_DECIMAL), None).cast(DECIMAL, strict=False)


def _float(text: pl.Series, _: str, __: ZoneInfo) -> pl.Series:
    number = text.set(~text.str.contains(_NUMBER), None).cast(pl.Float64, strict=False)
    inexact = text.str.contains(_WHOLE) & (number.abs() >= _FLOAT_EXACT)
    return number.set(inexact | ~number.is_finite(), None)


def _bool(text: pl.Series, _: str, __: ZoneInfo) -> pl.Series:
    return (
        text.str.normalize("NFC")
        .str.to_lowercase()
        .replace_strict(list(WORDS), list(WORDS.values()), default=None, return_dtype=pl.Boolean)
    )


def _date(text: pl.Series, form: str, _: ZoneInfo) -> pl.Series:
    date = text.str.to_date(form, strict=False)
    return date.set(~date.dt.year().is_between(*_YEARS), None)


def _datetime(text: pl.Series, form: str, zone: ZoneInfo) -> pl.Series:
    moment = text.str.to_datetime(form, time_unit="us", strict=False)
    if "f" in form or "%+" in form:  # Polars cuts fractions finer than microseconds
        finer = text.str.to_datetime(form, time_unit="ns", strict=False).to_physical()
        # For years beyond the range of nanoseconds, both sides overflow to the same number.
        moment = moment.set(finer != moment.to_physical() * 1000, None)
    moment = moment.set(~moment.dt.year().is_between(*_YEARS), None)
    if moment.dtype == pl.Datetime("us"):
        own = "UTC" if "%s" in form else zone.key
        moment = moment.dt.replace_time_zone(own, ambiguous="earliest", non_existent="null")
    # Python has no year 10000. The last hours of 9999 (many systems write "never" so) are in that
    # year in zones east of UTC, or in UTC.
    local = moment.dt.convert_time_zone(zone.key)
    in_both = [
        one.dt.year().is_between(*_YEARS) for one in (local, local.dt.convert_time_zone("UTC"))
    ]
    return local.set(~(in_both[0] & in_both[1]), None)


_FITTING: Final[dict[str, Callable[[pl.Series, str, ZoneInfo], pl.Series]]] = {
    "int": _int,
    "float": _float,
    "decimal": _decimal,
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
}


def _written_out(text: pl.Series) -> pl.Series:
    """Numbers as text without an exponent: 1E+2 as 100."""
    exponent = text.str.contains(_WITH_EXPONENT)
    if not exponent.any():
        return text
    written = map(_without_exponent, text.filter(exponent))
    return text.scatter(exponent.arg_true(), pl.Series(written, dtype=pl.String))


def _without_exponent(number: str) -> str | None:
    try:
        exact = Decimal(number)
    except InvalidOperation:  # an exponent beyond all bounds
        return None
    if not exact:
        return "0"
    return f"{exact:f}" if abs(exact.adjusted()) < _MOST_DIGITS else None
