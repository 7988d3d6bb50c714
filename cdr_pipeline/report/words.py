"""Every text of the page, once in each language; `page`, `charts` and the template fill in `{...}`.

The checks describe their findings in English; `FOUND` translates these sentences. To add a
language, add a table to `TEXTS`, a table to `FOUND`, and the name to `settings.Language`.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from cdr_pipeline.checks import Finding, tell
from cdr_pipeline.record import Reason
from cdr_pipeline.settings import Language
from cdr_pipeline.window import spans

_EN: Final = {
    "decimal": ".",
    "thousands": ",",
    "day": "%Y-%m-%d",
    "short_day": "%m-%d",
    "month": "%Y-%m",
    "title": "Calls of {days}",
    "one_day": "{day}",
    "range": "{first} to {last}",
    "more_ranges": "{told} and {count} more",
    "stored": "Stored: {stored} of {wanted} days. Not stored, or in part: {missing}.",
    "stored_proved": "Stored: {stored} of {wanted} days, each proved complete."
    " Not stored, or in part: {missing}.",
    "otherwise": "Counted by other rules, or in another zone, than the last day, and not to be"
    " compared with it until `cdr-pipeline rebuild` has made them again: {days}.",
    "fetched": "As the vendor had it on {at}.",
    "fetched_last": "Last fetched on {at}.",
    "proved": "Proved complete",
    "not_proved": "Not proved complete",
    "figures": "The figures",
    "before": "{value} before ({change})",
    "points": "{value} points",
    "legs": "{calls} calls ({records} records with their further legs, such as transfers, which the"
    " checks below count as well).",
    "compared": "Compared with {days}.",
    "not_compared": "Nothing to compare with: {days} is not stored, or not all of it.",
    "calls": "Calls",
    "answered": "Answered",
    "asr": "ASR",
    "ner": "NER",
    "acd_seconds": "Mean talk",
    "key_presses": "Key presses",
    "short_calls": "Short calls (under {short} s)",
    "peak_calls": "Most calls at once",
    "peak_talks": "Most talks at once",
    "seconds": "{value} s",
    "curve": "Over the hours",
    "curve_days": "Over the days",
    "curve_alt": "Calls: most, {most}, at {peak}; {total} in all.",
    "this": "now",
    "that": "before",
    "hour": "hour",
    "heat": "When calls are made",
    "heat_alt": "Calls by hour; most, {most}, at {hour} h, {row}.",
    "campaign": "Campaign",
    "outside": "outside campaigns",
    "others": "others",
    "mix": "How each campaign's calls ended",
    "mix_alt": "Share of each ending, by campaign; over all, {largest} is the largest, {share}.",
    "funnel": "From calls to key presses",
    "funnel_alt": "{steps}.",
    "attempted": "Attempted",
    "effective": "Reached the far end",
    "talked": "Talked 5 s or more",
    "hotlines": "Health of the hotlines",
    "hotline": "Hotline",
    "congestion_share": "Congestion",
    "network_failure": "Network failures",
    "unknown_hotline": "unknown",
    "no_hotlines": "No outbound calls.",
    "hotlines_shown": "The {shown} of {all} hotlines that meet most congestion.",
    "hotlines_note": "Congestion is the share of the attempted calls that met a blocked hotline or"
    " full lines: a burnt number shows here first. Middle digits are hidden.",
    "rules": "Rules",
    "rules_note": "Outbound calls against {rule}. Please confirm that these are the rules for your"
    " calls.",
    "rule": "{from_} to {until}, at most {count} a number and day",
    "outside_window": "Calls outside these hours",
    "over_limit": "Calls over that number",
    "numbers_over_limit": "Numbers called too often",
    "checks": "What the checks say",
    "check_passed": "passed",
    "check_failed": "look here",
    "notes": "What the words mean",
    "notes_text": "A call is counted once, by its root leg. ASR: answered of the calls really"
    " attempted (ITU-T E.411). NER: calls for which the network did its part, of those attempted"
    " (E.425). Mean talk: talk time by answered calls. Short calls: answered and talked under"
    " {short} s; from 5 s on is a limit of its own, and a talk of 5 s is in both. A key press is a"
    " key of 0 to 9.",
    "made": "Made by cdr-pipeline on {at}.",
    "disposition.answered": "answered",
    "disposition.user_busy": "busy",
    "disposition.ring_no_answer": "rang, no answer",
    "disposition.terminal_rejected": "rejected",
    "disposition.terminal_unavailable": "unavailable",
    "disposition.number_fault": "wrong number",
    "disposition.network_failure": "network failure",
    "disposition.not_attempt": "not attempted",
    "disposition.unknown": "unknown",
    "check.verified": "The day is proved complete against the vendor's total",
    "check.usual_volume": "As many calls as usual on this weekday",
    "check.everything_fits": "Every record and field fits",
    "check.documented_fields": "Only documented fields",
    "check.duration_agrees": "Durations agree with the times",
    "check.billsec_agrees": "Talk times agree with the times",
    "check.answered_agrees": "Answered calls have a time of answer",
    "check.known_status": "Every status is known",
    "check.known_cause": "Every hangup cause is known",
    "check.known_disposition": "Every call's class is known",
    "check.known_sip_hangup_disposition": "Every hang-up side is known",
    "check.known_direction": "Every direction is known",
}

_VI: Final = {
    "decimal": ",",
    "thousands": ".",
    "day": "%d/%m/%Y",
    "short_day": "%d/%m",
    "month": "%m/%Y",
    "title": "Cuộc gọi {days}",
    "one_day": "ngày {day}",
    "range": "{first} đến {last}",
    "more_ranges": "{told} và {count} khoảng khác",
    "stored": "Có dữ liệu của {stored} trên {wanted} ngày. Chưa có đủ dữ liệu: {missing}.",
    "stored_proved": "Có dữ liệu của {stored} trên {wanted} ngày, từng ngày đã được đối soát đủ."
    " Chưa có đủ dữ liệu: {missing}.",
    "otherwise": "Được tính theo quy tắc hoặc múi giờ khác với ngày cuối, nên chưa so sánh được cho"
    " đến khi chạy `cdr-pipeline rebuild`: {days}.",
    "fetched": "Theo dữ liệu của nhà cung cấp lúc {at}.",
    "fetched_last": "Lần tải dữ liệu gần nhất: {at}.",
    "proved": "Đã đối soát đủ",
    "not_proved": "Chưa đối soát đủ",
    "figures": "Số liệu",
    "before": "trước đó {value} ({change})",
    "points": "{value} điểm",
    "legs": "{calls} cuộc gọi ({records} bản ghi nếu tính cả các chặng tiếp theo, chẳng hạn khi"
    " chuyển máy; phần kiểm tra bên dưới tính cả các chặng này).",
    "compared": "So với {days}.",
    "not_compared": "Chưa có gì để so sánh: chưa có đủ dữ liệu {days}.",
    "calls": "Cuộc gọi",
    "answered": "Trả lời",
    "asr": "ASR",
    "ner": "NER",
    "acd_seconds": "Đàm thoại trung bình",
    "key_presses": "Bấm phím",
    "short_calls": "Cuộc gọi ngắn (dưới {short} giây)",
    "peak_calls": "Số cuộc gọi đồng thời cao nhất",
    "peak_talks": "Số cuộc đàm thoại đồng thời cao nhất",
    "seconds": "{value} giây",
    "curve": "Theo giờ trong ngày",
    "curve_days": "Theo ngày",
    "curve_alt": "Cuộc gọi: nhiều nhất {most}, lúc {peak}; tổng cộng {total}.",
    "this": "kỳ này",
    "that": "kỳ trước",
    "hour": "giờ",
    "heat": "Thời điểm gọi",
    "heat_alt": "Cuộc gọi theo giờ; nhiều nhất {most}, lúc {hour} giờ, {row}.",
    "campaign": "Chiến dịch",
    "outside": "ngoài chiến dịch",
    "others": "khác",
    "mix": "Kết quả cuộc gọi của từng chiến dịch",
    "mix_alt": "Tỷ lệ từng kết quả theo chiến dịch; nhiều nhất nói chung là {largest}, {share}.",
    "funnel": "Từ cuộc gọi đến bấm phím",
    "funnel_alt": "{steps}.",
    "attempted": "Thực gọi",
    "effective": "Đến được đầu bên kia",
    "talked": "Đàm thoại từ 5 giây",
    "hotlines": "Tình trạng đầu số",
    "hotline": "Đầu số",
    "congestion_share": "Nghẽn",
    "network_failure": "Lỗi mạng",
    "unknown_hotline": "không rõ",
    "no_hotlines": "Không có cuộc gọi ra.",
    "hotlines_shown": "{shown} trong {all} đầu số, nghẽn nhiều nhất trước.",
    "hotlines_note": "Nghẽn là tỷ lệ cuộc thực gọi gặp đầu số bị chặn hoặc hết kênh: đầu số bị"
    " khóa sẽ lộ ra ở đây trước tiên. Các chữ số ở giữa được che.",
    "rules": "Quy định",
    "rules_note": "Cuộc gọi ra đối chiếu với quy định {rule}. Vui lòng xác nhận đây là quy định áp"
    " dụng cho cuộc gọi của bạn.",
    "rule": "{from_} đến {until}, tối đa {count} cuộc mỗi số mỗi ngày",
    "outside_window": "Cuộc gọi ngoài giờ cho phép",
    "over_limit": "Cuộc gọi vượt mức",
    "numbers_over_limit": "Số bị gọi quá nhiều lần",
    "checks": "Kết quả kiểm tra dữ liệu",
    "check_passed": "đạt",
    "check_failed": "cần xem",
    "notes": "Giải thích",
    "notes_text": "Mỗi cuộc gọi được tính một lần, theo chặng gốc. ASR: tỷ lệ trả lời trên số cuộc"
    " thực gọi (ITU-T E.411). NER: tỷ lệ cuộc gọi mà mạng đã làm tròn phần mình trên số cuộc thực"
    " gọi (E.425). Đàm thoại trung bình: tổng thời gian đàm thoại chia cho số cuộc trả lời. Cuộc"
    " gọi ngắn: có trả lời, đàm thoại dưới {short} giây; từ 5 giây là một mốc riêng, cuộc đàm thoại"
    " 5 giây được tính ở cả hai. Bấm phím là bấm một phím từ 0 đến 9.",
    "made": "Lập bởi cdr-pipeline lúc {at}.",
    "disposition.answered": "trả lời",
    "disposition.user_busy": "máy bận",
    "disposition.ring_no_answer": "đổ chuông, không nghe",
    "disposition.terminal_rejected": "từ chối",
    "disposition.terminal_unavailable": "không liên lạc được",
    "disposition.number_fault": "sai số",
    "disposition.network_failure": "lỗi mạng",
    "disposition.not_attempt": "chưa thực gọi",
    "disposition.unknown": "không rõ",
    "check.verified": "Đủ dữ liệu trong ngày so với tổng của nhà cung cấp",
    "check.usual_volume": "Số cuộc gọi như thường lệ của thứ này",
    "check.everything_fits": "Mọi bản ghi và trường đều hợp lệ",
    "check.documented_fields": "Chỉ có các trường đã được công bố",
    "check.duration_agrees": "Thời lượng khớp với các mốc thời gian",
    "check.billsec_agrees": "Thời gian đàm thoại khớp với các mốc thời gian",
    "check.answered_agrees": "Cuộc gọi trả lời có thời điểm trả lời",
    "check.known_status": "Mọi trạng thái đều đã biết",
    "check.known_cause": "Mọi nguyên nhân kết thúc đều đã biết",
    "check.known_disposition": "Mọi cuộc gọi đều phân loại được",
    "check.known_sip_hangup_disposition": "Mọi bên gác máy đều đã biết",
    "check.known_direction": "Mọi chiều gọi đều đã biết",
}

_FOUND_VI: Final[Mapping[str, str]] = {
    "{unique} distinct records, the vendor's total is {total}; {passes} readings, {requests}"
    " requests": "{unique} bản ghi khác nhau, tổng của nhà cung cấp là {total};"
    " đọc {passes} lần, {requests} yêu cầu",
    "{calls} calls; {usual} on the same weekday before": "{calls} cuộc gọi; cùng thứ các tuần"
    " trước {usual}",
    "{count} of {total} calls": "{count} trên {total} cuộc gọi",
    "{count} of {total} calls: {named}": "{count} trên {total} cuộc gọi: {named}",
    "{count} of {days} days: {named}. On {first}: {told}": "{count} trên {days} ngày: {named}."
    " Ngày {first}: {told}",
    "{count} calls with {named}": "{count} cuộc gọi có {named}",
    "none": "không có",
    "record": "bản ghi",
    Reason.NO_ID: "không có id",
    Reason.NO_BEGINNING: "không có time_started",
    Reason.UNREADABLE_BEGINNING: "có time_started không đọc được",
    Reason.INVALID_UTF_8: "có UTF-8 không hợp lệ",
    Reason.SURROGATE: "có ký tự surrogate lẻ",
    Reason.NO_JSON: "không phải JSON hợp lệ",
    Reason.TOO_DEEP: "lồng nhau quá sâu",
    Reason.NO_OBJECT: "không phải đối tượng JSON",
    Reason.NO_WHOLE_NUMBER: "không phải số nguyên",
    Reason.TOO_LARGE: "vượt quá 64 bit",
    Reason.NO_TIME: "không phải thời điểm",
}

TEXTS: Final[Mapping[Language, Mapping[str, str]]] = {"en": _EN, "vi": _VI}
FOUND: Final[Mapping[Language, Mapping[str, str]]] = {"en": {}, "vi": _FOUND_VI}


class Words:
    """The texts of one language, and its format of numbers and days."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = TEXTS[language]
        self._found = FOUND[language]
        self.decimal, self.thousands = self("decimal"), self("thousands")
        self.day, self.short_day, self.month = self("day"), self("short_day"), self("month")

    def __call__(self, text: str, **values: object) -> str:
        """The text of this key with its values filled in, integers in the language's format."""
        return self._texts[text].format(
            **{name: self.number(v) if isinstance(v, int) else v for name, v in values.items()}
        )

    def found(self, finding: Finding) -> str:
        """What a check found, in this language."""
        words = self._found
        return tell(finding.told, lambda text: words.get(text, text), self.number, self.ranges)

    def days(self, first: date, last: date) -> str:
        """The days from `first` to `last`, both included, in the language's format."""
        if first == last:
            return f"{first:{self.day}}"
        return self("range", first=f"{first:{self.day}}", last=f"{last:{self.day}}")

    def ranges(self, days: Iterable[date], most: int) -> str:
        """The same as `window.ranges`, in this language."""
        found = spans(days)
        told = ", ".join(self.days(*one) for one in found[:most])
        left = len(found) - most
        return self("more_ranges", told=told, count=left) if left > 0 else told

    def number(self, value: float, digits: int = 0) -> str:
        """A number with the language's signs, rounded to `digits` decimals."""
        swap = {",": self.thousands, ".": self.decimal}
        return "".join(swap.get(sign, sign) for sign in f"{value:,.{digits}f}")

    def percent(self, value: float | None, digits: int = 1) -> str:
        """A ratio in percent; a dash for None."""
        return "-" if value is None else f"{self.number(value * 100, digits)} %"
