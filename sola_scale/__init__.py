"""Edit a language model one fact at a time, many times, and take any edit back."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sola_scale import recipes as recipes
    from sola_scale.editor import Editor as Editor
    from sola_scale.errors import SolaError as SolaError
    from sola_scale.generation import Generation as Generation
    from sola_scale.ingest import IngestReport as IngestReport
    from sola_scale.ingest import Outcome as Outcome
    from sola_scale.requests import BadRecord as BadRecord
    from sola_scale.requests import EditRequest as EditRequest
    from sola_scale.requests import read_requests as read_requests
    from sola_scale.routing import Route as Route

_HOMES = {
    "Editor": "sola_scale.editor",
    "BadRecord": "sola_scale.requests",
    "EditRequest": "sola_scale.requests",
    "read_requests": "sola_scale.requests",
    "Generation": "sola_scale.generation",
    "IngestReport": "sola_scale.ingest",
    "Outcome": "sola_scale.ingest",
    "Route": "sola_scale.routing",
    "SolaError": "sola_scale.errors",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: torch takes seconds, and ``sola --help`` needs none of it."""
    import importlib

    if name == "recipes":
        return importlib.import_module("sola_scale.recipes")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *_HOMES, "recipes"])
