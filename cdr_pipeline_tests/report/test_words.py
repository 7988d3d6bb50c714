"""Every text in every language, with the same places to fill in."""

from datetime import date
from string import Formatter

import polars as pl
import pytest

from cdr_pipeline import checks
from cdr_pipeline.record import Disposition, Reason
from cdr_pipeline.report.words import TEXTS, Words


def places(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text)} - {None}


def test_every_language_has_every_text_with_the_same_places() -> None:
    english, vietnamese = TEXTS["en"], TEXTS["vi"]
    assert list(english) == list(vietnamese)
    for name, text in english.items():
        assert places(text) == places(vietnamese[name]), name


@pytest.mark.parametrize("language", ["en", "vi"])
def test_every_disposition_and_every_check_of_what_is_stored_has_words(language: str) -> None:
    texts = TEXTS["vi" if language == "vi" else "en"]
    told = {checks.VERIFIED, checks.USUAL_VOLUME, checks.FITS, checks.DOCUMENTED}
    needed = {f"check.{one.name}" for one in (*told, *checks.ROW_WARNINGS)}
    needed |= {f"disposition.{one.label}" for one in Disposition}
    assert {name for name in texts if "." in name} == needed


def test_numbers_are_written_as_each_language_does() -> None:
    assert Words("en").number(1234567.891, 2) == "1,234,567.89"
    assert Words("vi").number(1234567.891, 2) == "1.234.567,89"
    assert (Words("vi").percent(0.1234), Words("en").percent(None)) == ("12,3 %", "-")


def test_days_are_written_as_each_language_does_and_the_rest_are_counted() -> None:
    days = [date(2023, 3, number) for number in (1, 2, 6, 9, 12)]
    assert Words("en").ranges(days, 4) == (
        "2023-03-01 to 2023-03-02, 2023-03-06, 2023-03-09, 2023-03-12"
    )
    assert Words("en").ranges(days, 1) == "2023-03-01 to 2023-03-02 and 3 more"
    assert Words("vi").ranges(days, 1) == "01/03/2023 đến 02/03/2023 và 3 khoảng khác"


def test_whatever_a_check_finds_is_told_in_vietnamese() -> None:
    found = Words("vi").found
    receipt = pl.DataFrame(
        {"unique_records": 1234, "reported_total": 1235, "passes": 2, "requests": 9, "verified": 0}
    )
    assert found(checks.verified(receipt).summary) == (
        "1.234 bản ghi khác nhau, tổng của nhà cung cấp là 1.235; đọc 2 lần, 9 yêu cầu"
    )
    assert found(checks.usual_volume(90_000, [1_000, 2_000]).summary) == (
        "90.000 cuộc gọi; cùng thứ các tuần trước 1.500"
    )
    assert found("duration not a whole number (2), record no id (1)") == (
        "duration không phải số nguyên (2), bản ghi không có id (1)"
    )
    for reason in Reason:
        for what, theirs in (("record", "bản ghi"), ("additional", "additional")):
            told = found(f"{what} {reason} (1)")
            assert told.startswith(f"{theirs} ")
            assert reason not in told
    assert Words("en").found("1,234 of 2,000 calls") == "1,234 of 2,000 calls"
