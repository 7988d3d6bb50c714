"""From the environment to typed settings: one message names every fault and shows no secret."""

import re
import subprocess
import sys
from datetime import date, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from cdr_pipeline.errors import SettingsError
from cdr_pipeline.settings import Settings, variable

SECRET = "s3cret-that-opens-doors"
ROOT = Path(__file__).parent.parent


def given(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(variable(name), value)


def fault(*, vendor: bool = False) -> str:
    """The message with which loading fails, and those of its causes."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(vendor=vendor)
    said, error = "", caught.value.__cause__ or caught.value.__context__
    while error:
        said += f"{error!s} {error!r}"
        error = error.__cause__ or error.__context__
    return f"{caught.value}{said}"


def test_no_setting_is_required_and_the_defaults_are_the_documented_ones() -> None:
    assert Settings.load().model_dump() == {
        "api_base_url": None,
        "api_token": None,
        "api_key": None,
        "data_dir": Path("data"),
        "timezone": "Asia/Ho_Chi_Minh",
        "start_date": date(2023, 1, 1),
        "page_size": 500,
        "concurrency": 4,
        "requests_per_second": 10,
        "timeout_seconds": 30,
        "contract": None,
        "days_per_run": 31,
        "max_additional_columns": 256,
        "schedule_time": time(1, 30),
        "lookback_days": 3,
        "probe_days": 35,
        "alert_url": None,
        "dagster_postgres_url": None,
        "allowed_from": time(8),
        "allowed_until": time(17),
        "calls_per_number": 1,
        "report_language": "en",
    }
    assert Settings.load().zone == ZoneInfo("Asia/Ho_Chi_Minh")


def test_each_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file := tmp_path / "contract.toml").touch()
    hook, postgres = f"https://hooks.example.vn/{SECRET}", "://me:hush@host/dagster"
    written_and_read: dict[str, tuple[str, object]] = {
        "api_base_url": ("api.example.vn", "https://api.example.vn"),
        "api_token": (SECRET, SecretStr(SECRET)),
        "api_key": ("key", SecretStr("key")),
        "data_dir": ("/srv/calls", Path("/srv/calls")),
        "timezone": ("Europe/Berlin", "Europe/Berlin"),
        "start_date": ("2024-02-29", date(2024, 2, 29)),
        "page_size": ("100", 100),
        "concurrency": ("2", 2),
        "requests_per_second": ("0.5", 0.5),
        "timeout_seconds": ("2.5", 2.5),
        "contract": (str(file), file),
        "days_per_run": ("0", 0),
        "max_additional_columns": ("8", 8),
        "schedule_time": ("04:05", time(4, 5)),
        "lookback_days": ("0", 0),
        "probe_days": ("70", 70),
        "alert_url": (hook, SecretStr(hook)),
        "dagster_postgres_url": (
            f"postgres{postgres}",
            SecretStr(f"postgresql+psycopg2{postgres}"),
        ),
        "allowed_from": ("07:30", time(7, 30)),
        "allowed_until": ("20:59:59", time(20, 59, 59)),
        "calls_per_number": ("3", 3),
        "report_language": ("vi", "vi"),
    }
    given(monkeypatch, **{name: written for name, (written, _) in written_and_read.items()})
    assert Settings.load().model_dump() == {
        name: read for name, (_, read) in written_and_read.items()
    }


def test_every_fault_is_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "api_base_url": "ftp://api.example.vn",
        "timezone": "Asia/Saigon City",
        "start_date": "01/03/2023",
        "page_size": "0",
        "concurrency": "many",
        "requests_per_second": "-1",
        "timeout_seconds": "nan",
        "contract": "nowhere.toml",
        "days_per_run": "1.5",
        "allowed_until": "17",
        "calls_per_number": "0",
        "report_language": "english",
        "schedule_time": "half past one",
        "lookback_days": "-1",
        "probe_days": "some",
        "alert_url": "hooks.example.vn",
    }
    given(monkeypatch, **wrong)
    message = fault()
    assert re.findall(r"^  - (CDR_\w+): \S", message, re.MULTILINE) == [
        variable(name) for name in wrong
    ]
    assert "CDR_CONCURRENCY: should be a valid integer\n" in message, "and not how it was parsed"
    assert ".env.example" in message
    assert "cdr-pipeline demo" in message


def test_settings_can_be_shown_even_when_they_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, timezone="Mars/Olympus")
    assert Settings.for_display().timezone == "Asia/Ho_Chi_Minh"
    given(monkeypatch, timezone="Europe/Berlin", page_size="many", page_sise="3")
    assert Settings.for_display().timezone == "Europe/Berlin", "the right ones stand"


# ---- the vendor's address


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("api.example.vn", "https://api.example.vn"),
        ("api.example.vn/", "https://api.example.vn"),
        (" https://api.example.vn/ ", "https://api.example.vn"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080//", "http://127.0.0.1:8080"),
        ("api.example.vn:8443", "https://api.example.vn:8443"),
        ("https://api.example.vn/v3/cdr", "https://api.example.vn"),
        ("https://api.example.vn/v3/cdr/", "https://api.example.vn"),
        ("https://example.vn/pitel/", "https://example.vn/pitel"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_vendors_address_comes_with_or_without_scheme_and_slash(
    monkeypatch: pytest.MonkeyPatch, written: str, read: str
) -> None:
    given(monkeypatch, api_base_url=written, api_token=SECRET)
    connection = Settings.load().connection()
    assert connection.base_url == read
    assert f"{read}/".startswith(f"{read.partition('//')[0]}//{connection.host}/")


# ---- values that are refused


@pytest.mark.parametrize(
    ("name", "says", "written"),
    [
        (name, says, written)
        for name, says, refused in (
            (
                "api_base_url",
                "must be ",
                (
                    *("https://", "ftp://api.example.vn", "http:/api.example.vn"),
                    *("https//api.example.vn", "http://api.example.vn:port"),
                    *("api.example.vn, live", "api..example.vn", f"{'a' * 64}.vn"),
                    f"https://me:{SECRET}@api.example.vn",
                    *(f"https://api.example.vn{mark}{SECRET}" for mark in ("?token=", "#")),
                ),
            ),
            ("api_token", "must be the token alone, without `Bearer`", (f"Bearer {SECRET}",)),
            (
                "dagster_postgres_url",
                "must have `@` in its user or password as %40",
                (f"postgresql://me:p@ss{SECRET}@host/dagster",),
            ),
            ("alert_url", "must be ", (f"ftp://{SECRET}", SECRET, f"https://h:port/{SECRET}")),
            ("data_dir", "must be a folder: object stores", ("s3://bucket/x", "gs://bucket")),
            ("data_dir", "is a file, and must be a folder", (__file__,)),
            ("data_dir", "names the home folder of nobody", ("~nobody-of-this-name/calls",)),
            (  # Readers take `=` for a partition, or cannot open files there.
                "data_dir",
                "must not stand below a folder with `",
                ("lake/env=prod/calls", "date=1", "why?/calls", r"a\b"),
            ),
            (  # pydantic would take a number for seconds since 1970.
                "start_date",
                "must be a day, such as 2023-01-01",
                ("2023", "20230101", "1672531200", "86400", "1/3/2023"),
            ),
            ("start_date", "should be ", ("0001-01-01", "0202-03-01", "2023-02-30")),
            ("schedule_time", "must be a full minute", ("01:30:20",)),
            ("schedule_time", "must be a local time", ("1:30", "0130", "01:30Z", "noon")),
            ("schedule_time", "should be in a valid time format", ("24:00",)),
            (
                "allowed_from",
                "must be a local time",
                ("17", "8:00", "08:00Z", "08:00+07:00", "8h", "1e3"),
            ),
            ("allowed_from", "should be in a valid time format", ("25:00",)),
        )
        for written in refused
    ],
)
def test_a_wrong_value_is_refused_without_a_secret_and_displayed_as_the_default(
    monkeypatch: pytest.MonkeyPatch, name: str, says: str, written: str
) -> None:
    given(monkeypatch, **{name: written})
    assert f"  - {variable(name)}: {says}" in (message := fault())
    assert SECRET not in message
    assert getattr(Settings.for_display(), name) == Settings.model_fields[name].default


# ---- secrets


def test_printed_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, api_base_url="api.example.vn", api_token=SECRET, api_key=SECRET)
    settings = Settings.load()
    for thing in (settings, settings.connection()):
        for shown in (repr(thing), str(thing), f"{thing}"):
            assert SECRET not in shown
    assert SECRET not in str(settings.model_dump()) + settings.model_dump_json()


def test_errors_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, api_token=f"{SECRET} {SECRET}", api_key=SECRET, page_size="none")
    for vendor in (False, True):
        message = fault(vendor=vendor)
        assert "CDR_API_TOKEN" in message
        assert SECRET not in message


@pytest.mark.parametrize("name", ["api_token", "api_key"])
def test_white_space_around_a_secret_is_removed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    given(monkeypatch, **{name: f" {SECRET}\r\n"})
    assert getattr(Settings.load(), name).get_secret_value() == SECRET


@pytest.mark.parametrize("written", ["two words", "line\nbreak", "mật-khẩu", "a\tb", "nul\x01"])
@pytest.mark.parametrize("name", ["api_token", "api_key"])
def test_a_secret_that_fits_no_header_is_one_fault(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    given(monkeypatch, api_base_url="api.example.vn", **{name: written})
    message = fault(vendor=True)
    assert message.count("  - ") == 1
    assert f"  - {variable(name)}: " in message
    assert written not in message


def test_a_wrong_default_of_data_dir_hides_no_other_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("")
    given(monkeypatch, data_dir="data", api_base_url="api.example.vn", api_token=SECRET)
    assert fault(vendor=True).count("  - ") == 1
    assert Settings.for_display().api_base_url == "https://api.example.vn"


@pytest.mark.parametrize("written", ["~/calls", "$HOME/calls", "${HOME}/calls"])
def test_home_is_expanded_in_a_path(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("HOME", "/home-of-somebody")
    monkeypatch.setenv("CDR_DATA_DIR", written)
    assert Settings.load().data_dir == Path("/home-of-somebody/calls")


def test_every_secret_is_replaced_in_messages() -> None:
    settings = Settings(api_token=SECRET, dagster_postgres_url="postgresql://me:hush@host/dagster")
    assert settings.dagster_postgres_url
    url = settings.dagster_postgres_url.get_secret_value()
    assert settings.without_secrets(f"{SECRET} at {url}") == "*** at ***"


# ---- the file `.env`


def test_a_file_in_the_working_folder_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "# Công ty ABC\nCDR_API_BASE_URL=api.example.vn\nCDR_API_TOKEN='from-the-file'\n"
        "CDR_PAGE_SIZE=50\nSOMETHING_ELSE=1\nCDR_UNHEARD_OF=1\n",
        encoding="utf-8",
    )
    given(monkeypatch, page_size="70")
    settings = Settings.load()
    assert settings.api_base_url == "https://api.example.vn"
    assert settings.api_token is not None
    assert settings.api_token.get_secret_value() == "from-the-file"
    assert settings.page_size == 70


def test_faults_in_the_file_are_named_like_those_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CDR_PAGE_SIZE=0\nCDR_TIMEZONE=nowhere\n")
    message = fault()
    assert "  - CDR_PAGE_SIZE: " in message
    assert "  - CDR_TIMEZONE: " in message


@pytest.mark.parametrize("in_file", [False, True])
def test_a_misspelt_name_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_file: bool
) -> None:
    """With CDR_LOOKBACK_DAY=30 the lookback stayed at three days, without a message."""
    if in_file:
        (tmp_path / ".env").write_text("export CDR_LOOKBACK_DAY=30\n")
    else:
        given(monkeypatch, lookback_day="30")
    assert "CDR_LOOKBACK_DAY is no setting: did you mean CDR_LOOKBACK_DAYS?" in fault()
    given(monkeypatch, lookback_days="30")
    assert Settings.load().lookback_days == 30, "what is meant is set as well: a name of its own"


@pytest.mark.parametrize(
    "torn",
    ["CDR_API_TOKEN s3cret", 'export CDR_API_KEY="s3cret', "cdr_x: 1", "CDR_API_TOKEN", " CDR_X "],
)
def test_a_line_of_the_file_that_cannot_be_read_is_a_fault_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, torn: str
) -> None:
    """`python-dotenv could not parse statement` came six times, and the setting was missing."""
    (tmp_path / ".env").write_text(f"CDR_PAGE_SIZE=70\n# all\n\n{torn}\nCDR_LOOKBACK_DAYS=2\n")
    message = fault()
    assert "  - line 4 of `.env` cannot be read: write NAME=value" in message
    assert "s3cret" not in message
    assert not caplog.records


def test_an_unreadable_line_about_other_programs_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("what is this\n// CDR_API_KEY goes here\nCDR_PAGE_SIZE=70\n")
    assert Settings.load().page_size == 70


def test_a_variable_unlike_any_setting_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, exporter_port="9100", host="pbx")
    assert Settings.load().lookback_days == 3


def test_empty_values_are_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    defaults = Settings.load()
    names = [variable(name) for name in Settings.model_fields]
    (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in names))
    assert Settings.load() == defaults
    for name in names:
        monkeypatch.setenv(name, "")
    assert Settings.load() == defaults


def test_the_values_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(re.sub(r"^#(?=CDR_)", "", example, flags=re.MULTILINE))
    assert Settings.load() == Settings.model_construct()


# ---- settings that a run against the vendor needs


def test_missing_settings_are_named_together_with_wrong_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(monkeypatch, page_size="0")
    message = fault(vendor=True)
    assert re.findall(r"^  - (.+?)(?: is missing)?:", message, re.MULTILINE) == [
        "CDR_PAGE_SIZE",
        "CDR_API_BASE_URL",
        "CDR_API_TOKEN or CDR_API_KEY",
    ]
    assert ".env.example" in message
    assert "cdr-pipeline demo" in message


def test_a_wrong_setting_is_not_also_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, api_base_url="ftp://api.example.vn", api_key="two words")
    message = fault(vendor=True)
    assert message.count("  - ") == 2
    assert "is missing" not in message


def test_a_connection_is_refused_while_something_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match="CDR_API_BASE_URL is missing"):
        Settings.load().connection()
    given(monkeypatch, api_base_url="api.example.vn")
    with pytest.raises(SettingsError, match="CDR_API_TOKEN or CDR_API_KEY is missing") as caught:
        Settings.load().connection()
    assert "CDR_API_BASE_URL" not in str(caught.value)


@pytest.mark.parametrize("name", ["api_token", "api_key"])
def test_a_token_or_a_key_is_enough(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    given(monkeypatch, api_base_url="api.example.vn", **{name: SECRET})
    connection = Settings.load().connection()
    assert (connection.token is None) == (name == "api_key")
    assert (connection.api_key is None) == (name == "api_token")


def test_importing_needs_no_setting_and_no_home(tmp_path: Path) -> None:
    modules = "settings", "api.listing", "tables.store", "cli", "definitions"
    code = ";".join(f"import cdr_pipeline.{module}" for module in modules)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "CDR_PAGE_SIZE": "none"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
