"""What flattening costs where a vendor writes its records in other ways than the documented one."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import process_time
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.table import Table

from cdr_pipeline.bench.calls import DAY, Corpus
from cdr_pipeline.bench.load import empty_table, fresh
from cdr_pipeline.tables.flattening.flatten import part_of
from cdr_pipeline.tables.flattening.typed import Rules
from cdr_pipeline.tables.raw_pages import StoredPage
from cdr_pipeline.window import Window

#: Calls of a page.
_PAGE: Final = 1_000

_LISTS: Final = {text: ["x"] for text in ("app", "cause", "direction", "note", "rate", "status")}

_Call = dict[str, Any]
_Rewrite = Callable[[_Call, Random], _Call]


@dataclass(frozen=True)
class Cost:
    """One way of writing: CPU seconds a million calls, the least of all turns."""

    way: str
    seconds: float


def _listing(call: _Call, keys: Iterable[int]) -> _Call:
    """The call with a lead list of such keys."""
    return call | {"additional": {f"cột {key}": f"{call['id']} {key}" for key in keys}}


def _some_null(call: _Call, draw: Random) -> _Call:
    members = _listing(call, range(30))["additional"].items()
    cells = {key: text if draw.random() > 1 / 3 else None for key, text in members}
    return call | {"additional": cells}


def _seldom(share: float, change: _Call) -> _Rewrite:
    return lambda call, draw: call | change if draw.random() < share else call


#: Each way, and what it makes of a call.
WAYS: Final[dict[str, _Rewrite]] = {
    "as documented": lambda call, _: call,
    "with a field that nobody documented": lambda call, _: call | {"queue_name": "Q1"},
    "... whose name no decoder takes": lambda call, _: call | {'"queue"': "Q1"},
    "counts as text": lambda call, _: call | {"duration": f"{call['duration']}"},
    "the rating as a number": lambda call, _: call | {"rate": 4.5},
    "press_key as an object": lambda call, _: call | {"press_key": {"key": "1"}},
    "one duration in a hundred that is none": _seldom(0.01, {"duration": "abc"}),
    "one call in 5,000 with all texts as lists": _seldom(1 / 5000, _LISTS),
    "one call in a thousand with a lone surrogate": _seldom(0.001, {"note": "\ud800"}),
    "null for empty text": lambda call, _: {key: one or None for key, one in call.items()},
    "without what is empty": lambda call, _: {key: one for key, one in call.items() if one != ""},
    "additional as a text": lambda call, _: (
        call | {"additional": json.dumps(call.get("additional"), ensure_ascii=False)}
    ),
    "lead lists of ten keys": lambda call, _: _listing(call, range(10)),
    "... in any order": lambda call, draw: _listing(call, draw.sample(range(10), 10)),
    "... a third of them left out": lambda call, draw: _listing(
        call, [key for key in range(10) if draw.random() > 1 / 3]
    ),
    "... of a thousand": lambda call, draw: _listing(call, draw.sample(range(1_000), 10)),
    "lead lists of thirty keys, a third null": _some_null,
}


def costs(corpus: Corpus, folder: Path, repeat: int) -> Iterator[Cost]:
    """Flatten the same calls, from responses to sorted runs, in each way again and again."""
    calls: list[_Call] = json.loads(b"[%b]" % corpus.records.read_bytes())
    rules = Rules(Window.of(DAY), ZoneInfo("Asia/Ho_Chi_Minh"))
    for way, rewrite in WAYS.items():
        draw = Random(1)
        pages = list(_pages([rewrite(call, draw) for call in calls]))
        turns = [_cpu(pages, rules, folder) for _ in range(repeat)]
        yield Cost(way, min(turns) / len(calls) * 1e6)


def _pages(calls: Sequence[_Call]) -> Iterator[StoredPage]:
    for offset in range(0, len(calls), _PAGE):
        some = calls[offset : offset + _PAGE]
        answer = {"data": some, "limit": _PAGE, "offset": -1, "total": len(calls)}
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        body = text.encode(errors="backslashreplace")  # a lone surrogate as JSON escapes it
        yield StoredPage(1, body, place=offset // _PAGE, offset=offset)


def _cpu(pages: Sequence[StoredPage], rules: Rules, folder: Path) -> float:
    target = fresh(folder / "runs")
    target.mkdir()
    before = process_time()
    part_of(pages, rules, target)
    return process_time() - before


def table(costs: Sequence[Cost]) -> Table:
    """A line a way, against the documented one."""
    shown = empty_table("records", "CPU s a million", "x documented", title="Flattening")
    for one in costs:
        shown.add_row(one.way, f"{one.seconds:.1f}", f"{one.seconds / costs[0].seconds:.1f}")
    return shown
