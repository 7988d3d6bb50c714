"""The call centre's campaigns, leads and agents, and the possible outcomes of a call."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Final, NamedTuple

from cdr_pipeline.simulator.source import Record

_FAMILIES = "Nguyễn Trần Lê Phạm Hoàng Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý".split()
_MIDDLES = "Thị Văn Hữu Đức Ngọc Minh Thanh Quốc Thúy Hồng Xuân Gia Bảo Kim Anh Phương".split()
_GIVEN = (
    "An Anh Bình Châu Chi Cường Dung Dũng Đạt Giang Hà Hải Hạnh Hiếu Hoa Hòa Hùng Hương Khánh "
    "Lan Linh Long Mai Nam Nga Ngân Nghĩa Nhung Phong Phúc Quân Quỳnh Sơn Tâm Thảo Thắng"
).split()
_MOBILES = (
    "032 033 034 035 036 037 038 039 056 058 059 070 076 077 078 079 "
    "081 082 083 084 085 086 088 089 090 091 092 093 094 096 097 098"
).split()


class Outcome(NamedTuple):
    """A way in which a call may end.

    percent: its share of the autocalls, or of the inbound calls. hangups: the possible values of
    `sip_hangup_disposition`. rings: the shortest and the longest ring time, in seconds.
    """

    percent: float
    status: str
    cause: str
    hangups: tuple[str, ...]
    rings: tuple[int, int]


# Percentages of autocalls, from API.md: answered 14.6, busy 25, no answer 2.7, and the rest not
# available, less 1 for the outcomes that are documented but too rare to be in the observed figures.
OUTCOMES: Final = (
    Outcome(14.6, "answered", "NORMAL_CLEARING", ("recv_bye", "recv_bye", "send_bye"), (3, 25)),
    Outcome(19.5, "busy", "USER_BUSY", ("recv_refuse",), (4, 32)),
    Outcome(5.5, "busy", "CALL_REJECTED", ("recv_refuse",), (2, 20)),
    Outcome(2.7, "no-answered", "NO_ANSWER", ("send_cancel",), (40, 60)),
    Outcome(34.0, "not-available", "NO_USER_RESPONSE", ("recv_refuse",), (1, 18)),
    Outcome(22.7, "not-available", "SUBSCRIBER_ABSENT", ("recv_refuse",), (1, 9)),
    Outcome(0.3, "cancel", "ORIGINATOR_CANCEL", ("send_cancel",), (45, 46)),
    Outcome(0.3, "invalid-number", "UNALLOCATED_NUMBER", ("recv_refuse",), (0, 3)),
    Outcome(0.2, "phone-block", "INCOMING_CALL_BARRED", ("recv_refuse",), (0, 4)),
    Outcome(0.1, "congestion", "NORMAL_CIRCUIT_CONGESTION", ("recv_refuse",), (0, 2)),
    Outcome(0.1, "failed", "NORMAL_TEMPORARY_FAILURE", ("",), (0, 0)),
)
_UP_TO = list(accumulate(outcome.percent for outcome in OUTCOMES))
ANSWERED, BUSY, _rejected, NO_ANSWER, UNREACHABLE = OUTCOMES[:5]

INBOUND: Final = (
    Outcome(70, "answered", "NORMAL_CLEARING", ("recv_bye", "send_bye"), (2, 20)),
    Outcome(12, "no-answered", "NO_ANSWER", ("recv_cancel",), (15, 60)),
    Outcome(6, "ivr", "ORIGINATOR_CANCEL", ("recv_cancel",), (3, 25)),
    Outcome(6, "busy-line", "USER_BUSY", ("send_refuse",), (0, 3)),
    Outcome(4, "voicemail", "NORMAL_CLEARING", ("recv_bye",), (20, 40)),
    Outcome(2, "cancel", "ORIGINATOR_CANCEL", ("recv_cancel",), (1, 8)),
)


@dataclass(frozen=True, slots=True)
class Lead:
    """A person on the lead list of a campaign, the same at each attempt to call.

    draws: random bytes of this person; they decide the outcomes and the cells of the lead list.
    """

    uuid: str
    number: str
    name: str
    draws: bytes

    @classmethod
    def of(cls, name: str) -> "Lead":
        draws = blake2b(name.encode(), digest_size=40).digest()
        return cls(
            uuid(int.from_bytes(draws[:16], "big")),
            mobile(int.from_bytes(draws[16:20], "big")),
            f"{_FAMILIES[draws[20] % 16]} {_MIDDLES[draws[21] % 16]} {_GIVEN[draws[22] % 36]}",
            draws[24:],
        )

    def outcome(self, attempt: int) -> Outcome:
        """The outcome of an attempt to call this lead; 0 is the first attempt."""
        percent = int.from_bytes(self.draws[2 * attempt : 2 * attempt + 2], "big") * 100 / 65_536
        return OUTCOMES[bisect_right(_UP_TO, percent)]


@dataclass(frozen=True, slots=True)
class Campaign:
    """An autocall campaign.

    hotline: the number it calls from. app: the vendor's dialler. share: of all autocalls, 0 to 1.
    additional: gives the lead list's columns for a lead.
    """

    uuid: str
    hotline: str
    app: str
    share: float
    additional: Callable[[Lead], Record]


def _dairy_offer(lead: Lead) -> Record:
    """An offer of a dairy; the vendor's documented response is a call of this campaign."""
    return {
        "data1": 1 + lead.draws[8] % 3,
        "miengiam": f"Giảm {lead.draws[9] % 6 * 10}% gốc",
        "phone_number": lead.number,
        "sdt": mobile(int.from_bytes(lead.draws[10:14], "big")),
        "ten": lead.name,
    }


def _loan_reminder(lead: Lead) -> Record:
    """Instalments that fall due. Here `data1` is a text, the contract's number."""
    return {
        "Tên": lead.name,
        "Số tiền": 50_000 * (1 + lead.draws[8]),
        "data1": f"HD-{lead.draws[9]:03}{lead.draws[10]:03}",
        "Ngày đến hạn": f"{1 + lead.draws[11] % 28:02}/04/2023",
        "quá hạn": lead.draws[12] % 3 == 0,
        "sdt": lead.number,
    }


def _satisfaction_survey(lead: Lead) -> Record:
    """A survey. Empty cells are null in some columns and "" in another."""
    return {
        "ten": lead.name,
        "data1": lead.draws[8] % 100 / 10,
        "Điểm lần trước": lead.draws[9] % 11 if lead.draws[9] < 200 else None,
        "email": f"khach{lead.draws[10]}@example.vn" if lead.draws[10] < 80 else None,
        "ghi chú": "",
        "khách_vip": lead.draws[11] < 30,
    }


def _clinic_appointment(lead: Lead) -> Record:
    """Reminders of a clinic. The appointment is an object, since another system exported it."""
    return {
        "họ tên": lead.name,
        "so_dien_thoai": lead.number,
        "lịch hẹn": {
            "ngày": f"2023-03-{1 + lead.draws[8] % 31:02}",
            "giờ": f"{8 + lead.draws[9] % 9}:30",
            "phòng": 100 + lead.draws[10] % 12,
            "dịch vụ": ["Khám tổng quát", "Xét nghiệm máu"][: 1 + lead.draws[11] % 2],
        },
        "data1": lead.draws[12] % 2 == 0,
        "Số tiền": [350_000, 350_000.5, "Miễn phí", None][lead.draws[13] % 4],
    }


def _parcel_delivery(lead: Lead) -> Record:
    """Parcels of the day. The one-time code has leading zeros, some fees have decimals."""
    return {
        "ten": lead.name,
        "sdt": lead.number,
        "mã đơn": f"GH{int.from_bytes(lead.draws[8:11], 'big'):09}",
        "otp": f"{int.from_bytes(lead.draws[11:13], 'big') % 10_000:06}",
        "Số tiền": 1000 * lead.draws[13] + 0.5 * (lead.draws[14] % 2),
        "miengiam": lead.draws[15] % 4 * 5,
    }


CAMPAIGNS: Final = (
    Campaign("fdccdbf2-bc4b-4a0f-a7ea-cb0239daaa7d", "02873003586", "autocall", 0.40, _dairy_offer),
    Campaign(
        "0b6f5f0e-8c55-4d0c-9f43-5a1f6c7be201", "02471088999", "autocall", 0.25, _loan_reminder
    ),
    Campaign(
        "7d0a3c64-1e92-4b7b-8a55-e0b6f4d9c302",
        "02871099777",
        "autodialer",
        0.15,
        _satisfaction_survey,
    ),
    Campaign(
        "c25e9a18-63f7-4f4e-b1d0-2f9d8a7e5403", "02363777555", "autocall", 0.12, _clinic_appointment
    ),
    Campaign(
        "91f4d7b3-2ac8-4e66-95c7-b8e3a1f06504", "02873003587", "autocall", 0.08, _parcel_delivery
    ),
)


class Agent(NamedTuple):
    """An agent of the call centre, in the fields of a record."""

    extension: str
    fullname: str
    email: str
    username: str


AGENTS: Final = tuple(
    Agent(str(101 + n), fullname, f"{username}@callcenter.example.vn", username)
    for n, (fullname, username) in enumerate(
        {
            "Trần Thị Mỹ Duyên": "duyen.tran",
            "Lê Quốc Bảo": "bao.le",
            "Phạm Ngọc Ánh": "anh.pham",
            "Nguyễn Văn Đức": "duc.nguyen",
            "Võ Thị Kim Thoa": "thoa.vo",
            "Đặng Hoàng Long": "long.dang",
            "Bùi Thu Hằng": "hang.bui",
            "Huỳnh Gia Huy": "huy.huynh",
        }.items()
    )
)


def uuid(bits: int) -> str:
    """A UUID in the form of version 4, made from 128 random bits."""
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def mobile(bits: int) -> str:
    """A Vietnamese mobile number with its leading zero, made from random bits."""
    number, prefix = divmod(bits, len(_MOBILES))
    return f"{_MOBILES[prefix]}{number % 10_000_000:07}"
