"""The fast reading of records: one strict decoder of the documented fields, which learns the
vendor's own ways as they appear.

A field that is of another kind than documented (a rating as a number), and one that nobody
documented, is from then on read as it is written: what its token means is said of that token alone
(`records`), as it is of a field that was never learned. So learning one changes nobody's cells.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

import msgspec

from cdr_pipeline import page
from cdr_pipeline.record import ADDITIONAL, FIELDS, Kind
from cdr_pipeline.tables.values import Int64, tokens_of

#: What is read of a field that is not there.
NULL: Final = msgspec.Raw(b"null")
ABSENT: Final = msgspec.Raw(b"")

#: Of more undocumented fields than this the rest are read record by record.
_MOST_UNKNOWN: Final = 64

_TYPES: Final[dict[Kind, Any]] = {
    Kind.COUNT: Int64 | None,
    Kind.TEXT: str | None,
    Kind.TIME: str | None,
}
_DECODE: Final[dict[Kind, Callable[[bytes], Any]]] = {
    kind: msgspec.json.Decoder(expected).decode for kind, expected in _TYPES.items()
}
_KINDS: Final = {field.name: field.kind for field in FIELDS}


@dataclass(frozen=True)
class Layout:
    """How records are read: the documented fields strictly, but for the `odd` ones; these, the lead
    list's object and the `unknown` fields, which nobody documented, as tokens.

    A record's members are the documented fields, `additional` and the unknown fields, in this
    order. Of a documented field that is not there null is read, of an unknown one ABSENT.
    """

    odd: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    def page(self, body: bytes) -> list[Any]:
        """The records of a page. Raises one of `page.UNREADABLE` if some are not as expected."""
        records = self._pages.decode(body).data or []
        for member in self._tokens:
            tokens = map(member, records)
            long = [token for token in tokens if len(token) >= page.SHORTEST_TOO_DEEP]
            if any(page.too_deep(bytes(token), within=1) for token in long):
                raise RecursionError
        return list(records)

    def one(self, text: bytes) -> Any:
        """One record. Raises as `page`; how deep it is nested is not looked at."""
        return self._records.decode(text)

    def of(self, members: Mapping[str, msgspec.Raw]) -> Any:
        """The record of some members that this layout fits, but for the unknown fields: ABSENT."""
        cells = {
            name: token if name in self.odd or name == ADDITIONAL else _DECODE[_KINDS[name]](token)
            for name, token in members.items()
            if name in _KINDS or name == ADDITIONAL
        }
        return self._record(**cells)

    def learning(self, texts: Iterable[bytes]) -> "Layout":
        """What also takes these records, as far as they can be learned; perhaps this very one."""
        odd, unknown = set(self.odd), set(self.unknown)
        for text in texts:
            members = self._refused(text)
            odd.update(name for name, token in members.items() if not _as_documented(name, token))
            new = members.keys() - _KINDS.keys() - {ADDITIONAL} - unknown
            room = _MOST_UNKNOWN - len(unknown)
            unknown.update(sorted(filter(_can_be_learned, new))[:room])
        if len(odd) == len(self.odd) and len(unknown) == len(self.unknown):
            return self
        return Layout(frozenset(odd), tuple(sorted(unknown)))

    def _refused(self, text: bytes) -> Mapping[str, msgspec.Raw]:
        """The members of a record that this layout does not take; none if they cannot be read."""
        try:
            self.one(text)
        except page.UNREADABLE:
            try:
                page.check_encoding(text)
                return tokens_of(text)
            except page.UNREADABLE:
                pass
        return {}

    @cached_property
    def _record(self) -> Any:
        return msgspec.defstruct(
            "_Record",
            [
                *(
                    (name, msgspec.Raw, NULL) if name in self.odd else (name, _TYPES[kind], None)
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
        return msgspec.json.Decoder(
            msgspec.defstruct("_Page", [("data", list[self._record] | None)])  # type: ignore[name-defined]
        )

    @cached_property
    def _tokens(self) -> list[Callable[[Any], msgspec.Raw]]:
        unknown = (f"unknown_{at}" for at in range(len(self.unknown)))
        return [attrgetter(name) for name in (*self.odd, ADDITIONAL, *unknown)]


def _as_documented(name: str, token: msgspec.Raw) -> bool:
    if name in _KINDS:
        try:
            _DECODE[_KINDS[name]](token)
        except page.UNREADABLE:
            return False
    return True


def _can_be_learned(name: str) -> bool:
    """Whether msgspec takes a field of this name: none with a quote or a control character."""
    return json.dumps(name, ensure_ascii=False) == f'"{name}"'
