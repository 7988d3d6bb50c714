"""Texts of the report: each in every language, with the same placeholders."""

from datetime import date
from string import Formatter
from typing import get_args

import pytest

from cdr_pipeline import checks
from cdr_pipeline.checks import Finding, Told
from cdr_pipeline.record import Disposition, Reason
from cdr_pipeline.report.words import FOUND, TEXTS, Words
from cdr_pipeline.settings import Language


def placeholders(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text)} - {None}


def test_every_language_has_every_text_with_the_same_placeholders() -> None:
    for language in get_args(Language):
        assert list(TEXTS[language]) == list(TEXTS["en"])
        for name, text in TEXTS["en"].items():
            assert placeholders(TEXTS[language][name]) == placeholders(text), (language, name)


def test_every_language_has_the_texts_of_findings_with_the_placeholders_of_the_english() -> None:
    for language in get_args(Language)[1:]:
        assert FOUND[language].keys() == FOUND["vi"].keys()
        for english, text in FOUND[language].items():
            assert placeholders(text) == placeholders(english), (language, english)


def test_every_disposition_and_every_check_in_the_report_has_a_text() -> None:
    listed = {checks.VERIFIED, checks.USUAL_VOLUME, checks.FITS, checks.DOCUMENTED}
    needed = {f"check.{one.name}" for one in (*listed, *checks.ROW_WARNINGS)}
    needed |= {f"disposition.{one.label}" for one in Disposition}
    assert {name for name in TEXTS["en"] if "." in name} == needed


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_text_in_every_language(reason: Reason) -> None:
    found = Finding(checks.FITS, False, Told(reason))
    texts = [Words(language).found(found) for language in get_args(Language)]
    assert texts[0] == reason
    assert len(set(texts)) == len(texts)


def test_findings_have_the_number_format_of_the_language_and_values_as_they_came() -> None:
    """A regular expression over the English text took values for numbers or for words of ours."""
    named = [
        Told("{what} ({count})", what=what, count=1234) for what in (Told("none"), "none", "1,234")
    ]
    summary = Told("{count} of {total} calls: {named}", count=2468, total=5678, named=named)
    found = Finding(checks.FITS, False, summary)
    assert (
        Words("en").found(found)
        == "2,468 of 5,678 calls: none (1,234), none (1,234), 1,234 (1,234)"
    )
    assert Words("vi").found(found) == (
        "2.468 trên 5.678 cuộc gọi: không có (1.234), none (1.234), 1,234 (1.234)"
    )


def test_numbers_are_in_the_format_of_the_language() -> None:
    assert Words("en").number(1234567.891, 2) == "1,234,567.89"
    assert Words("vi").number(1234567.891, 2) == "1.234.567,89"
    assert (Words("vi").percent(0.1234), Words("en").percent(None)) == ("12,3 %", "-")


def test_days_are_in_the_format_of_the_language_and_further_ranges_are_counted() -> None:
    days = [date(2023, 3, number) for number in (1, 2, 6, 9, 12)]
    assert Words("en").ranges(days, 4) == (
        "2023-03-01 to 2023-03-02, 2023-03-06, 2023-03-09, 2023-03-12"
    )
    assert Words("en").ranges(days, 1) == "2023-03-01 to 2023-03-02 and 3 more"
    assert Words("vi").ranges(days, 1) == "01/03/2023 đến 02/03/2023 và 3 khoảng khác"
