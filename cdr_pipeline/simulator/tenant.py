"""A customer of the vendor: a Vietnamese call centre. The calls of any day are generated on demand.

The calls depend on the seed, the volume and the day only, so a day is always the same, in any
process. The figures (mix of outcomes, talk times, calls by hour) are those that API.md gives for a
real tenant. Campaigns and leads are in `campaigns`, the search for calls in `server`.
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

_CALLS_KEPT = 100_000  # in memory, of the days generated last
_DAY = 86_400
_WEEK = timedelta(days=7, seconds=-1)
_EPOCH = date(1970, 1, 1).toordinal()
_UTC_OFFSET = 7 * 3600

# Calls by hour of the day (API.md): few at noon, almost none outside 08 to 17.
_HOURS: Final = range(8, 18)
_HOUR_WEIGHTS = list(accumulate((1500, 2300, 2400, 2200, 150, 1900, 2350, 2450, 2250, 700)))
_OPENS, _CLOSED = time(8), time(19)

# The share of a usual weekday's calls, Monday first.
_WEEKDAYS = (0.97, 1.0, 1.03, 1.05, 1.0, 0.55, 0.06)

_AUTOCALLS = 0.93  # share of all calls; agents make or take the others
_RETRIED = 0.30  # calls to leads of earlier days, for each lead called for the first time

# A time that was not reached is mostly "", sometimes one of the sentinels of API.md.
_NOT_REACHED = ("",) * 18 + ("0001-01-01T00:00:00Z", "0000-00-00 00:00:00")

# Forms of `press_key` when a key was pressed; the vendor documents none.
_KEY_FORMS: Final = ('{{"key":"{}"}}', '{{"1":{}}}', '["{}"]', "{}")


class Tenant:
    """A tenant with about `calls_per_day` calls on a usual weekday, and few on a Sunday.

    Every day has calls at 00:00:00, calls at 23:59:59 and one call that ends after midnight. Times
    are local and naive, as the vendor's.
    """

    def __init__(self, seed: int = 7, calls_per_day: int = 2000) -> None:
        self.seed = seed
        self.calls_per_day = calls_per_day
        days_kept = 1 + _CALLS_KEPT // max(calls_per_day, 10)
        self._whole_day = lru_cache(days_kept)(self._make)

    def day(self, day: date) -> list[Record]:
        """The records of the calls that began on `day`, oldest first."""
        return [read(call.text) or {} for call in self._whole_day(day)]

    def between(self, start: datetime | None, end: datetime | None) -> Sequence[Call]:
        """The calls that began from `start` to `end`, both included, oldest first.

        A range with one open side (None) is a week long, a range with two is the week that ends
        today: every day can be generated, so an open range would never end.
        """
        end = end or (start + _WEEK if start else whole_day(date.today())[1])
        start = start or end - _WEEK
        found: list[Call] = []
        for ordinal in range(start.toordinal(), end.toordinal() + 1):
            found += cut(self._part_of(date.fromordinal(ordinal), start, end), start, end)
        return found

    def _part_of(self, day: date, start: datetime, end: datetime) -> Sequence[Call]:
        """The calls of `day`, or only its few calls at night if no others can be in the range.

        A client that asks for a day and a second more on either side should not wait until three
        days are generated: if days are large, three do not stay in memory.
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
        """About how many calls a day has: the share of its weekday, and up to 6 % by chance."""
        chance = Random(f"{self.seed}/{day}").uniform(0.94, 1.06)
        return self.calls_per_day * _weekday_share(day) * chance

    def _autocalls(self, shift: "_Shift") -> Iterator[Record]:
        """Calls to each campaign's new leads, and to unanswered leads of the two days before.

        Every fourth lead may be called on a second day, every eighth on a third.
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
    """Generates the calls of one day, with chance from `random`. Starts are seconds of the day."""

    def __init__(self, random: Random, day: int) -> None:
        self.random = random
        self.day = day
        self._dates = [date.fromordinal(day).isoformat(), date.fromordinal(day + 1).isoformat()]

    def autocalls(self, campaign: Campaign, lead: Lead, attempt: int) -> Iterator[Record]:
        """A call to a lead and, if it was busy, sometimes another 30 seconds after its end."""
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
            if self.random.random() < 0.01:  # a recording of the operator's announcement
                record["recording_url"] = _recording(record)
        return record

    def _press_key(self, record: Record, answered: int) -> None:
        """Two in five press a key; for one in four the dialler writes 127, else "" or {}."""
        draw = self.random.random()
        form = _KEY_FORMS[int(draw * 1000) % len(_KEY_FORMS)]
        if draw < 0.4:
            delay = min(record["billsec"], 3 + int(self.random.expovariate(1 / 8)))
            pressed = answered + delay
            epoch = (self.day - _EPOCH) * _DAY + pressed - _UTC_OFFSET
            record["press_key"] = form.format(self.random.choice("0111112239"))
            record["autocall_presskey_epoch"] = str(epoch)
            record["time_presskey"] = self._clock(pressed)
            record["presskey_delay"] = delay
        elif draw < 0.65:
            record["press_key"] = form.format(127)
        else:
            record["press_key"] = "" if draw > 0.9 else "{}"

    def people(self, count: int) -> Iterator[Record]:
        """About `count` calls outside campaigns: inbound, from agents to customers, and local."""
        made = 0
        while made < count:
            draw = self.random.random()
            if draw < 0.45:
                calls = self.inbound(self._daytime())
            elif draw < 0.85:
                calls = [self._manual()]
            else:
                calls = [self._local()]
            yield from calls
            made += len(calls)

    def night(self) -> Iterator[Record]:
        """The calls in the first and the last second of the day, and one that ends after midnight.

        They are generated first and need nothing but `random`, so the rest can be left out.
        """
        for start in (0, 0, _DAY - 1, _DAY - 1):
            yield self.inbound(start)[0]
        late = self._call(INBOUND[0], _DAY - 70, 31, at_least=120)
        yield self._from_customer(late)

    def inbound(self, start: int) -> list[Record]:
        """A customer's call to a hotline; two answered calls in five have two agents' legs too."""
        outcome = self._random_outcome(INBOUND, [outcome.percent for outcome in INBOUND])
        root = self._from_customer(self._call(outcome, start, 95))
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
        self._assign_agent(lost)
        return [root, leg, lost]

    def _from_customer(self, record: Record) -> Record:
        record["direction"] = "inbound"
        record["app"] = "callcenter"
        record["sip_call_id"] = f"{self.random.getrandbits(64):016x}@203.0.113.{self.day % 250}"
        record["from_number"] = self._customer_number()
        record["to_number"] = self.random.choice(CAMPAIGNS).hotline
        record["receive_dest"] = self.random.choice(("7001", "7002", "Chăm sóc khách hàng"))
        self._outside_campaigns(record)
        if record["billsec"]:
            self._assign_agent(record)
            self._add_remarks(record)
        return record

    def _manual(self) -> Record:
        """An agent's call to a customer."""
        outcome = self._random_outcome((ANSWERED, BUSY, NO_ANSWER, UNREACHABLE), (5, 2, 2, 1))
        record = self._call(outcome, self._daytime(), 80)
        record["app"] = self.random.choice(("click_to_call", "dial"))
        record["from_number"] = self.random.choice(CAMPAIGNS).hotline
        record["to_number"] = self._customer_number()
        self._outside_campaigns(record)
        self._assign_agent(record)
        if record["billsec"]:
            self._add_remarks(record)
        return record

    def _local(self) -> Record:
        """A call between two agents."""
        caller, callee = self.random.sample(AGENTS, 2)
        outcome = self._random_outcome((ANSWERED, NO_ANSWER), (4, 1))
        record = self._call(outcome, self._daytime(), 40)
        record["direction"] = "local"
        record["app"] = "dial"
        record["to_number"] = callee.extension
        self._outside_campaigns(record)
        self._assign_agent(record, caller)
        record["from_number"] = caller.extension
        return record

    def _assign_agent(self, record: Record, agent: Agent | None = None) -> None:
        record.update((agent or self.random.choice(AGENTS))._asdict())

    def _outside_campaigns(self, record: Record) -> None:
        """Leave `additional` empty, in one of the vendor's four ways: there is no lead list."""
        record["additional"] = self.random.choice(("", None, []))
        if self.random.random() < 0.25:
            del record["additional"]

    def _add_remarks(self, record: Record) -> None:
        """Add what an answered call may have: recording, rating, note, the customer's data."""
        record["recording_url"] = _recording(record)
        draw = self.random.random()
        if draw < 0.3:
            record["rate"] = 5 if draw < 0.05 else str(1 + int(draw * 1000) % 5)
            record["digits"] = record["rate"]
        if 0.2 < draw < 0.5:
            record["note"] = self.random.choice(
                (
                    "Khách hẹn gọi lại",
                    'Khách nói "để suy nghĩ thêm"',
                    "Đã tư vấn,\nchờ chuyển khoản",
                )
            )
        if draw > 0.7:
            record["customer_fullname"] = Lead.of(f"{draw}").name
            record["customer_email"] = f"khach{int(draw * 10_000)}@example.vn"
            record["demand_customer"] = self.random.choice(("Mua mới", "Bảo hành", "Khiếu nại"))
            record["interest_segment"] = self.random.choice(("", "Căn hộ", "Bảo hiểm xe"))

    def _call(self, outcome: Outcome, start: int, talk: float, at_least: int = 1) -> Record:
        """A call with this outcome, a new id and times that agree with each other.

        talk: the mean talk time beyond `at_least`, both in seconds.
        """
        random = self.random
        delay = 0 if random.random() < 0.85 or not outcome.rings[1] else random.randint(1, 6)
        ringing = start + delay
        ring_end = ringing + int(random.uniform(*outcome.rings))
        billsec = 0
        if outcome.status == "answered":
            billsec = at_least + int(random.expovariate(1 / talk))
        ended = ring_end + billsec
        record = BLANK.copy()
        record["id"] = record["parent_id"] = self._new_id()
        record["sip_call_id"] = f"{random.getrandbits(32):08x}-5755-123c-18b6-fa163e71cc82"
        record["cause"] = outcome.cause
        record["duration"] = ended - start
        record["time_started"] = self._clock(start)
        record["time_answered"] = self._clock(ring_end) if billsec else self._not_reached()
        record["time_ended"] = self._clock(ended)
        record["time_ringging"] = (
            self._not_reached() if outcome.status == "failed" else self._clock(ringing)
        )
        record["status"] = outcome.status
        record["billsec"] = billsec
        record["sip_hangup_disposition"] = random.choice(outcome.hangups)
        return record

    def _daytime(self) -> int:
        (hour,) = self.random.choices(_HOURS, cum_weights=_HOUR_WEIGHTS)
        return 3600 * hour + int(self.random.random() * 3600)

    def _clock(self, second: int) -> str:
        """A second of this day, or of the next day, as the vendor writes times."""
        days, second = divmod(second, _DAY)
        return f"{self._dates[days]} {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"

    def _not_reached(self) -> str:
        return _NOT_REACHED[int(self.random.random() * len(_NOT_REACHED))]

    def _new_id(self) -> str:
        return uuid(self.random.getrandbits(128))

    def _customer_number(self) -> str:
        return mobile(self.random.getrandbits(32))

    def _random_outcome(self, outcomes: Sequence[Outcome], weights: Sequence[float]) -> Outcome:
        return self.random.choices(outcomes, weights)[0]


def _weekday_share(day: int) -> float:
    return _WEEKDAYS[(day - 1) % 7]


def _recording(record: Record) -> str:
    return f"https://recording.example.vn/{record['time_started'][:10]}/{record['id']}.mp3"
