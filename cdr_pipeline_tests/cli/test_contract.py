"""`contract propose` and `contract diff`."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from cdr_pipeline import cli
from cdr_pipeline_tests.cli.typed import OWN, Type, declared


def test_a_proposal_is_a_contract_that_every_value_fits(loaded: Type) -> None:
    text = loaded("contract", "propose").stdout
    Path("proposed.toml").write_text(text, encoding="utf-8")
    done = loaded("contract", "diff", "proposed.toml")
    assert done.exit_code == 0, done.output
    assert "Every value fits." in done.output
    assert "3 days (2023-03-06 to 2023-03-08)" in done.output


@pytest.mark.usefixtures("loaded")
def test_a_proposal_is_utf_8_whatever_the_terminals_encoding() -> None:
    printed = CliRunner(charset="latin-1").invoke(cli.main, ["contract", "propose"]).stdout_bytes
    assert "Số tiền" in tomllib.loads(printed.decode())["keys"]


def test_diff_shows_columns_and_days_and_changes_nothing(loaded: Type) -> None:
    output = loaded("contract", "diff", CDR_CONTRACT="contract.toml").output
    assert "amount" in output
    assert "Decimal" in output
    assert "cdr-pipeline rebuild" in output
    assert not declared("2023-03-07")


def test_diff_writes_types_as_the_dictionary_does(loaded: Type) -> None:
    text = '[keys."Số tiền"]\ntype = "datetime"\nformat = "%s"\n'
    Path("epoch.toml").write_text(text, encoding="utf-8")
    output = loaded("contract", "diff", "epoch.toml").output
    assert "Datetime(us, zone of CDR_TIMEZONE)" in output


def test_diff_names_declared_keys_that_no_call_has(loaded: Type) -> None:
    Path("slip.toml").write_text('[keys.tuoii]\ntype = "int"\n', encoding="utf-8")
    output = loaded("contract", "diff", "slip.toml").output
    assert 'No call of these days has the key "tuoii".' in output
    assert "No call" not in loaded("contract", "diff", CDR_CONTRACT="contract.toml").output


def test_diff_without_any_contract_says_how_to_name_one(type_: Type) -> None:
    done = type_("contract", "diff")
    assert done.exit_code == 2
    assert "No contract is named: give its FILE, or set CDR_CONTRACT." in done.output
    assert "contract propose > contract.toml" in done.output


@pytest.mark.parametrize("words", [("contract", "propose"), ("contract", "diff", "contract.toml")])
def test_without_stored_calls_the_commands_say_so(type_: Type, words: tuple[str, ...]) -> None:
    Path("contract.toml").write_text(OWN, encoding="utf-8")
    done = type_(*words)
    assert done.exit_code == 1
    assert "No calls of these days are stored in data: there is no such folder." in done.output
