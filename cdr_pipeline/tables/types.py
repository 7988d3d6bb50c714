"""Types of columns: how they are written, and how the name of a free column gives its type.

A free column is a column of the lead list; the ending of its name tells its type (`ENDINGS`).
Types are Polars types. An instant is in UTC here, and in the zone of CDR_TIMEZONE in files.
"""

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

INSTANT: Final = pl.Datetime("us", "UTC")
WALL_CLOCK: Final = pl.Datetime("us")
DECIMAL: Final = pl.Decimal(38, 9)


def as_written(dtype: pl.DataType, zone: ZoneInfo) -> pl.DataType:
    """A type as it is in files: instants are in the vendor's zone."""
    return pl.Datetime("us", zone.key) if dtype == INSTANT else dtype


def in_words(dtype: pl.DataType) -> str:
    """A type as people read it; the zone of instants is a setting."""
    if dtype == INSTANT:
        return "Datetime(us, zone of CDR_TIMEZONE)"
    return "Datetime(us)" if dtype == WALL_CLOCK else str(dtype)


@dataclass(frozen=True)
class Ending:
    """The meaning of the ending of a free column's name.

    values: its values, in words. json: the JSON types whose values go there if the key is not
    declared. declared: the type in a contract that sends a key's values there.
    """

    dtype: pl.DataType
    values: str
    json: tuple[str, ...] = ()
    declared: str = ""


ENDINGS: Final = {
    "": Ending(pl.String(), "text", ("string",), "string"),
    "__int": Ending(pl.Int64(), "an integer within 64 bits", ("integer",), "int"),
    "__float": Ending(pl.Float64(), "any other finite number", ("decimal",), "float"),
    "__bool": Ending(pl.Boolean(), "true or false", ("boolean",), "bool"),
    "__json": Ending(
        pl.String(),
        "an object, a list or a larger number, as compact JSON",
        ("number", "object", "array"),
    ),
    "__decimal": Ending(DECIMAL, "declared: an exact number", declared="decimal"),
    "__date": Ending(pl.Date(), "declared: a date", declared="date"),
    "__datetime": Ending(INSTANT, "declared: a date and time", declared="datetime"),
}

#: JSON type -> ending of its column. `number`: an integer beyond 64 bits, or not finite as a float.
ENDING_OF: Final = {kind: ending for ending, one in ENDINGS.items() for kind in one.json}

#: Declared type -> ending of its column.
DECLARED: Final = {one.declared: ending for ending, one in ENDINGS.items() if one.declared}


def free_type(name: str) -> pl.DataType | None:
    """The type of a free column, by its name; None if the ending is unknown."""
    _, mark, ending = name.partition("__")
    found = ENDINGS.get(mark + ending)
    return found.dtype if found else None


def type_of(name: str) -> pl.DataType:
    """The type of a column that is known to be a free column."""
    dtype = free_type(name)
    assert dtype is not None, name
    return dtype
