"""The folder in which Dagster keeps its history."""

import errno
import re
from pathlib import Path

import pytest

from cdr_pipeline.errors import SettingsError
from cdr_pipeline.home import LOCK, home_apart


def test_a_home_is_configured_completely_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty `dagster.yaml`, left by a full disk, was taken for the user's own from then on."""
    monkeypatch.setenv("DAGSTER_HOME", "")

    def write_text(path: Path, text: str) -> int:
        path.write_bytes(text[:99].encode())
        raise OSError(errno.ENOSPC, "No space left on device", f"{path}")

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", write_text)
        message = f"DAGSTER_HOME: {tmp_path} cannot be written: No space left on device. Make room"
        with pytest.raises(SettingsError, match=re.escape(message)):
            home_apart(tmp_path)
    assert not list(tmp_path.glob("dagster.yaml*"))
    config = home_apart(tmp_path) / "dagster.yaml"
    assert "class: SqliteHistory" in config.read_text()


def test_a_home_that_cannot_be_written_is_named_before_dagster_starts(tmp_path: Path) -> None:
    """Dagster cannot open a file of another user: `ui` showed Dagster's traceback."""
    (tmp_path / "dagster.yaml").touch()
    (tmp_path / LOCK).mkdir()
    with pytest.raises(SettingsError, match=f"DAGSTER_HOME: {tmp_path} cannot be written: Is a"):
        home_apart(tmp_path)


@pytest.mark.parametrize("name", ["Thang%203", "a?b", "calls [2023]", "a*b"])
def test_a_home_that_dagster_would_look_for_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """For `Thang%203` Dagster opened the folder `Thang 3`, or said "unable to open database file".
    In `calls [2023]` it did not read `dagster.yaml`, and sent telemetry.
    """
    with pytest.raises(SettingsError, match="must not stand below a folder with"):
        home_apart(tmp_path / name)
    assert not (tmp_path / name).exists()
