"""A customer of the vendor: a Vietnamese call centre, with the calls of any day made up on demand.

Everything follows from the seed, the volume and the day, so the same day is the same for ever and
in any process. The figures (mix of outcomes, talk times, the day's curve) are those that API.md
gives for a real tenant. Whom it calls is in `campaigns`; how calls are asked for, in `server`.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import accumulate, chain
from random import Random
from typing import Final

from cdr_pipeline.simulator.campaigns import (
    AGENTS,
    ANSWERED,
    BUSY,
    CAMPAIGNS,
    INBOUND,
    NO_ANSWER,
    UNREACHABLE,
    Agent,
    Campaign,
    Lead,
    Outcome,
    mobile,
    uuid,
)
from cdr_pipeline.simulator.source import Call, Record, cut, read, whole_day

_FIELDS: Final = (
    "id parent_id sip_call_id cause duration direction recording_url extension from_number "
    "to_number receive_dest time_started time_answered time_ended time_ringging status billsec app "
    "press_key fullname email username sip_hangup_disposition campaign_uuid lead_uuid rate digits "
    "note customer_fullname customer_email demand_customer interest_segment additional "
    "autocall_presskey_epoch time_presskey presskey_delay autocall_recording_url"
).split()

#: The documented fields in the documented order, all of them empty.
BLANK: Final[Record] = dict.fromkeys(_FIELDS, "") | {
    **dict.fromkeys(("duration", "billsec", "presskey_delay"), 0),
    "direction": "outbound",
}

_CALLS_KEPT = 100_000  # of the days made last
_DAY = 86_400
_WEEK = timedelta(days=7, seconds=-1)
_EPOCH = date(1970, 1, 1).toordinal()
_UTC_OFFSET = 7 * 3600

# Calls by hour of the day: a dip at noon, next to nothing outside 08 to 17.
_HOURS: Final = range(8, 18)
_HOUR_WEIGHTS = list(accumulate((1500, 2300, 2400, 2200, 150, 1900, 2350, 2450, 2250, 700)))
_OPENS, _CLOSED = time(8), time(19)

# The share of a usual weekday's calls, Monday first.
_WEEKDAYS = (0.97, 1.0, 1.03, 1.05, 1.0, 0.55, 0.06)

_AUTOCALLS = 0.93  # of all the calls; people make and take the others
_RETRIED = 0.30  # dials of earlier days' leads, for each lead dialled for the first time

# A time that was not reached is mostly "", and now and then one of the sentinels.
_NEVER = ("",) * 18 + ("0001-01-01T00:00:00Z", "0000-00-00 00:00:00")

# What a campaign's dialler writes when a key was pressed; the vendor documents no form.
_KEY_FORMS: Final = ('{{"key":"{}"}}', '{{"1":{}}}', '["{}"]', "{}")


class Tenant:
    """A tenant with about `calls_per_day` calls on a usual weekday, and few on a Sunday.

    Every day that has any calls has some at 00:00:00, some at 23:59:59 and one that goes on past
    midnight. Times are local and naive, as the vendor's are.
    """

    def __init__(self, seed: int = 7, calls_per_day: int = 2000) -> None:
        self.seed = seed
        self.calls_per_day = calls_per_day
        days_kept = 1 + _CALLS_KEPT // max(calls_per_day, 10)
        self._whole_day = lru_cache(days_kept)(self._make)

    def day(self, day: date) -> list[Record]:
        """The records of the calls begun on that day, oldest first."""
        return [read(call.text) or {} for call in self._whole_day(day)]

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        """The calls of a range of times; an open one is a week long, and ends today if in doubt.

        There is no end to a tenant who can tell of any day, so somebody has to stop.
        """
        end = end or (start + _WEEK if start else whole_day(date.today())[1])
        start = start or end - _WEEK
        found: list[Call] = []
        for ordinal in range(start.toordinal(), end.toordinal() + 1):
            found += cut(self._part_of(date.fromordinal(ordinal), start, end), start, end)
        return found

    def _part_of(self, day: date, start: datetime, end: datetime) -> Sequence[Call]:
        """That day's calls, or its few at night if no others began from `start` to `end`.

        A client that asks a second more on either side of a day should not wait for three days:
        large ones are too many to be kept.
        """
        if end < datetime.combine(day, _OPENS) or start > datetime.combine(day, _CLOSED):
            return sorted(map(Call.of, self._shift(day).night()))
        return self._whole_day(day)

    def _make(self, day: date) -> list[Call]:
        shift = self._shift(day)
        people = round(self._volume(shift.day) * (1 - _AUTOCALLS))
        records = chain(shift.night(), self._autocalls(shift), shift.people(people))
        return sorted(map(Call.of, records))

    def _shift(self, day: date) -> "_Shift":
        return _Shift(Random(f"{self.seed}/{self.calls_per_day}/{day}"), day.toordinal())

    def _volume(self, day: int) -> float:
        """About how many calls that day has: the weekday's share, and a little chance."""
        chance = Random(f"{self.seed}/{day}").uniform(0.94, 1.06)
        return self.calls_per_day * _weekday_share(day) * chance

    def _autocalls(self, shift: "_Shift") -> Iterator[Record]:
        """Each campaign's new leads, and those of the last two days that were not reached.

        Every fourth lead may be tried on a second day and every eighth on a third.
        """
        for campaign in CAMPAIGNS:
            for attempt, step in enumerate((1, 4, 8)):
                batch = shift.day - attempt
                size = self._volume(batch) * _AUTOCALLS / (1 + _RETRIED) * campaign.share
                if attempt:
                    size *= _weekday_share(shift.day)
                for n in range(0, round(size), step):
                    lead = Lead.of(f"{self.seed}/{campaign.uuid}/{batch}/{n}")
                    if ANSWERED not in map(lead.outcome, range(attempt)):
                        yield from shift.autocalls(campaign, lead, attempt)


class _Shift:
    """One day's work: makes up its calls one by one, drawing chance from `random`."""

    def __init__(self, random: Random, day: int) -> None:
        self.random = random
        self.day = day
        self._dates = [date.fromordinal(day).isoformat(), date.fromordinal(day + 1).isoformat()]

    def autocalls(self, campaign: Campaign, lead: Lead, attempt: int) -> Iterator[Record]:
        """The dialler tries a lead; where it's busy it may try once more half a minute later."""
        outcome = lead.outcome(attempt)
        start = self._daytime()
        record = self._autocall(campaign, lead, outcome, start)
        yield record
        if outcome is BUSY and self.random.random() < 0.05:
            yield self._autocall(campaign, lead, outcome, start + record["duration"] + 30)

    def _autocall(self, campaign: Campaign, lead: Lead, outcome: Outcome, start: int) -> Record:
        record = self._call(outcome, start, 31)
        record["app"] = campaign.app
        record["from_number"] = campaign.hotline
        record["to_number"] = lead.number
        record["campaign_uuid"] = campaign.uuid
        record["lead_uuid"] = lead.uuid
        record["additional"] = campaign.additional(lead)
        if outcome is ANSWERED:
            record["autocall_recording_url"] = _recording(record)
            self._press_key(record, start + record["duration"] - record["billsec"])
        else:
            record["press_key"] = "{}"
            if self.random.random() < 0.01:  # the operator's announcement was recorded
                record["recording_url"] = _recording(record)
        return record

    def _press_key(self, record: Record, answered: int) -> None:
        """Two in five press a key; of some of the others the dialler says 127, of some nothing."""
        lot = self.random.random()
        form = _KEY_FORMS[int(lot * 1000) % len(_KEY_FORMS)]
        if lot < 0.4:
            delay = min(record["billsec"], 3 + int(self.random.expovariate(1 / 8)))
            pressed = answered + delay
            epoch = (self.day - _EPOCH) * _DAY + pressed - _UTC_OFFSET
            record["press_key"] = form.format(self.random.choice("0111112239"))
            record["autocall_presskey_epoch"] = str(epoch)
            record["time_presskey"] = self._clock(pressed)
            record["presskey_delay"] = delay
        elif lot < 0.65:
            record["press_key"] = form.format(127)
        else:
            record["press_key"] = "" if lot > 0.9 else "{}"

    def people(self, count: int) -> Iterator[Record]:
        """About so many calls outside campaigns: customers who call, and agents who do."""
        made = 0
        while made < count:
            lot = self.random.random()
            if lot < 0.45:
                calls = self.inbound(self._daytime())
            elif lot < 0.85:
                calls = [self._manual()]
            else:
                calls = [self._local()]
            yield from calls
            made += len(calls)

    def night(self) -> Iterator[Record]:
        """The calls at the very edges of the day, and the one that goes on past midnight.

        A day's first, and from nothing but its chance, so that they can be had without the rest.
        """
        for start in (0, 0, _DAY - 1, _DAY - 1):
            yield self.inbound(start)[0]
        late = self._call(INBOUND[0], _DAY - 70, 31, at_least=120)
        yield self._customer(late)

    def inbound(self, start: int) -> list[Record]:
        """A customer calls a hotline; two answered calls in five show two agents' legs as well."""
        outcome = self._one_of(INBOUND, [outcome.percent for outcome in INBOUND])
        root = self._customer(self._call(outcome, start, 95))
        if outcome is not INBOUND[0] or self.random.random() > 0.4:
            return [root]
        bare = {"recording_url": "", "rate": "", "digits": "", "note": ""}
        leg = root | bare | {"id": self._new_id(), "sip_call_id": self._new_id()}
        lost = leg | {
            "id": self._new_id(),
            "sip_call_id": self._new_id(),
            "cause": "LOSE_RACE",
            "duration": root["duration"] - root["billsec"],
            "billsec": 0,
            "time_answered": "",
            "time_ended": root["time_answered"],
            "status": "cancel",
            "sip_hangup_disposition": "send_cancel",
        }
        self._seat(lost)
        return [root, leg, lost]

    def _customer(self, record: Record) -> Record:
        record["direction"] = "inbound"
        record["app"] = "callcenter"
        record["sip_call_id"] = f"{self.random.getrandbits(64):016x}@203.0.113.{self.day % 250}"
        record["from_number"] = self._somebody()
        record["to_number"] = self.random.choice(CAMPAIGNS).hotline
        record["receive_dest"] = self.random.choice(("7001", "7002", "Chăm sóc khách hàng"))
        self._outside_campaigns(record)
        if record["billsec"]:
            self._seat(record)
            self._remarks(record)
        return record

    def _manual(self) -> Record:
        """An agent dials a customer by hand."""
        outcome = self._one_of((ANSWERED, BUSY, NO_ANSWER, UNREACHABLE), (5, 2, 2, 1))
        record = self._call(outcome, self._daytime(), 80)
        record["app"] = self.random.choice(("click_to_call", "dial"))
        record["from_number"] = self.random.choice(CAMPAIGNS).hotline
        record["to_number"] = self._somebody()
        self._outside_campaigns(record)
        self._seat(record)
        if record["billsec"]:
            self._remarks(record)
        return record

    def _local(self) -> Record:
        """Two agents talk to each other."""
        caller, callee = self.random.sample(AGENTS, 2)
        outcome = self._one_of((ANSWERED, NO_ANSWER), (4, 1))
        record = self._call(outcome, self._daytime(), 40)
        record["direction"] = "local"
        record["app"] = "dial"
        record["to_number"] = callee.extension
        self._outside_campaigns(record)
        self._seat(record, caller)
        record["from_number"] = caller.extension
        return record

    def _seat(self, record: Record, agent: Agent | None = None) -> None:
        record.update((agent or self.random.choice(AGENTS))._asdict())

    def _outside_campaigns(self, record: Record) -> None:
        """No lead list, so nothing additional; the vendor says so in four ways."""
        record["additional"] = self.random.choice(("", None, []))
        if self.random.random() < 0.25:
            del record["additional"]

    def _remarks(self, record: Record) -> None:
        """What the agent and the customer may add to an answered call."""
        record["recording_url"] = _recording(record)
        lot = self.random.random()
        if lot < 0.3:
            record["rate"] = 5 if lot < 0.05 else str(1 + int(lot * 1000) % 5)
            record["digits"] = record["rate"]
        if 0.2 < lot < 0.5:
            record["note"] = self.random.choice(
                (
                    "Khách hẹn gọi lại",
                    'Khách nói "để suy nghĩ thêm"',
                    "Đã tư vấn,\nchờ chuyển khoản",
                )
            )
        if lot > 0.7:
            record["customer_fullname"] = Lead.of(f"{lot}").name
            record["customer_email"] = f"khach{int(lot * 10_000)}@example.vn"
            record["demand_customer"] = self.random.choice(("Mua mới", "Bảo hành", "Khiếu nại"))
            record["interest_segment"] = self.random.choice(("", "Căn hộ", "Bảo hiểm xe"))

    def _call(self, outcome: Outcome, start: int, talk: float, at_least: int = 1) -> Record:
        """A call with that outcome: its names and its times, which agree with each other."""
        random = self.random
        delay = 0 if random.random() < 0.85 or not outcome.rings[1] else random.randint(1, 6)
        rung = start + delay
        given_up = rung + int(random.uniform(*outcome.rings))
        billsec = 0
        if outcome.status == "answered":
            billsec = at_least + int(random.expovariate(1 / talk))
        ended = given_up + billsec
        record = BLANK.copy()
        record["id"] = record["parent_id"] = self._new_id()
        record["sip_call_id"] = f"{random.getrandbits(32):08x}-5755-123c-18b6-fa163e71cc82"
        record["cause"] = outcome.cause
        record["duration"] = ended - start
        record["time_started"] = self._clock(start)
        record["time_answered"] = self._clock(given_up) if billsec else self._never()
        record["time_ended"] = self._clock(ended)
        record["time_ringging"] = self._never() if outcome.status == "failed" else self._clock(rung)
        record["status"] = outcome.status
        record["billsec"] = billsec
        record["sip_hangup_disposition"] = random.choice(outcome.hangups)
        return record

    def _daytime(self) -> int:
        (hour,) = self.random.choices(_HOURS, cum_weights=_HOUR_WEIGHTS)
        return 3600 * hour + int(self.random.random() * 3600)

    def _clock(self, second: int) -> str:
        """The vendor's writing of a second of this day, or of the next."""
        days, second = divmod(second, _DAY)
        return f"{self._dates[days]} {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"

    def _never(self) -> str:
        return _NEVER[int(self.random.random() * len(_NEVER))]

    def _new_id(self) -> str:
        return uuid(self.random.getrandbits(128))

    def _somebody(self) -> str:
        return mobile(self.random.getrandbits(32))

    def _one_of(self, outcomes: Sequence[Outcome], weights: Sequence[float]) -> Outcome:
        return self.random.choices(outcomes, weights)[0]


def _weekday_share(day: int) -> float:
    return _WEEKDAYS[(day - 1) % 7]


def _recording(record: Record) -> str:
    return f"https://recording.example.vn/{record['time_started'][:10]}/{record['id']}.mp3"
