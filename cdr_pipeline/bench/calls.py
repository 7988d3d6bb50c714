"""Days of made-up calls: the JSON that a vendor would send, and what a reader should make of it.

The latter, the truth, is made together with the JSON, column by column, without any code of the
pipeline, since the pipeline is compared with it. Shapes and shares follow the tenant in `API.md`.
The lead lists hold what readers get wrong: leading zeros, keys that appear late or differ only in
case, a key with another type in each campaign, 1 beside 1.5, integers beyond 2^53 (none beyond
2^63: dlt and the floor's parser refuse a page with one).
"""

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from random import Random
from typing import Final

import polars as pl

DAY: Final = date(2023, 3, 7)

#: Rows made at a time.
_CHUNK: Final = 100_000

#: Share of a day's calls in each hour, from API.md's tenant.
_HOURS: Final = dict(
    zip(range(8, 18), (1500, 2300, 2400, 2200, 150, 1900, 2350, 2450, 2250, 700), strict=True)
)

#: Percent, status, cause, hangup, longest ring time in seconds.
_OUTCOMES: Final = (
    (15, "answered", "NORMAL_CLEARING", "recv_bye", 25),
    (20, "busy", "USER_BUSY", "recv_refuse", 32),
    (5, "busy", "CALL_REJECTED", "recv_refuse", 20),
    (3, "no-answered", "NO_ANSWER", "send_cancel", 60),
    (34, "not-available", "NO_USER_RESPONSE", "recv_refuse", 18),
    (21, "not-available", "SUBSCRIBER_ABSENT", "recv_refuse", 9),
    (1, "invalid-number", "UNALLOCATED_NUMBER", "recv_refuse", 3),
    (1, "congestion", "NORMAL_CIRCUIT_CONGESTION", "recv_refuse", 2),
)

_NAMES: Final = ("Đỗ Thị Ngà", "Nguyễn Văn Đức", "Trần Thị Mỹ Duyên", "Lê Quốc Bảo", "Võ Kim Thoa")
_MOBILES: Final = ("032", "038", "056", "070", "077", "081", "089", "090", "093", "098")
_NOTES: Final = (None, None, "Khách hẹn gọi lại", 'Khách nói "để suy nghĩ"', "Đã tư vấn,\nchờ tiền")
_KEYS_PRESSED: Final = ("", "{}", '{"key":"1"}', '["2"]', "127", '{"1":127}')
_NEVER: Final = ("",) * 18 + ("0001-01-01T00:00:00Z", "0000-00-00 00:00:00")

#: UUID, hotline, percent of the calls. The last entry is for calls outside campaigns.
_CAMPAIGNS: Final = (
    ("fdccdbf2-bc4b-4a0f-a7ea-cb0239daaa7d", "02873003586", 38),
    ("0b6f5f0e-8c55-4d0c-9f43-5a1f6c7be201", "02471088999", 24),
    ("7d0a3c64-1e92-4b7b-8a55-e0b6f4d9c302", "02871099777", 14),
    ("c25e9a18-63f7-4f4e-b1d0-2f9d8a7e5403", "02363777555", 10),
    ("91f4d7b3-2ac8-4e66-95c7-b8e3a1f06504", "02873003587", 7),
    ("", "02873003588", 7),
)

#: What calls outside campaigns have in place of a lead list; the last one lacks the field.
_NO_LIST: Final = ('"additional":"",', '"additional":null,', '"additional":[],', "")

#: The fields that are numbers; all others are text.
COUNTS: Final = ("duration", "billsec", "presskey_delay")

#: The record's fields, in the documented order.
FIELDS: Final = (
    *("id", "parent_id", "sip_call_id", "cause", "duration", "direction", "recording_url"),
    *("extension", "from_number", "to_number", "receive_dest", "time_started", "time_answered"),
    *("time_ended", "time_ringging", "status", "billsec", "app", "press_key", "fullname", "email"),
    *("username", "sip_hangup_disposition", "campaign_uuid", "lead_uuid", "rate", "digits", "note"),
    *("customer_fullname", "customer_email", "demand_customer", "interest_segment", "additional"),
    *("autocall_presskey_epoch", "time_presskey", "presskey_delay", "autocall_recording_url"),
)

#: Prefix of the truth's columns that hold a key of the lead lists.
KEY: Final = "additional."


@dataclass(frozen=True)
class Corpus:
    """Calls on disk, newest first, as the server reads them.

    records: the records' JSON, one after the other, separated by commas.
    index: the offset of each record, then the second (wall clock) when each call began; 64 bits
        each.
    truth: id, the documented fields as text, and a column `additional.<key>` for each key of the
        lead lists: the value's JSON type and its text (`s:0123`, `i:1`, `f:1.5`, `b:true`, `j:{}`).
        Empty text, and times that were not reached, are null.
    """

    folder: Path

    @property
    def records(self) -> Path:
        return self.folder / "records.json"

    @property
    def index(self) -> Path:
        return self.folder / "index.bin"

    @property
    def truth(self) -> Path:
        return self.folder / "truth"


def make(
    folder: Path, calls: int, *, days: int = 1, seed: int = 1, keys: int = 0, copies: int = 1
) -> Corpus:
    """Make `calls` calls on each of `days` days, from `DAY` on.

    keys: how many more keys each lead list has. copies: how many campaigns have each lead list.
    """
    corpus = Corpus(folder)
    corpus.truth.mkdir(parents=True)
    starts, began = array("q"), array("q")
    at = 0
    with corpus.records.open("wb") as file:
        for part, frame in enumerate(_frames(calls, days, seed, keys, copies)):
            text = frame["json"].str.join(",").item().encode()
            file.write(b"," * bool(at) + text)
            at += bool(at)
            sizes = frame["json"].str.len_bytes().cast(pl.Int64) + 1
            starts.extend(sizes.cum_sum().shift(1, fill_value=0) + at)
            times = frame["time_started"].str.to_datetime("%Y-%m-%d %H:%M:%S")
            began.extend(times.dt.epoch("s"))
            at += len(text)
            frame.drop("json").write_parquet(corpus.truth / f"{part:05}.parquet")
    with corpus.index.open("wb") as file:
        starts.tofile(file)
        began.tofile(file)
    return corpus


def _frames(calls: int, days: int, seed: int, keys: int, copies: int) -> Iterator[pl.DataFrame]:
    for day in reversed(range(days)):
        for first in range(0, calls, _CHUNK):
            random = Random(f"{seed}/{day}/{first}")
            size = min(_CHUNK, calls - first)
            yield _chunk(DAY + timedelta(days=day), first, size, calls, random, keys, copies)


class _Draws:
    """Random columns of `size` rows."""

    def __init__(self, random: Random, size: int) -> None:
        self.size = size
        self._random = random

    def below(self, top: int) -> pl.Series:
        """Whole numbers from 0 to `top` - 1."""
        words = memoryview(self._random.randbytes(4 * self.size)).cast("I").tolist()
        return pl.Series(words, dtype=pl.UInt32).cast(pl.Int64) % top

    def one_of(self, items: tuple[str | None, ...]) -> pl.Series:
        return pl.Series(items, dtype=pl.String).gather(self.below(len(items)))

    def weighted(self, percents: list[int]) -> pl.Series:
        """Random indexes of `percents`, each as often as its percentage says."""
        places = [place for place, percent in enumerate(percents) for _ in range(percent)]
        return pl.Series(places).gather(self.below(len(places)))

    def uuids(self) -> pl.Series:
        text = self._random.randbytes(16 * self.size).hex()
        return pl.Series(
            f"{text[at : at + 8]}-{text[at + 8 : at + 12]}-4{text[at + 13 : at + 16]}"
            f"-a{text[at + 17 : at + 20]}-{text[at + 20 : at + 32]}"
            for at in range(0, len(text), 32)
        )

    def mobiles(self) -> pl.Series:
        return self.one_of(_MOBILES) + self.digits(7)

    def digits(self, count: int) -> pl.Series:
        """Text of so many random digits, with leading zeros."""
        return self.below(10 ** min(count, 9)).cast(pl.String).str.zfill(count)


def _chunk(
    day: date, first: int, size: int, calls: int, random: Random, keys: int, copies: int
) -> pl.DataFrame:
    """`size` rows of a day of `calls`, from row `first` on: the truth, and the record as `json`."""
    draws = _Draws(random, size)
    place = pl.int_range(first, first + size, eager=True).alias("place")
    frame = pl.DataFrame(
        {
            "place": place,
            "began": _began(place, calls),
            "campaign": draws.weighted([percent for *_, percent in _CAMPAIGNS]),
            "copy": draws.below(copies).cast(pl.String).str.zfill(5),
            "outcome": draws.weighted([outcome[0] for outcome in _OUTCOMES]),
            "id": draws.uuids(),
            "lead_uuid": draws.uuids(),
            "to_number": draws.mobiles(),
            "sip": draws.below(2**31).cast(pl.String).str.zfill(10),
            "rings": draws.below(1000),
            "talk": draws.below(90) + 1,
            "key": draws.one_of(_KEYS_PRESSED),
            "never": draws.one_of(_NEVER),
            "note": draws.one_of(_NOTES),
            "none": draws.one_of(_NO_LIST),
            "rate": draws.one_of((None, None, "1", "4", "5")),
            "name": draws.one_of(_NAMES),
            "sdt": draws.mobiles(),
            "code": draws.digits(6),
            "small": draws.below(12),
            "large": draws.below(10**6),
            **{f"more{n}": draws.below(3000) for n in range(keys)},
        }
    )
    fields = frame.with_columns(_fields(day)).with_columns(_talk())
    late = pl.col("place") >= calls * 99 // 100
    lists = _lead_lists(late, keys)
    campaign = pl.col("campaign")
    texts = pl.coalesce(
        pl.when(campaign == number).then(_object(members)) for number, members in enumerate(lists)
    )
    truths = {
        KEY + key: pl.coalesce(
            pl.when(campaign == number).then(members[key])
            for number, members in enumerate(lists)
            if key in members
        )
        for key in dict.fromkeys(chain.from_iterable(lists))
    }
    whole = fields.with_columns(
        pl.concat_str(pl.lit('"additional":'), texts, pl.lit(","))
        .fill_null(pl.col("none"))
        .alias("additional")
    ).with_columns(_record().alias("json"))
    shown = [
        pl.when(pl.col(name) >= "1980").then(name)
        if name.startswith("time_")
        else pl.col(name).cast(pl.String)
        for name in FIELDS
        if name != "additional"
    ]
    return whole.select(
        *(pl.when(one != "").then(one) for one in shown),
        *(pl.when(~one.is_in(["s:", "n:"])).then(one).alias(name) for name, one in truths.items()),
        "json",
    )


def _began(place: pl.Series, calls: int) -> pl.Series:
    """The second of the day when each call began; `place` 0 is the newest call."""
    total = sum(_HOURS.values())
    shares = pl.Series(_HOURS.values(), dtype=pl.Float64) / total
    ends = shares.cum_sum()
    share = 1 - (place.cast(pl.Float64) + 0.5) / calls
    hour = ends.search_sorted(share).clip(0, len(shares) - 1)
    into = (share - (ends - shares).gather(hour)) / shares.gather(hour)
    start = pl.Series(list(_HOURS)).gather(hour) * 3600
    return (start + (into.clip(0, 0.9999) * 3600)).cast(pl.Int64)


def _clock(day: date, second: pl.Expr) -> pl.Expr:
    midnight = pl.lit(datetime.combine(day, datetime.min.time()))
    return (midnight + pl.duration(seconds=second)).dt.strftime("%Y-%m-%d %H:%M:%S")


def _fields(day: date) -> list[pl.Expr]:
    """The documented fields as the vendor writes them, without those of `_talk`."""

    def outcome(at: int) -> pl.Expr:
        return pl.lit(pl.Series([one[at] for one in _OUTCOMES])).gather(pl.col("outcome"))

    def campaign(at: int) -> pl.Expr:
        return pl.lit(pl.Series([one[at] for one in _CAMPAIGNS])).gather(pl.col("campaign"))

    answered = pl.col("outcome") == 0
    rings = pl.col("rings") % (outcome(4) + 1)
    talk = pl.when(answered).then(pl.col("talk")).otherwise(0)
    outside = pl.col("campaign") == len(_CAMPAIGNS) - 1
    started = pl.col("began")
    empty = "extension receive_dest fullname email username demand_customer interest_segment"
    return [
        *(pl.lit("").alias(name) for name in empty.split()),
        pl.col("id").alias("parent_id"),
        pl.concat_str("sip", pl.lit("-5755-123c-18b6-fa163e71cc82")).alias("sip_call_id"),
        outcome(2).alias("cause"),
        outcome(1).alias("status"),
        outcome(3).alias("sip_hangup_disposition"),
        (rings + talk).alias("duration"),
        talk.alias("billsec"),
        pl.lit("outbound").alias("direction"),
        pl.lit("autocall").alias("app"),
        pl.when(outside)
        .then(pl.lit(""))
        .otherwise(pl.concat_str(campaign(0).str.head(-5), "copy"))
        .alias("campaign_uuid"),
        campaign(1).alias("from_number"),
        pl.when(outside).then(pl.lit("")).otherwise("lead_uuid").alias("lead_uuid"),
        _clock(day, started).alias("time_started"),
        _clock(day, started).alias("time_ringging"),
        _clock(day, started + rings + talk).alias("time_ended"),
        pl.when(answered)
        .then(_clock(day, started + rings))
        .otherwise("never")
        .alias("time_answered"),
        _clock(day, started + rings + pl.min_horizontal(talk, 9)).alias("pressed"),
        (1_678_122_000 + started + rings).cast(pl.String).alias("epoch"),
    ]


def _talk() -> list[pl.Expr]:
    """The fields that only answered calls fill."""
    pressed = (pl.col("outcome") == 0) & pl.col("key").is_in(('{"key":"1"}', '["2"]'))
    answered = pl.col("outcome") == 0

    def where(condition: pl.Expr, value: pl.Expr | str, name: str) -> pl.Expr:
        return pl.coalesce(pl.when(condition).then(value), pl.lit("")).alias(name)

    link = pl.concat_str(pl.lit("https://recording.example.vn/2023/"), "id", pl.lit(".mp3"))
    return [
        pl.when(answered).then("key").otherwise(pl.lit("{}")).alias("press_key"),
        where(pressed, "epoch", "autocall_presskey_epoch"),
        where(pressed, "pressed", "time_presskey"),
        pl.when(pressed).then(pl.min_horizontal("billsec", 9)).otherwise(0).alias("presskey_delay"),
        where(answered, link, "autocall_recording_url"),
        where(answered & (pl.col("small") == 0), link, "recording_url"),
        where(answered, "note", "note"),
        where(answered, "rate", "rate"),
        where(answered, "rate", "digits"),
        where(answered & (pl.col("small") < 4), "name", "customer_fullname"),
        where(answered & (pl.col("small") < 3), pl.lit("a@example.vn"), "customer_email"),
    ]


def _lead_lists(late: pl.Expr, more: int) -> list[Mapping[str, pl.Expr]]:
    """Key -> value, for each campaign. A value is its JSON type and its text; null for no key."""

    def typed(mark: str, value: pl.Expr | str) -> pl.Expr:
        return pl.concat_str(pl.lit(f"{mark}:"), value)

    def decimal(value: pl.Expr) -> pl.Expr:
        whole = typed("i", value.cast(pl.Int64))
        return pl.when(value == value.floor()).then(whole).otherwise(typed("f", value))

    small, large = pl.col("small"), pl.col("large")
    extra = {f"cột {n}": typed("s" if n % 2 else "i", f"more{n}") for n in range(more)}
    visit = pl.concat_str(
        *(pl.lit('{"ngày":"2023-03-'), small + 10, pl.lit('","giờ":"'), small + 8),
        *(pl.lit(':30","phòng":'), small + 100, pl.lit("}")),
    )
    return [
        {
            "data1": typed("i", small),
            "miengiam": typed("s", pl.format("Giảm {}% gốc", small * 10)),
            "phone_number": typed("s", "to_number"),
            "sdt": typed("s", "sdt"),
            "ten": typed("s", "name"),
            **extra,
        },
        {
            "Tên": typed("s", "name"),
            "Số tiền": typed("i", large * 50),
            "data1": typed("s", "code"),
            "Data1": typed("s", pl.format("HD-{}", "code")),
            "quá hạn": typed("b", small < 4),
            "sdt": typed("s", "sdt"),
            **extra,
        },
        {
            "ten": typed("s", "name"),
            "data1": decimal(small.cast(pl.Float64) / 2),
            "ghi chú": pl.lit("s:"),
            "Điểm": pl.when(small < 9).then(typed("i", small)).otherwise(pl.lit("n:")),
            "mã cuối": pl.when(late).then(typed("s", "code")),
            **extra,
        },
        {
            "họ tên": typed("s", "name"),
            "data1": typed("b", small % 2 == 0),
            "mã thẻ": typed("i", pl.format("4{}012345678912", "code")),
            "số thẻ": typed("i", large + (2**53 + 1)),
            "lịch hẹn": typed("j", visit),
            **extra,
        },
        {
            "ten": typed("s", "name"),
            "otp": typed("s", "code"),
            "Số tiền": decimal(large.cast(pl.Float64) * 2.5),
            "phí": pl.when(late).then(typed("f", small.cast(pl.Float64) + 0.25)),
            **extra,
        },
    ]


def _object(members: Mapping[str, pl.Expr]) -> pl.Expr:
    """The JSON object of a lead: its row of the lead list."""
    texts = [
        pl.concat_str(pl.lit(f",{json.dumps(key, ensure_ascii=False)}:"), _json(value))
        for key, value in members.items()
    ]
    joined = pl.concat_str(texts, ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), joined.str.slice(1), pl.lit("}"))


def _json(value: pl.Expr) -> pl.Expr:
    text = value.str.slice(2)
    return (
        pl.when(value.str.starts_with("s:"))
        .then(_quoted(text))
        .when(value == "n:")
        .then(pl.lit("null"))
        .otherwise(text)
    )


def _quoted(text: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit('"'), text, pl.lit('"'))


def _record() -> pl.Expr:
    texts = []
    for name in FIELDS:
        value = pl.col(name)
        if name == "additional":
            texts.append(value)
            continue
        if name in {"note", "press_key"}:
            value = value.str.replace_all('"', '\\"', literal=True)
            value = value.str.replace_all("\n", "\\n", literal=True)
        token = value.cast(pl.String) if name in COUNTS else _quoted(value)
        texts += [pl.lit(f'"{name}":'), token, pl.lit(",")]
    return pl.concat_str(pl.lit("{"), *texts[:-1], pl.lit("}"))
