"""Counts the values that each campaign sent under each key of its lead list: `additional_keys`."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import polars as pl

from cdr_pipeline.tables.datasets import ADDITIONAL_KEYS
from cdr_pipeline.tables.flattening.objects import Campaign, Cells
from cdr_pipeline.tables.values import JSON_TYPES

_EXAMPLE_CHARACTERS: Final = 100

#: Campaign, key, and the column of its values without the type's ending; None if it has none.
_Key: TypeAlias = tuple[Campaign, str, str | None]

#: The campaigns of some records, each with the slice of its records.
Senders: TypeAlias = Sequence[tuple[Campaign, slice]]


class Sent:
    """The values that campaigns sent under each key of their lead lists.

    counts: how many values of each JSON type. least: for each ending, the smallest value.
    """

    def __init__(self) -> None:
        self.counts: dict[_Key, Counter[str]] = defaultdict(Counter)
        self.least: dict[_Key, dict[str, Any]] = defaultdict(dict)

    @property
    def keys(self) -> set[str]:
        """All keys that came."""
        return {key for _, key, _ in self.counts}

    def add(self, key: str, column: str | None, senders: Senders, cells: Cells) -> None:
        """Count a key's values in the records of `senders`."""
        for campaign, some in senders:
            if count := cells.count(some):
                self.counts[campaign, key, column].update(count)

    def show(
        self, key: str, column: str | None, senders: Senders, ending: str, values: Sequence[Any]
    ) -> None:
        """Remember the smallest value of one ending as an example; `values` may have Nones."""
        for campaign, some in senders:
            least = min([value for value in values[some] if value is not None], default=None)
            if least is not None:
                self._remember((campaign, key, column), ending, least)

    def update(self, other: "Sent") -> None:
        """Add the values of another part of the day."""
        for at, count in other.counts.items():
            self.counts[at].update(count)
        for at, least in other.least.items():
            for ending, value in least.items():
                self._remember(at, ending, value)

    def _remember(self, at: _Key, ending: str, value: Any) -> None:
        short = value[:_EXAMPLE_CHARACTERS] if isinstance(value, str) else value
        least = self.least[at]
        least[ending] = min(short, least.get(ending, short))

    def table(self) -> pl.DataFrame:
        """The rows of `additional_keys`. A key's example: of the smallest values of its endings,
        the one whose text comes first.
        """
        return pl.DataFrame(
            [
                {
                    "campaign_uuid": at[0],
                    "key": at[1],
                    "column": at[2],
                    "records": count.total(),
                    **{kind: count[kind] for kind in JSON_TYPES},
                    "example": min(map(_text, self.least[at].values()), default=None),
                }
                for at, count in self.counts.items()
            ],
            schema=ADDITIONAL_KEYS.types,
        ).sort("campaign_uuid", "key", "column")


def _text(value: Any) -> str:
    """A value as it is shown; -0.0 as 0.0, since they are equal and either may be remembered."""
    if isinstance(value, str):
        return value
    return json.dumps(value + 0.0 if isinstance(value, float) else value)
