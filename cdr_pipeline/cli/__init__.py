"""The command line `cdr-pipeline`, one module per concern: messages, tables and exit codes. Other
packages do the work.
"""

import os
import sys
from typing import Any

import click

from cdr_pipeline import __version__
from cdr_pipeline.cli import ask, contract, days, demo, documents, simulate, status, ui
from cdr_pipeline.cli.shared import warn
from cdr_pipeline.errors import CdrError, way_out
from cdr_pipeline.process import as_program


class _Readable(click.Group):
    """Prints our own errors, and errors of the disk, as one message without a traceback. If the
    reader of the output has closed it, as `head` does, click ends without a message.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CdrError as error:
            told = str(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            told = f"{where}{error.strerror or error}. {way_out(error)}".rstrip()
        warn("Error", told)
        sys.exit(1)


@click.group(
    cls=_Readable,
    commands=[
        days.run,
        days.rebuild,
        status.status,
        documents.report,
        documents.dictionary,
        ask.list_calls,
        contract.contract,
        ui.ui,
        demo.demo,
        simulate.simulate,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__)
def main() -> None:
    """Load the calls of a cloud PBX into typed daily Parquet files, proved complete.

    \b
    Try it without a vendor:   cdr-pipeline demo
    Load a week:               cdr-pipeline run --from 2023-03-01 --to 2023-03-07
    See what is stored:        cdr-pipeline status
    Open Dagster:              cdr-pipeline ui

    Settings come from the environment or from a file `.env` in the working folder; `.env.example`
    lists all of them.
    """


def program() -> None:
    """The command `cdr-pipeline`, as a process of its own."""
    if os.name == "nt":
        sys.exit("cdr-pipeline does not run on Windows itself: install and start it in WSL.")
    as_program(main)
