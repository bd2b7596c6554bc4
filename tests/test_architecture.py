"""The house rules that no linter knows: who may import whom, how long a file may grow, what may never be used."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 400
LONGEST_FUNCTION = 60

# What each room may import of ours, itself and `errors` aside; a room stands on rooms listed above it. Names are those
# of the first part below `sola_scale`.
GROUND = {
    "sola_index": set(),
    "errors": set(),
    "requests": set(),
    "histogram": set(),
    "sharing": set(),
    "backbone": set(),
    "store": set(),
}
MIDDLE = {
    "keys": {"backbone"},
    "lora": {"backbone", "histogram"},
    "live": {"sola_index", "store"},
    "serving": {"histogram", "lora"},
    "keying": {"keys", "store"},
    "routing": {"sola_index", "keys", "live", "store"},
    "recipes": {"backbone", "keys", "lora"},
    "decision": {"sola_index", "backbone", "lora", "routing"},
    "generation": {"backbone", "decision", "routing"},
    "statistics": {"histogram", "lora", "store"},
    "collisions": {"keys", "routing", "store"},
    "ingest": {"backbone", "collisions", "keying", "keys", "lora", "requests", "routing", "store"},
    "opening": {"backbone", "keys", "live", "lora", "recipes", "store"},
    "firing": {"decision", "opening", "routing", "store"},
    "exchange": {"backbone", "keying", "lora", "opening", "requests", "store"},
    "recalibration": {"backbone", "keying", "keys", "opening", "store"},
}
BELOW_EDITOR = set(GROUND) | set(MIDDLE)
TOP = {
    "editor": BELOW_EDITOR,
    "evaluate": BELOW_EDITOR | {"editor"},
    "analysis": BELOW_EDITOR | {"editor", "evaluate"},
    "cli": BELOW_EDITOR | {"sola_scale", "editor", "evaluate", "analysis"},
}
MAY_IMPORT: dict[str, set[str]] = {**GROUND, **MIDDLE, **TOP, "sola_scale": {*GROUND, *MIDDLE, *TOP}}

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}


ROOMS = {
    path.stem
    for path in (ROOT / "sola_scale").iterdir()
    if path.name != "__init__.py" and (path.suffix == ".py" or (path / "__init__.py").exists())
}


def sources(*folders: str) -> list[Path]:
    """Every Python file below these folders of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


PACKAGES = sources("sola_scale", "index/sola_index")
EVERYTHING = [*PACKAGES, *sources("scripts", "tests")]


def module_of(path: Path) -> str:
    """The dotted name of a file of one of the two packages."""
    root = ROOT / "index" if path.is_relative_to(ROOT / "index") else ROOT
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a module belongs to: the second part of its name, or the package itself."""
    first, second, *_ = [*module.split("."), ""]
    if first == "sola_index":
        return first
    return second if second in ROOMS else first


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """Every module that the code imports, relative imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: None if is_package and node.level == 1 else -node.level or None]
            prefix = ".".join([*base, node.module or ""]).strip(".") if node.level else node.module or ""
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """The rooms of ours that a file imports, its own aside."""
    module = module_of(path)
    found = imports(ast.parse(path.read_text()), module, is_package=path.name == "__init__.py")
    rooms = {room_of(name) for name in found if name.split(".")[0] in {"sola_scale", "sola_index"}}
    return rooms - {room_of(module)}


@pytest.mark.parametrize("path", PACKAGES, ids=module_of)
def test_arrows_point_one_way(path: Path) -> None:
    """A module imports only from the rooms that its own room stands on."""
    room = room_of(module_of(path))
    assert not ours(path) - MAY_IMPORT[room] - ({"errors"} if room != "sola_index" else set())


def test_every_room_is_known() -> None:
    """A new room must be given its place in the house before it is built."""
    assert not ROOMS - set(MAY_IMPORT)


def test_there_are_no_circles() -> None:
    """The rooms can be put in an order in which each imports only earlier ones."""
    arrows: dict[str, set[str]] = {}
    for path in PACKAGES:
        arrows.setdefault(room_of(module_of(path)), set()).update(ours(path))
    arrows.pop("sola_scale", None)
    while leaves := {room for room, targets in arrows.items() if not targets & set(arrows)}:
        for room in leaves:
            del arrows[room]
    assert not arrows


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    """No file is over 400 lines and no function over 60: what grows past that is two things."""
    source = path.read_text()
    assert len(source.splitlines()) <= LONGEST_FILE
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = {
        node.name: length
        for node in functions
        if (length := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert not long


@pytest.mark.parametrize("path", PACKAGES, ids=module_of)
def test_nothing_unpickles(path: Path) -> None:
    """No module imports a pickle, and torch and numpy load without one: a store from a stranger runs no code."""
    tree = ast.parse(path.read_text())
    found = {
        name.split(".")[0] for name in imports(tree, module_of(path), is_package=path.name == "__init__.py")
    }
    assert not found & FORBIDDEN_MODULES
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        assert given.get("allow_pickle") is not True
        if ast.unparse(call.func) == "torch.load":
            assert given.get("weights_only") is True


@pytest.mark.parametrize("path", PACKAGES, ids=module_of)
def test_no_code_from_a_model_runs_unasked(path: Path) -> None:
    """`trust_remote_code` is never switched on by the library itself."""
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        assert all(
            k.arg != "trust_remote_code" or getattr(k.value, "value", None) is not True for k in call.keywords
        )
