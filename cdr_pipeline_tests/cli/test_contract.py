"""`contract propose` and `contract diff`."""

from pathlib import Path

import pytest

from cdr_pipeline_tests.cli.typed import Type, declared


def test_a_proposal_can_be_put_into_force_as_it_is(loaded: Type) -> None:
    text = loaded("contract", "propose").stdout
    Path("proposed.toml").write_text(text, encoding="utf-8")
    told = loaded("contract", "diff", "proposed.toml")
    assert told.exit_code == 0, told.output
    assert "Every value fits." in told.output
    assert "3 days (2023-03-06 to 2023-03-08)" in told.output


def test_diff_tells_of_columns_values_and_days_and_changes_nothing(loaded: Type) -> None:
    told = loaded("contract", "diff", CDR_CONTRACT="contract.toml").output
    assert "amount" in told
    assert "Decimal" in told
    assert "cdr-pipeline rebuild" in told
    assert not declared("2023-03-07")


def test_diff_names_declared_keys_that_no_call_has(loaded: Type) -> None:
    Path("slip.toml").write_text('[keys.tuoii]\ntype = "int"\n', encoding="utf-8")
    told = loaded("contract", "diff", "slip.toml").output
    assert 'No call of these days has the key "tuoii".' in told
    assert "No call" not in loaded("contract", "diff", CDR_CONTRACT="contract.toml").output


@pytest.mark.parametrize("words", [("contract", "propose"), ("contract", "diff")])
def test_nothing_stored_is_nothing_to_propose_from(type_: Type, words: tuple[str, ...]) -> None:
    done = type_(*words)
    assert done.exit_code == 1
    assert "No calls are stored" in done.output
