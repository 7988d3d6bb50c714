"""`simulate`: the vendor simulator, for any client."""

from typing import Any

import click

from cdr_pipeline.cli.shared import err
from cdr_pipeline.errors import CdrError


class _WithFaults(click.Command):
    """A command whose --help lists the faults that it can simulate."""

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        from cdr_pipeline.simulator import Chaos

        with formatter.section("Faults for --chaos (name[=setting], joined by commas)"):
            formatter.write_dl(list(Chaos.names().items()))


@click.command(cls=_WithFaults)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8787,
    show_default=True,
    help="Port to listen on. 0: any free port.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--seed", default=7, show_default=True, help="Another seed gives other calls.")
@click.option(
    "--calls-per-day",
    type=click.IntRange(0),
    default=2_000,
    show_default=True,
    help="About how many calls a usual weekday has.",
)
@click.option("--token", default="demo-token", show_default=True, help="Bearer token to accept.")
@click.option("--api-key", default="demo-key", show_default=True, help="API key to accept.")
@click.option(
    "--bounds",
    type=click.Choice(["inclusive", "exclusive", "half-open"]),
    default="inclusive",
    show_default=True,
    help="Whether calls at start_date and end_date are listed.",
)
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest", "shuffled"]),
    default="newest",
    show_default=True,
    help="Order in which calls are listed.",
)
@click.option("--chaos", default="", help="Faults, such as drift,flaky=0.25; see the list below.")
def simulate(
    port: int,
    host: str,
    seed: int,
    calls_per_day: int,
    token: str,
    api_key: str,
    bounds: Any,
    order: Any,
    chaos: str,
) -> None:
    """Start a simulated vendor, with or without faults.

    It runs on this machine, for any client. The same seed, date and number of calls always give
    the same calls, whenever you start it.
    """
    from cdr_pipeline.simulator import Chaos, Tenant, Vendor, run_forever

    try:
        faults = Chaos.parse(chaos, seed=seed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--chaos") from None
    vendor = Vendor(
        tenant=Tenant(seed=seed, calls_per_day=calls_per_day),
        token=token,
        api_key=api_key,
        bounds=bounds,
        order=order,
        chaos=faults,
    )

    def say(url: str) -> None:
        err.print(
            f"Serving {calls_per_day:,} calls a day. In another terminal:\n"
            f"  export CDR_API_BASE_URL={url} CDR_API_TOKEN={token}\n"
            "Ctrl-C ends it.",
            highlight=False,
            markup=False,
        )

    try:
        run_forever(vendor, host, port, say)
    except OSError as error:
        raise CdrError(f"Cannot listen on {host}:{port}: {error.strerror}") from None
