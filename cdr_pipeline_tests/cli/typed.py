"""Shared by tests of the commands: a small vendor, a contract, and Ctrl-C."""

import os
import signal
from collections.abc import Callable

import polars as pl
from click.testing import Result

from cdr_pipeline.simulator import Tenant, Vendor

TOKEN = "a-token-that-must-not-be-seen"
Type = Callable[..., Result]

#: A contract: the values of `Số tiền` are decimals in a column `amount`.
OWN = '[keys."Số tiền"]\ntype = "decimal"\ncolumn = "amount"\n'


def small(**options: object) -> Vendor:
    return Vendor(tenant=Tenant(calls_per_day=60), token=TOKEN, **options)  # type: ignore[arg-type]


def interrupt(*_: object) -> None:
    """Send this process a Ctrl-C (SIGINT)."""
    os.kill(os.getpid(), signal.SIGINT)


def declared(day: str) -> bool:
    """Whether the stored day has the column that `OWN` declares."""
    return "amount__decimal" in pl.read_parquet_schema(f"data/cdrs/date={day}/part-0.parquet")
