"""The column name of a lead list's key: `additional_` and the key in plain letters.

A name depends only on the keys of its own record. The endings that tell types are in
`types.ENDINGS`.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from cdr_pipeline.record import ADDITIONAL

_DIGEST_DIGITS: Final = 6
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")
_PERSONAL: Final = re.compile(
    r"(?:^|_)(?:ten|ho_ten|hoten|name|fullname|sdt|phone|mobile|dien_thoai|dt|email|mail|cmnd|cmt"
    r"|cccd|passport|ho_chieu|dia_chi|address|ngay_sinh|birthday|birth|dob|otp|stk|so_the"
    r"|tai_khoan|account|bien_so|khach_hang|customer)(?:\d|_|$)"
)


@lru_cache(maxsize=10_000)
def column_names(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The column name of each key of one record, without the type's ending; all distinct."""
    names = {key: plain_name(key) for key in keys}
    while clashes := names.keys() - _owners(names).values():
        for key in clashes:
            names[key] += f"_{digest(key)}"
    return tuple(f"{ADDITIONAL}_{names[key]}" for key in keys)


@lru_cache(maxsize=100_000)
def plain_name(key: str) -> str:
    """A key as a name: Số tiền -> so_tien."""
    letters = unicodedata.normalize("NFD", key.replace("đ", "d").replace("Đ", "D"))
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return _NOT_A_NAME.sub("_", bare.lower()).strip("_") or "key"


def digest(key: str) -> str:
    """The first hex digits of a key's SHA-256, which distinguish it from other keys of its name."""
    return hashlib.sha256(key.encode()).hexdigest()[:_DIGEST_DIGITS]


def sounds_personal(key: str) -> bool:
    """Whether a key's name says that its values are personal: so dien thoai, email, ten."""
    return bool(_PERSONAL.search(plain_name(key)))


def _owners(names: Mapping[str, str]) -> dict[str, str]:
    """Name -> the key that has it, of all keys that share it: the equal key, else the first."""
    last_wins = sorted(names, key=lambda key: (key != names[key], key), reverse=True)
    return {names[key]: key for key in last_wins}
