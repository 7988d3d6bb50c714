"""`report` and `dictionary`: the text that they write, and where."""

from pathlib import Path

from cdr_pipeline_tests.cli.typed import OWN, Type


def test_report_writes_one_page_of_a_day_or_a_range_in_either_language(loaded: Type) -> None:
    day = loaded("report", "--from", "2023-03-07")
    assert day.output.strip().endswith("data/reports/2023-03-07.html")
    assert "Calls of 2023-03-07" in Path("data/reports/2023-03-07.html").read_text()
    words = ("--from", "2023-03-06", "--to", "2023-03-07", "--lang", "vi", "--output", "week.html")
    assert loaded("report", *words).exit_code == 0
    assert "Cuộc gọi 06/03/2023 đến 07/03/2023" in Path("week.html").read_text(encoding="utf-8")
    assert loaded("report", "--from", "2023-03-07", CDR_REPORT_LANGUAGE="vi").exit_code == 0
    text = Path("data/reports/2023-03-07.html").read_text(encoding="utf-8")
    assert "Cuộc gọi ngày 07/03/2023" in text


def test_report_says_which_days_are_missing_or_reversed(type_: Type) -> None:
    nothing = type_("report", "--from", "2023-03-07")
    assert nothing.exit_code == 1
    assert "nothing to report of 2023-03-07" in " ".join(nothing.output.split())
    turned = type_("report", "--from", "2023-03-07", "--to", "2023-03-06")
    assert turned.exit_code == 2
    assert "--from 2023-03-07 is after --to 2023-03-06" in turned.output


def test_report_makes_no_folder_for_its_output(loaded: Type) -> None:
    done = loaded("report", "--from", "2023-03-07", "--output", "nowhere/day.html")
    assert done.exit_code == 2
    assert "nowhere: there is no such folder" in done.output
    assert not Path("nowhere").exists()


def test_the_dictionary_shows_declared_columns(type_: Type) -> None:
    Path("contract.toml").write_text(OWN, encoding="utf-8")
    text = type_("dictionary", CDR_CONTRACT="contract.toml").stdout
    assert '| `amount` | "Số tiền" | Decimal' in text
