"""`data/DICTIONARY.md` and the command `dictionary` have the text that the code makes."""

from pathlib import Path

from click.testing import CliRunner

from cdr_pipeline.cli import main
from cdr_pipeline.tables.dictionary import dictionary

STORED = Path(__file__).parents[2] / "data" / "DICTIONARY.md"


def test_the_stored_dictionary_equals_the_one_the_code_makes() -> None:
    stored = STORED.read_text(encoding="utf-8")
    assert stored == dictionary(), "cdr-pipeline dictionary > data/DICTIONARY.md"


def test_the_command_prints_the_dictionary() -> None:
    done = CliRunner().invoke(main, ["dictionary"])
    assert done.exit_code == 0
    assert done.stdout == dictionary()
