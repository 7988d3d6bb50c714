"""Where Dagster keeps its history: one lasting folder for the commands and the UI."""

import os
from importlib.resources import files
from pathlib import Path

DEFAULT_HOME = Path(".dagster")


def lasting_home(folder: Path | None = None) -> Path:
    """DAGSTER_HOME, or `.dagster` in the working folder: made and configured if need be.

    Sets DAGSTER_HOME for this process and its children.
    """
    home = folder or Path(os.environ.get("DAGSTER_HOME") or DEFAULT_HOME)
    home = home.expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(files("cdr_pipeline").joinpath("dagster.yaml").read_text())
    os.environ["DAGSTER_HOME"] = str(home)
    return home
