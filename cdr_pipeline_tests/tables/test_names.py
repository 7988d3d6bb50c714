"""Rules for names of `additional_*` columns: plain letters, distinct within a record, dependent
only on the keys of that record.
"""

from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_pipeline.tables.names import column_names, plain_name, sounds_personal
from cdr_pipeline_tests.records import KEY


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *(("Số tiền", "so_tien"), ("Đỗ", "do"), ("đđ", "dd"), ("Ngày  đến-hạn", "ngay_den_han")),
        *(("N\u0067a\u0300", "nga"), ("ten__int", "ten_int"), ("__a__", "a"), ("data1", "data1")),
        *(
            ("", "key"),
            ("!!!", "key"),
            ("😀", "key"),
            ("İ", "i"),
            ("ÀÉÎ", "aei"),
            ("a.b c", "a_b_c"),
        ),
        ("\0", "key"),
    ],
)
def test_a_name_is_the_key_without_diacritics_in_lower_case(key: str, name: str) -> None:
    assert plain_name(key) == name
    assert column_names((key,)) == (f"additional_{name}",)


def digits(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:6]


def names_of(*keys: str) -> dict[str, str]:
    return dict(zip(keys, column_names(keys), strict=True))


def test_a_shared_name_goes_to_the_key_that_equals_it() -> None:
    assert names_of("TEN", "Tên", "ten") == {
        "TEN": f"additional_ten_{digits('TEN')}",
        "Tên": f"additional_ten_{digits('Tên')}",
        "ten": "additional_ten",
    }


def test_a_shared_name_that_no_key_equals_goes_to_the_first_key_by_code_point() -> None:
    assert names_of("tèn", "Tên", "TEN") == {
        "tèn": f"additional_ten_{digits('tèn')}",
        "Tên": f"additional_ten_{digits('Tên')}",
        "TEN": "additional_ten",
    }


def test_a_key_that_equals_anothers_suffixed_name_keeps_its_own() -> None:
    crafted = f"ten_{digits('Tên')}"
    names = names_of("ten", "Tên", crafted)
    assert names["ten"] == "additional_ten"
    assert names[crafted] == f"additional_{crafted}"
    assert names["Tên"].startswith(f"additional_ten_{digits('Tên')}")
    assert len(set(names.values())) == 3


def test_keys_whose_digests_begin_alike_get_different_names() -> None:
    marks = ["!" * n for n in range(1, 9000)]
    by_digits: dict[str, list[str]] = {}
    for mark in marks:
        by_digits.setdefault(digits(mark), []).append(mark)
    alike = next(keys for keys in by_digits.values() if len(keys) > 1)
    assert len(set(column_names(("key", *alike)))) == len(alike) + 1


@st.composite
def colliding_keys(draw: st.DrawFn) -> list[str]:
    """Keys of one record; some of them equal the suffixed names of other keys."""
    keys = draw(st.lists(KEY, max_size=6, unique=True))
    suffixed = [f"{plain_name(key)}_{digits(key)}" for key in keys]
    more = draw(st.lists(st.sampled_from([*keys, *suffixed, "key"]), unique=True))
    again = [f"{key}_{digits(key)}" for key in more]
    shouted = [key.upper() for key in draw(st.lists(st.sampled_from([*more, *again, "x"])))]
    return draw(st.permutations(sorted({*keys, *more, *again, *shouted})))


@given(colliding_keys(), st.randoms(use_true_random=False))
def test_names_are_distinct_and_do_not_depend_on_the_order_of_keys(
    keys: list[str], random: Random
) -> None:
    names = names_of(*keys)
    assert len(set(names.values())) == len(keys)
    other = list(keys)
    random.shuffle(other)
    assert names_of(*other) == names
    for key, name in names.items():
        assert name.startswith(f"additional_{plain_name(key)}")
        if key == plain_name(key):
            assert name == f"additional_{key}"


@pytest.mark.parametrize(
    "key", ["Tên", "Họ tên", "SĐT", "sdt2", "Số điện thoại", "e-mail", "Địa chỉ", "CCCD", "OTP"]
)
def test_a_key_that_names_a_person_sounds_personal(key: str) -> None:
    assert sounds_personal(key)


@pytest.mark.parametrize("key", ["Số tiền", "tiền", "data1", "potential", "hotline", "dtx", ""])
def test_a_key_with_such_a_word_only_inside_another_word_does_not(key: str) -> None:
    assert not sounds_personal(key)
