"""Reads records fast, by one strict decoder of the documented fields, which learns how this vendor
differs from the documentation.

If a field has another kind than documented (a rating as a number), or is not documented at all, the
decoder learns to take its JSON text unread. `records` decides what the text means, from the text
alone, whether the field was learned or not. So learning changes the speed, but no value.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

import msgspec

from cdr_pipeline import page
from cdr_pipeline.record import ADDITIONAL, DOCUMENTED, FIELDS, Kind
from cdr_pipeline.tables.values import Int64

#: Read for a missing documented field, and for a missing undocumented one.
NULL: Final = msgspec.Raw(b"null")
ABSENT: Final = msgspec.Raw(b"")

#: At most so many undocumented fields are learned. Records with others are read one by one.
_MOST_UNKNOWN: Final = 256

#: Kind of a field -> the type of its value, as documented.
TYPES: Final[dict[Kind, Any]] = {
    Kind.COUNT: Int64 | None,
    Kind.TEXT: str | None,
    Kind.TIME: str | None,
}
_DECODE: Final[dict[Kind, Callable[[bytes], Any]]] = {
    kind: msgspec.json.Decoder(expected).decode for kind, expected in TYPES.items()
}
_KINDS: Final = {field.name: field.kind for field in FIELDS}


@dataclass(frozen=True)
class Layout:
    """How records are read: documented fields strictly; as JSON text (a token) the `odd` ones among
    them, `additional`, and the `unknown`, that is undocumented, fields.

    A record's members are the documented fields, `additional` and the unknown fields, in this
    order. A missing documented field is read as null, a missing unknown one as ABSENT.
    """

    odd: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    def page(self, body: bytes) -> list[Any]:
        """The records of a page. Raises one of `page.UNREADABLE` if any is not as expected."""
        records: list[Any] = self._pages.decode(body).records or []
        if any(page.any_too_deep(map(token, records)) for token in self._tokens):
            raise RecursionError
        return records

    def one(self, text: bytes) -> Any:
        """One record. Raises what `page` raises."""
        record = self._records.decode(text)
        if page.any_too_deep(token(record) for token in self._tokens):
            raise RecursionError
        return record

    def of(self, cells: Mapping[str, Any]) -> Any:
        """A record made of `cells`: tokens or values, as this layout reads them."""
        return self._record(**cells)

    def learning(self, members: Mapping[str, msgspec.Raw]) -> "Layout":
        """A layout that also reads a record of these members, as far as that can be learned."""
        odd = {
            name
            for name in members.keys() & _KINDS.keys() - self.odd
            if not _as_documented(_KINDS[name], members[name])
        }
        new = filter(_can_be_learned, members.keys() - DOCUMENTED - set(self.unknown))
        unknown = sorted(new)[: _MOST_UNKNOWN - len(self.unknown)]
        if not odd and not unknown:
            return self
        return Layout(self.odd | odd, tuple(sorted([*self.unknown, *unknown])))

    @cached_property
    def _record(self) -> Any:
        return msgspec.defstruct(
            "_Record",
            [
                *(
                    (name, msgspec.Raw, NULL) if name in self.odd else (name, TYPES[kind], None)
                    for name, kind in _KINDS.items()
                ),
                (ADDITIONAL, msgspec.Raw, NULL),
                *(
                    (f"unknown_{at}", msgspec.Raw, msgspec.field(name=name, default=ABSENT))
                    for at, name in enumerate(self.unknown)
                ),
            ],
            forbid_unknown_fields=True,
            gc=False,
        )

    @cached_property
    def _records(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self._record)

    @cached_property
    def _pages(self) -> msgspec.json.Decoder[Any]:
        records = list[self._record] | None  # type: ignore[name-defined]
        named = ("records", records, msgspec.field(name=page.RECORDS))
        return msgspec.json.Decoder(msgspec.defstruct("_Page", [named]))

    @cached_property
    def _tokens(self) -> list[Callable[[Any], msgspec.Raw]]:
        """A getter for each member of a record that is read as a token."""
        unknown = (f"unknown_{at}" for at in range(len(self.unknown)))
        return [attrgetter(name) for name in (*self.odd, ADDITIONAL, *unknown)]


def _as_documented(kind: Kind, token: msgspec.Raw) -> bool:
    try:
        _DECODE[kind](token)
    except page.UNREADABLE:
        return False
    return True


def _can_be_learned(name: str) -> bool:
    """Whether msgspec can have a field of this name: without quotes, backslashes and control
    characters.
    """
    return json.dumps(name, ensure_ascii=False) == f'"{name}"'
