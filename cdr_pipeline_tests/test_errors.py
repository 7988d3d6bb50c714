"""Messages: how numbers and links in text from outside are cut."""

import pytest

from cdr_pipeline.errors import redacted


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("call 0939 815 815 or 0912.34.5678 at 10:00", "call 093… or 091… at 10:00"),
        ("on 2023-03-07, 7 of 1200", "on 2023-03-07, 7 of 1200"),
        ("2023-31-12 10:11:12, 31/12/2023", "2023-31-12 10:11:12, 31/12/2023"),
        ("0939815815https://pbx.example.vn/1.wav", "093…htt…"),
        ('{"a":"sip:+https://pbx.example.vn/1.wav?token=x","b":1}', '{"a":"sip:+htt…","b":1}'),
    ],
)
def test_numbers_and_links_are_cut_to_their_beginnings(said: str, shown: str) -> None:
    assert redacted(said) == shown


@pytest.mark.parametrize("word", ["x", "1a"])
def test_a_long_word_is_searched_once(word: str) -> None:
    """A search from each letter of the word took hours."""
    long = word * 1_000_000
    assert redacted(long) == long
