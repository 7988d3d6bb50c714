"""A marimo notebook: answers five questions of a call-centre manager from the data folder.

uv run --group notebook marimo edit cdr_pipeline/notebook.py
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Calls")

with app.setup:
    import altair as alt
    import marimo as mo
    import polars as pl

    from cdr_pipeline import scan
    from cdr_pipeline.record import SHORT_CALL_SECONDS, Disposition
    from cdr_pipeline.tables import kpi


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Calls

    From the folder of CDR_DATA_DIR, root legs only. Ratios are made from sums, so they hold over
    any range of days.
    """)
    return


@app.cell
def _():
    _day = pl.col("date")
    _stored = scan("campaign_daily").select(first=_day.min(), last=_day.max()).collect()
    _first, _last = _stored.row(0)
    days = mo.ui.date_range(start=_first, stop=_last, label="Days, both included")
    days
    return (days,)


@app.cell
def _(days):
    daily = scan("campaign_daily", *days.value)
    endings = scan("disposition_daily", *days.value)
    numbers = scan("hotline_daily", *days.value)
    hourly = scan("campaign_hourly", *days.value)
    tries = scan("lead_attempts", *days.value)
    return daily, endings, hourly, numbers, tries


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 1. Which campaigns reach people?

    ASR: answered of the calls really attempted. NER: what the network could do its part for. A low
    ASR under a high NER is about the people called; a low NER is about numbers and lines.
    """)
    return


@app.cell
def _(daily):
    campaigns = (
        daily.group_by("campaign_uuid")
        .agg(pl.col("calls", "seizures", "effective", "answered", "billsec").sum())
        .with_columns(**kpi.ratios())
        .with_columns(pl.col("campaign_uuid").fill_null("outside campaigns"))
        .sort("calls", "campaign_uuid", descending=[True, False])
        .collect()
    )
    return (campaigns,)


@app.cell
def _(campaigns):
    mo.vstack(
        [
            alt.Chart(campaigns.unpivot(["asr", "ner"], index="campaign_uuid"))
            .mark_bar()
            .encode(
                x=alt.X("value", title=None).axis(format="%").scale(domain=[0, 1]),
                y=alt.Y("campaign_uuid", title=None, sort=campaigns["campaign_uuid"].to_list()),
                yOffset="variable",
                color=alt.Color("variable", title=None),
                tooltip=["campaign_uuid", "variable", alt.Tooltip("value", format=".1%")],
            ),
            campaigns,
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 2. When do people answer?

    Calls answered of those made, by weekday and local hour; few calls say little.
    """)
    return


@app.cell
def _(hourly):
    hours = (
        hourly.group_by(weekday=pl.col("date").dt.weekday(), hour="hour")
        .agg(pl.col("calls", "answered").sum())
        .with_columns(rate=kpi.ratio("answered", "calls"))
        .sort("weekday", "hour")
        .collect()
    )
    return (hours,)


@app.cell
def _(hours):
    alt.Chart(hours).mark_rect().encode(
        x=alt.X("hour:O", title="hour"),
        y=alt.Y("weekday:O", title="weekday, 1 is Monday"),
        color=alt.Color("rate", title="answered").scale(scheme="blues").legend(format="%"),
        tooltip=["weekday", "hour", "calls", alt.Tooltip("rate", format=".1%")],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 3. Why are calls not answered?

    How each campaign's calls ended, those that were answered left out.
    """)
    return


@app.cell
def _(endings):
    unanswered = (
        endings.filter(~kpi.is_of(Disposition.ANSWERED))
        .group_by("campaign_uuid", "disposition")
        .agg(pl.col("calls").sum())
        .with_columns(pl.col("campaign_uuid").fill_null("outside campaigns"))
        .sort("campaign_uuid", "disposition")
        .collect()
    )
    return (unanswered,)


@app.cell
def _(unanswered):
    alt.Chart(unanswered).mark_bar().encode(
        x=alt.X("calls", title="calls not answered"),
        y=alt.Y("campaign_uuid", title=None, sort="-x"),
        color=alt.Color("disposition", title=None),
        tooltip=["campaign_uuid", "disposition", "calls"],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 4. How often is it worth calling a lead?

    The share of first calls to a lead that were answered, of second calls, and so on. Where the
    curve lies flat near zero, calls are spent for nothing.
    """)
    return


@app.cell
def _(tries):
    attempts = (
        tries.filter(pl.col("attempt").is_not_null())
        .group_by("attempt")
        .agg(pl.col("calls", "answered").sum())
        .with_columns(rate=kpi.ratio("answered", "calls"))
        .sort("attempt")
        .collect()
    )
    return (attempts,)


@app.cell
def _(attempts):
    alt.Chart(attempts).mark_line(point=True).encode(
        x=alt.X("attempt:O", title="call to the same lead"),
        y=alt.Y("rate", title="answered").axis(format="%"),
        tooltip=["attempt", "calls", "answered", alt.Tooltip("rate", format=".1%")],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## 5. Is a hotline burnt?

    A number that people or telcos take for spam is answered less and hung up on sooner than the
    others: low on the left, high on the right.
    """)
    return


@app.cell
def _(numbers):
    hotlines = (
        numbers.group_by(hotline="from_number")
        .agg(pl.col("calls", "answered", "short_calls").sum())
        .with_columns(
            pl.col("hotline").fill_null("unknown"),
            rate=kpi.ratio("answered", "calls"),
            short=kpi.ratio("short_calls", "answered"),
        )
        .sort("calls", "hotline", descending=[True, False])
        .collect()
    )
    return (hotlines,)


@app.cell
def _(hotlines):
    alt.hconcat(
        *(
            alt.Chart(hotlines)
            .mark_bar()
            .encode(
                x=alt.X(column, title=title).axis(format="%"),
                y=alt.Y("hotline:N", title=None, sort=hotlines["hotline"].to_list()),
                tooltip=["hotline", "calls", alt.Tooltip(column, format=".1%")],
            )
            for column, title in (
                ("rate", "answered"),
                ("short", f"of these, under {SHORT_CALL_SECONDS} seconds"),
            )
        )
    )
    return


if __name__ == "__main__":
    app.run()
