"""The page of a report: one file, in either language, without secrets."""

import base64
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any, get_args

import polars as pl
import pytest

from cdr_pipeline.errors import CdrError
from cdr_pipeline.record import RULES
from cdr_pipeline.report import charts, page
from cdr_pipeline.report.figures import OTHERS, figures
from cdr_pipeline.report.words import Words
from cdr_pipeline.settings import Language
from cdr_pipeline.tables.datasets import RECEIPTS
from cdr_pipeline.tables.store import Store
from cdr_pipeline_tests.records import DAY, SAIGON, call
from cdr_pipeline_tests.report.conftest import WEEK, LoadDay, simulated


class Read(HTMLParser):
    """The page as a browser reads it: its words, its images, and the addresses that it asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words = ""
        self.images: list[dict[str, str | None]] = []
        self.asks: list[str] = []
        self.tags: set[str] = set()
        self._unread = ""
        self.feed(text)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._unread = tag if tag in ("style", "script") else ""
        given = dict(attrs)
        if tag in ("img", "source"):
            self.images.append(given)
        self.asks += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.words += "" if self._unread else f"{data} "


def read(store: Store, first: date, last: date, language: Language = "en") -> Read:
    path, _ = page.write(store, first, last, language)
    assert path.stat().st_size < 2_000_000
    return Read(path.read_text(encoding="utf-8"))


def drawn(image: dict[str, str | None]) -> str:
    """The SVG text of an image."""
    data = image.get("src") or image.get("srcset") or ""
    return base64.b64decode(data.partition(",")[2]).decode()


@pytest.mark.parametrize("language", get_args(Language))
def test_the_page_asks_for_nothing_and_every_picture_says_what_it_shows(
    store: Store, load: LoadDay, language: Language
) -> None:
    load(DAY, simulated(DAY))
    it = read(store, DAY, DAY, language)
    assert all(one.startswith("data:image/svg+xml;base64,") for one in it.asks)
    assert len(it.asks) == 8
    assert all(one["alt"] for one in it.images if "alt" in one)
    assert sum("alt" in one for one in it.images) == 4
    assert not it.tags & {"script", "link", "iframe", "object"}
    for image in it.images:
        assert not re.search(r'(?:href|src)="http|@import|url\((?!#)', drawn(image))


def test_words_and_pictures_keep_vietnamese_letters(store: Store, load: LoadDay) -> None:
    load(DAY, simulated(DAY))
    it = read(store, DAY, DAY, "vi")
    assert f"Cuộc gọi ngày {DAY:%d/%m/%Y}" in it.words
    assert "quy định 08:00 đến 17:00" in it.words
    assert "Kết quả cuộc gọi của từng chiến dịch" in it.words
    assert "Tình trạng đầu số" in it.words
    pictures = "".join(map(drawn, it.images))
    assert "không liên lạc được" in pictures
    assert "Đàm thoại từ 5 giây" in pictures


def test_the_page_names_the_number_of_records_with_further_legs(
    store: Store, load: LoadDay
) -> None:
    load(DAY, [call("a"), call("b", parent_id="a")])
    assert "1 calls (2 records with their further legs" in read(store, DAY, DAY).words
    load(DAY, [call("a"), call("b")])
    assert "further legs" not in read(store, DAY, DAY).words


def test_calling_rules_are_shown_before_their_figures(store: Store, load: LoadDay) -> None:
    load(DAY, [call(direction="outbound", cause="USER_BUSY")])
    words = read(store, DAY, DAY).words
    assert words.index("Outbound calls against 08:00 to 17:00") < words.index("outside these hours")


def test_campaigns_whose_ids_begin_alike_have_different_names(store: Store, load: LoadDay) -> None:
    ids = ["0190c3f2-7a10-1", "0190c3f2-7a10-2"]
    load(DAY, [call(one, f"{DAY} 10:00:00", campaign_uuid=one) for one in ids])
    assert all(f" {one} " in read(store, DAY, DAY).words for one in ids)


def test_characters_that_no_svg_can_hold_are_drawn_as_their_codes(
    store: Store, load: LoadDay
) -> None:
    ids = ["\x01ten", "\x02ten", "\ufffe\u202e"]
    load(DAY, [call(one, f"{DAY} 10:00:00", campaign_uuid=one) for one in ids])
    names = charts.campaign_names(figures(store, DAY, DAY), Words("en"))
    assert [names[one] for one in ids] == [r"\x01ten", r"\x02ten", r"\ufffe\u202e"]
    assert r"\x02ten" in drawn(read(store, DAY, DAY).images[-3])


def test_the_dispositions_of_a_campaign_with_any_name_are_drawn(
    store: Store, load: LoadDay
) -> None:
    """No page could be drawn: Vega looks campaigns up in JavaScript objects, and every such object
    has functions of these names.
    """
    ids = ["toString", "valueOf", "constructor", "construction", "__proto__"]
    load(DAY, [call(one, f"{DAY} 10:00:00", campaign_uuid=one) for one in ids])
    made, words = figures(store, DAY, DAY), Words("en")
    svg = drawn({"src": charts.pictures(made, words)["mix"].wide})
    names = charts.campaign_names(made, words)
    assert all(f">{names[one]}<" in svg for one in ids)
    assert svg.count('aria-roledescription="bar"') == len(ids)


def test_a_day_is_compared_with_the_same_weekday_before(store: Store, load: LoadDay) -> None:
    load(DAY, simulated(DAY))
    alone = figures(store, DAY, DAY)
    assert alone.before is None
    load(DAY - WEEK, simulated(DAY - WEEK))
    both = figures(store, DAY, DAY)
    assert both.before is not None
    assert both.before["calls"] == figures(store, DAY - WEEK, DAY - WEEK).now["calls"]
    assert both.curve["before"].sum() == both.before["calls"]
    assert f"Compared with {DAY - WEEK}" in read(store, DAY, DAY).words


def test_the_hours_of_a_long_range_are_shown_by_month(store: Store, load: LoadDay) -> None:
    months = (date(2022, 12, 31), date(2023, 1, 1), date(2023, 1, 31))
    for day in months:
        load(day, [call(f"{day}", f"{day} 10:00:00")])
    it = figures(store, months[0], months[-1])
    assert it.by_month
    assert it.heat.rows() == [("2022-12", 10, 1), ("2023-01", 10, 2)]
    written: dict[Language, str] = {"en": "2023-01", "vi": "01/2023"}
    for language, month in written.items():
        images = Read(page.html(it, Words(language), SAIGON)).images
        assert any(f">{month}<" in drawn(image) for image in images)


@pytest.mark.parametrize(
    ("language", "says"),
    [
        (
            "en",
            "Stored: 2 of 5 days, each proved complete."
            " Not stored, or in part: 2023-03-06, 2023-03-08 to 2023-03-09.",
        ),
        (
            "vi",
            "Có dữ liệu của 2 trên 5 ngày, từng ngày đã được đối soát đủ."
            " Chưa có đủ dữ liệu: 06/03/2023, 08/03/2023 đến 09/03/2023.",
        ),
    ],
)
def test_missing_days_of_a_range_are_named_and_keep_their_places_in_the_charts(
    store: Store, load: LoadDay, language: Language, says: str
) -> None:
    for day in (DAY, DAY + timedelta(days=3)):
        load(day, simulated(day, 60))
    it = read(store, DAY - timedelta(days=1), DAY + timedelta(days=3), language)
    assert says in it.words
    curve, heat = [drawn(image) for image in it.images if image.get("alt")][:2]
    gap = f"{DAY + timedelta(days=1):{Words(language).short_day}}"
    assert f">{gap}<" in curve
    assert f">{gap}<" in heat


def test_a_range_with_an_unproved_day_is_not_called_proved(store: Store, load: LoadDay) -> None:
    load(DAY, simulated(DAY, 60))
    receipt = store.read(RECEIPTS, DAY).with_columns(verified=pl.lit(False))
    store.write(RECEIPTS, DAY, receipt)
    words = read(store, DAY, DAY + timedelta(days=1)).words
    assert "! Not proved complete Last fetched on" in words
    assert "Stored: 1 of 2 days. Not stored, or in part: 2023-03-08." in words


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("en", "Counted by other rules, or in another zone, than the last day"),
        ("vi", "Được tính theo quy tắc hoặc múi giờ khác với ngày cuối"),
    ],
)
def test_compared_days_that_were_counted_by_earlier_rules_are_named(
    store: Store,
    load: LoadDay,
    monkeypatch: pytest.MonkeyPatch,
    language: Language,
    says: str,
) -> None:
    with monkeypatch.context() as before:
        before.setattr("cdr_pipeline.tables.store.RULES", RULES - 1)
        load(DAY - WEEK, simulated(DAY - WEEK, 60))
    load(DAY, simulated(DAY, 60))
    words = read(store, DAY, DAY, language).words
    assert says in words
    assert f"`cdr-pipeline rebuild`{' has made them again' if language == 'en' else ''}:" in words
    assert says not in read(store, DAY - WEEK, DAY - WEEK, language).words


def test_a_range_without_stored_days_is_an_error_that_says_what_to_do(store: Store) -> None:
    says = r"nothing to report of 2023-03-07.*If a run is at work on these.*cdr-pipeline run"
    with pytest.raises(CdrError, match=says):
        page.write(store, DAY, DAY, "en")


def test_an_empty_day_has_a_page_without_pictures(store: Store, load: LoadDay) -> None:
    load(DAY, [])
    it = read(store, DAY, DAY)
    assert it.images == []
    assert "No outbound calls." in it.words


def test_the_page_shows_no_whole_number_and_no_secret(store: Store, load: LoadDay) -> None:
    secrets = {
        "from_number": "02873003586",
        "to_number": "0899888999",
        "recording_url": "https://pbx.example.vn/secret.wav",
        "fullname": "Nguyễn Thị Bí Mật",
        "note": "do not tell",
    }
    load(DAY, [call(direction="outbound", cause="USER_BUSY", **secrets)])
    path, _ = page.write(store, DAY, DAY, "en")
    text = path.read_text(encoding="utf-8")
    everything = text + "".join(map(drawn, Read(text).images))
    assert [name for name, secret in secrets.items() if secret in everything] == []
    assert "028•••••586" in text


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("02873003586", "028•••••586"),
        ("84873003586", "848•••••586"),
        ("19001234", "1••••••4"),
        ("113", "•••"),
        ("", ""),
    ],
)
def test_only_the_ends_of_a_number_are_shown(number: str, shown: str) -> None:
    assert page.masked(number) == shown


def test_text_from_the_vendor_is_never_markup(store: Store, load: LoadDay) -> None:
    evil = "<script>alert(1)</script>"
    fields: dict[str, Any] = dict.fromkeys(
        ("campaign_uuid", "status", "cause", "from_number", "direction", "evil<b>"), evil
    )
    load(DAY, [call("a", **fields), call("b", **{**fields, "direction": "outbound"})])
    it = read(store, DAY, DAY)
    assert "script" not in it.tags
    assert "b" not in it.tags
    assert evil.casefold() in it.words.casefold()
    for image in it.images:
        assert "<script" not in drawn(image)


def test_small_campaigns_are_summed_in_one_row_at_the_end(store: Store, load: LoadDay) -> None:
    many = [
        call(f"{number}-{n}", campaign_uuid=f"c{number:02}")
        for number in range(30)
        for n in range(number + 1)
    ]
    load(DAY, many)
    it = figures(store, DAY, DAY)
    names = it.campaigns["campaign_uuid"].to_list()
    assert (names[0], names[-1], len(names)) == ("c29", OTHERS, 12)
    assert it.campaigns["calls"].sum() == len(many)
    assert "others" in page.html(it, Words("en"), SAIGON)


@pytest.mark.parametrize(("hotlines", "notes"), [(20, 0), (21, 1)])
def test_the_page_says_how_many_of_the_hotlines_are_shown(
    store: Store, load: LoadDay, hotlines: int, notes: int
) -> None:
    numbers = [f"0287300{number:04}" for number in range(hotlines)]
    load(DAY, [call(one, from_number=one, direction="outbound") for one in numbers])
    words = read(store, DAY, DAY).words
    assert words.count("The 20 of 21 hotlines") == notes
    assert words.count("028•••••") == 20


def test_a_failed_check_is_shown_first_with_its_finding(store: Store, load: LoadDay) -> None:
    load(DAY, [call(status="unheard-of", cause="USER_BUSY")])
    words = read(store, DAY, DAY).words
    found = words.index("! look here Every status is known")
    assert "1 of 1 calls: unheard-of (1)" in words[found:]
    assert found < words.index("✓ passed")


@pytest.mark.parametrize(
    ("language", "says"),
    [
        (
            "en",
            "2 of 3 days: 2023-03-07 to 2023-03-08. On 2023-03-07: 1 of 1 calls: unheard-of (1)",
        ),
        (
            "vi",
            "2 trên 3 ngày: 07/03/2023 đến 08/03/2023."
            " Ngày 07/03/2023: 1 trên 1 cuộc gọi: unheard-of (1)",
        ),
    ],
)
def test_a_failed_check_of_a_range_names_its_days_and_the_finding_of_the_first(
    store: Store, load: LoadDay, language: Language, says: str
) -> None:
    days = [DAY + timedelta(days=number) for number in range(3)]
    for day, status in zip(days, ("unheard-of", "unheard-of", "busy"), strict=True):
        load(day, [call("a", f"{day} 10:00:00", status=status, cause="USER_BUSY")])
    assert says in read(store, days[0], days[2], language).words


def test_the_finding_of_every_check_has_a_vietnamese_text(store: Store, load: LoadDay) -> None:
    """Every check fails on this day; the test fails for a new check until it has a text."""
    load(DAY - WEEK, [call(f"{number}", f"{DAY - WEEK} 10:00:00") for number in range(1200)])
    strange = {"status": "new", "cause": "x", "direction": "up", "sip_hangup_disposition": "sent"}
    times = {"time_answered": f"{DAY} 10:00:01", "time_ended": f"{DAY} 10:00:02"}
    odd = call("a", ai=1, duration="many", **strange)
    longer = call("b", billsec=9, duration=9, status="answered", **times)
    load(DAY, [call(""), odd, longer, call("c", billsec=3, status="answered")])
    receipt = store.read(RECEIPTS, DAY).with_columns(reported_total=pl.lit(1234, pl.Int64))
    store.write(RECEIPTS, DAY, receipt)
    made = figures(store, DAY, DAY)
    assert [one.check.name for one in made.findings[DAY] if one.passed] == []
    lines = page.html(made, Words("vi"), SAIGON).split('<span class="note told">')
    assert [line.partition("<")[0] for line in lines[1:]] == [
        "4 bản ghi khác nhau, tổng của nhà cung cấp là 1.234; đọc 1 lần, 1 yêu cầu",
        "3 cuộc gọi; cùng thứ các tuần trước 1.200",
        "bản ghi không có id (1), duration không phải số nguyên (1)",
        "1 cuộc gọi có ai",
        "1 trên 3 cuộc gọi",
        "1 trên 3 cuộc gọi",
        "1 trên 3 cuộc gọi",
        "1 trên 3 cuộc gọi: new (1)",
        "1 trên 3 cuộc gọi: x (1)",
        "1 trên 3 cuộc gọi: x (1)",
        "1 trên 3 cuộc gọi: sent (1)",
        "1 trên 3 cuộc gọi: up (1)",
    ]


def test_the_page_is_replaced_as_a_whole_at_the_given_path(
    store: Store, load: LoadDay, tmp_path: Path
) -> None:
    load(DAY, simulated(DAY, 30))
    path, _ = page.write(store, DAY, DAY, "en")
    assert path == store.root / "reports" / "2023-03-07.html"
    (tmp_path / "here").mkdir()
    other, _ = page.write(store, DAY, DAY + WEEK, "en", tmp_path / "here" / "it.html")
    assert other == tmp_path / "here" / "it.html"
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert [one.name for one in other.parent.iterdir()] == [other.name]


def test_only_a_file_or_the_target_of_a_link_is_replaced(
    store: Store, load: LoadDay, tmp_path: Path
) -> None:
    """For root, `--output` replaced the device /dev/null and the link /dev/stdout by files."""
    load(DAY, [call("a")])
    pipe, link, linked = tmp_path / "pipe", tmp_path / "link", tmp_path / "page.html"
    os.mkfifo(pipe)
    with pytest.raises(CdrError, match="pipe is no file"):
        page.write(store, DAY, DAY, "en", pipe)
    assert pipe.is_fifo()
    link.symlink_to(linked)
    page.write(store, DAY, DAY, "en", link)
    assert link.is_symlink()
    assert "Calls of 2023-03-07" in linked.read_text(encoding="utf-8")


def test_two_writers_of_one_page_do_not_mix_their_files(
    store: Store, load: LoadDay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report` was typed while Dagster drew the same page: one of them found its file gone, and
    readers saw half of the other's.
    """
    load(DAY, [call("a")])
    together = Barrier(2)

    def sync(path: Path) -> None:
        if path.suffix == ".new":
            with suppress(BrokenBarrierError):  # the other one waits for the lock
                together.wait(1)

    monkeypatch.setattr("cdr_pipeline.tables.store._sync", sync)
    with ThreadPoolExecutor(2) as both:
        drawings = [both.submit(page.write, store, DAY, DAY, "en") for _ in range(2)]
        assert {drawing.result()[0] for drawing in drawings} == {page.place(store, DAY, DAY)}
    assert [path.name for path in (store.root / page.FOLDER).iterdir()] == [f"{DAY}.html"]


def test_without_the_extra_the_error_says_how_to_get_it(
    store: Store, load: LoadDay, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(DAY, [])
    monkeypatch.setattr(page, "available", lambda: False)
    with pytest.raises(CdrError, match="uv sync --extra report"):
        page.write(store, DAY, DAY, "en")
    assert not (store.root / page.FOLDER).exists()
