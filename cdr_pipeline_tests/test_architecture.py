"""Which module may import which: data walks one way, `api` and `tables` never import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "cdr_pipeline"
GROUND = {"record", "window", "page", "settings", "errors"}

#: Module or package -> the modules and packages of ours that it may import.
MAY_IMPORT: dict[str, set[str]] = {
    "record": set(),
    "errors": set(),
    "window": set(),
    "process": set(),
    "page": {"record", "window"},
    "settings": {"errors"},
    "environment": {"settings"},
    "api": GROUND | {"api"},
    "tables": GROUND | {"process", "tables"},
    "upkeep": GROUND | {"tables"},
    "checks": GROUND | {"tables", "upkeep"},
    "report": GROUND | {"tables", "checks", "report"},
    "assets": GROUND | {"api", "tables", "checks", "report", "upkeep", "assets"},
    "automation": GROUND
    | {"api", "tables", "checks", "upkeep", "assets", "home", "launcher", "automation"}
    | {"environment"},
    "home": {"settings", "errors"},
    "history": {"environment", "home", "errors"},
    "launcher": {"environment"},
    "definitions": GROUND | {"assets", "automation"},
    "cli": GROUND
    | {"api", "tables", "report", "assets", "automation", "simulator"}
    | {"environment", "home", "launcher", "process", "cli"},
    "simulator": {"simulator"},
    "notebook": {"scan", "record", "tables"},
}

#: The benchmark measures the rest from outside; its contestants may use any library.
BENCH = ROOT / "bench"


def imported(path: Path) -> set[str]:
    """The full names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module}
            if node.module == "cdr_pipeline":
                names |= {f"cdr_pipeline.{alias.name}" for alias in node.names}
    return names


def modules(package: str) -> list[Path]:
    folder = ROOT / package
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{package}.py"]


def test_every_module_has_a_list_of_what_it_may_import() -> None:
    packages = {
        path.stem
        for path in ROOT.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert packages - {"__init__", "bench"} == MAY_IMPORT.keys()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_module_imports_only_what_its_list_allows(package: str) -> None:
    for path in modules(package):
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("cdr_pipeline.")}
        assert ours - {"__version__"} <= MAY_IMPORT[package], path.name


@pytest.mark.parametrize(
    "package", sorted(MAY_IMPORT["assets"] - {"assets"} | MAY_IMPORT["tables"])
)
def test_nothing_below_the_assets_imports_dagster(package: str) -> None:
    for path in modules(package):
        assert not [name for name in imported(path) if name.split(".")[0] == "dagster"], path.name


def test_only_the_client_imports_httpx_and_few_modules_import_pyarrow() -> None:
    def users(library: str) -> list[str]:
        return [
            path.name
            for path in ROOT.rglob("*.py")
            if BENCH not in path.parents
            if library in {name.split(".")[0] for name in imported(path)}
        ]

    assert users("httpx") == ["client.py"]
    assert sorted(users("pyarrow")) == [
        "arrow.py",
        "footer.py",
        "page.py",
        "raw_pages.py",
        "runs.py",
        "store.py",
    ]


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "py.typed").is_file()


def test_nothing_imports_the_benchmark_and_its_judge_imports_nothing_of_the_rest() -> None:
    for path in ROOT.rglob("*.py"):
        ours = {name for name in imported(path) if name.startswith("cdr_pipeline.")}
        bench = {name for name in ours if name.startswith("cdr_pipeline.bench")}
        if BENCH not in path.parents:
            assert not bench, path.name
        elif path.stem in ("calls", "server", "contest", "truth"):
            # The start and the end of our own process are part of its cost.
            spared = {"cdr_pipeline.process"} if path.stem == "contest" else set()
            assert ours == bench | spared, path.name
