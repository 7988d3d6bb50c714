"""Every text in every language, with the same places to fill in."""

from datetime import date
from string import Formatter

import pytest

from cdr_pipeline import checks
from cdr_pipeline.record import Disposition
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
