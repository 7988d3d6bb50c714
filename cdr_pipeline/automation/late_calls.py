"""By day, compares the vendor's totals of older days with the proved totals."""

import time
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

import dagster as dg

from cdr_pipeline import upkeep
from cdr_pipeline.api.client import Client, Patience
from cdr_pipeline.api.reading import total
from cdr_pipeline.assets.failures import in_words
from cdr_pipeline.assets.layer import Loading
from cdr_pipeline.automation.jobs import ASKED_BY, LOAD_DAYS, days_tags, settings_of
from cdr_pipeline.errors import CdrError, SettingsError, Unauthorized, Unavailable, Unreachable
from cdr_pipeline.settings import Settings
from cdr_pipeline.tables.receipts import last_fetch
from cdr_pipeline.tables.store import Store

#: A day proved in more parts than this is not probed: that would cost as much as loading it.
_MOST_PARTS: Final = 24

#: Dagster gives a sensor a minute. Days not probed within this time are probed at the next tick.
_PROBE_SECONDS: Final = 20.0
_BRIEFLY: Final = Patience(attempts=2, first_attempts=2, seconds=10.0)


@dg.sensor(
    job=LOAD_DAYS,
    minimum_interval_seconds=int(upkeep.PROBE_EVERY.total_seconds()),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Once a day, asks the vendor for the total of each loaded day that the nightly schedule no"
        " longer loads again, back to CDR_PROBE_DAYS: one request for one row, spread over the"
        " hours of the day. Loads the days whose total changed. An edited call changes no total and"
        " is not seen: CDR_LOOKBACK_DAYS must be as long as calls are edited."
    ),
)
def late_calls(
    context: dg.SensorEvaluationContext, loading: dg.ResourceParam[Loading]
) -> dg.SensorResult:
    """Ask for runs of days whose totals changed since they were proved."""
    try:
        settings = settings_of(loading, vendor=True)
        store = Store.of(settings)
        now = datetime.now(UTC).astimezone(settings.zone)
        today = now.date()
        stored = upkeep.to_probe(store, today - upkeep.DAY, settings)
        turn = upkeep.Round.read(context.cursor, today)
        days = turn.due(stored, now)
        if not days:
            return dg.SensorResult(skip_reason="No day's turn has come.", cursor=f"{turn}")
        with Client.from_settings(_brief(settings), _BRIEFLY) as client:
            turn, moved, doubts = _probe(client, store, days, turn)
    except (SettingsError, OSError) as error:
        return dg.SensorResult(skip_reason=in_words(error), cursor=context.cursor)
    for doubt in doubts:
        context.log.warning(doubt)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=one.run_key(today),
                tags={**days_tags(one.day, one.day), ASKED_BY: f"late_calls: {one}"},
            )
            for one in moved
        ],
        skip_reason=None if moved else "\n".join(doubts) or "No total moved.",
        cursor=f"{turn}",
    )


def _probe(
    client: Client, store: Store, days: Iterable[date], turn: upkeep.Round
) -> tuple[upkeep.Round, list[upkeep.Moved], list[str]]:
    """Compare the totals of as many `days` as there is time for; return the round after it, the
    days whose totals changed, and messages about failures.
    """
    moved: list[upkeep.Moved] = []
    doubts: list[str] = []
    until = time.monotonic() + _PROBE_SECONDS
    for number, day in enumerate(days):
        if time.monotonic() > until:
            break
        try:
            found = _compare(client, store, day, until)
        except (Unreachable, Unauthorized, Unavailable) as error:
            # The next day would most likely fail too.
            doubts.append(f"{day}: {error} Its total is asked for again later.")
            turn = turn.after(day, answered=False)
            break
        except _TooMany as error:
            if number and time.monotonic() > until:
                break  # the day is the first of the next tick
            doubts.append(f"{day}: {error} Load it again yourself if you doubt it.")
        except (CdrError, OSError) as error:
            doubts.append(f"{day}: {in_words(error)} Its total is compared again tomorrow.")
        else:
            moved += [found] if found else []
        turn = turn.after(day, answered=True)
    return turn, moved, doubts


def _brief(settings: Settings) -> Settings:
    """Settings with a timeout that is no longer than a tick may take."""
    seconds = min(settings.timeout_seconds, _PROBE_SECONDS)
    return settings.model_copy(update={"timeout_seconds": seconds})


class _TooMany(CdrError):
    """A day was proved in more parts than a tick can compare."""


def _compare(client: Client, store: Store, day: date, until: float) -> upkeep.Moved | None:
    """Ask for the totals of the parts in which a day was proved; None if none has changed.

    Raises _TooMany if there are too many parts, by their number or for the time that is left.
    """
    proved = store.pages(day).totals()
    now = {}
    for part in proved:
        if len(proved) > _MOST_PARTS or time.monotonic() > until:
            raise _TooMany(f"it was proved in {len(proved)} parts, too many to compare.")
        now[part] = total(client, part)
    if now == proved:
        return None
    proved_at = last_fetch(store, day).proved_at
    return upkeep.Moved(day, sum(proved.values()), sum(now.values()), proved_at)
