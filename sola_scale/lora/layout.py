"""The shape of an adapter: which linear maps it changes, and at which rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sola_scale.backbone.architecture import features
from sola_scale.backbone.loading import Backbone
from sola_scale.errors import ModelError, TrainingError

_MAX_RANK = 255
_MAX_MODULES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleShape:
    """One linear map that an adapter changes."""

    path: str
    """Dotted path inside the whole model."""
    d_in: int
    """Number of inputs."""
    d_out: int
    """Number of outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLayout:
    """One size class of adapters. A store has one or more; an edit's payload names its own by index."""

    modules: tuple[ModuleShape, ...]
    """The changed maps, lowest layer first."""
    rank: int
    """Rank of the change of every map."""

    def __post_init__(self) -> None:
        """Refuse what no payload could hold."""
        if not 1 <= self.rank <= _MAX_RANK:
            raise TrainingError(f"the rank of an adapter must be 1 to {_MAX_RANK}, not {self.rank}")
        if not 1 <= len(self.modules) <= _MAX_MODULES:
            raise TrainingError(
                f"an adapter changes 1 to {_MAX_MODULES} linear maps, not {len(self.modules)}"
            )
        if len({module.path for module in self.modules}) != len(self.modules):
            raise TrainingError("an adapter layout names a linear map twice")

    @property
    def size(self) -> int:
        """Numbers in one adapter."""
        return self.rank * sum(module.d_in + module.d_out for module in self.modules)

    @property
    def paths(self) -> tuple[str, ...]:
        """The dotted paths of the changed maps."""
        return tuple(module.path for module in self.modules)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a store's configuration."""
        modules = [
            {"path": module.path, "d_in": module.d_in, "d_out": module.d_out} for module in self.modules
        ]
        return {"rank": self.rank, "modules": modules}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "AdapterLayout":
        """Read what ``to_json`` wrote.

        Raises:
            TrainingError: a field is missing or out of range.
        """
        try:
            modules = tuple(
                ModuleShape(path=str(one["path"]), d_in=int(one["d_in"]), d_out=int(one["d_out"]))
                for one in data["modules"]
            )
            return cls(modules=modules, rank=int(data["rank"]))
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"an adapter layout is malformed: {error!r}") from error

    @classmethod
    def of(cls, backbone: Backbone, paths: Sequence[str], *, rank: int = 1) -> "AdapterLayout":
        """Describe the maps at ``paths`` of a model, ordered by layer.

        Raises:
            TrainingError: the model has no such linear map, or it lies outside the decoder layers.
        """
        ordered = sorted(paths, key=lambda path: layer_of(backbone, path))
        return cls(modules=tuple(_shape(backbone, path) for path in ordered), rank=rank)

    @classmethod
    def default(cls, backbone: Backbone) -> "tuple[AdapterLayout, ...]":
        """Return the size classes that were found best by measurement (``docs/design/training.md``).

        Short answers change the attention's output projections of the last three layers, at rank 1, 2 or 4 by the limits
        of ``TrainingConfig.class_limits``. Sentences, and whatever those are too small for, change all
        output projections of the last four layers. None reaches lower: routing looks at the layers below.
        """
        parts = backbone.architecture
        count = len(parts.layers)
        attention = [
            parts.module_path(layer, parts.attention_projection) for layer in range(max(0, count - 4), count)
        ]
        both = [*attention, *(parts.module_path(layer) for layer in range(max(0, count - 4), count))]
        short = attention[-3:]
        return (
            cls.of(backbone, short, rank=1),
            cls.of(backbone, short, rank=2),
            cls.of(backbone, short, rank=4),
            cls.of(backbone, both, rank=4),
        )

    @classmethod
    def sola_paper(cls, backbone: Backbone) -> "tuple[AdapterLayout, ...]":
        """Return SoLA's single size class (arXiv 2603.11239): rank 4, here in the last layer's output projection."""
        path = backbone.architecture.module_path(len(backbone.architecture.layers) - 1)
        return (cls.of(backbone, [path], rank=4),)


def layer_of(backbone: Backbone, path: str) -> int:
    """Return the decoder layer that holds the module at ``path``.

    Raises:
        TrainingError: the path does not lead into a decoder layer.
    """
    start = f"{backbone.architecture.layers_path}."
    number = path.removeprefix(start).partition(".")[0]
    if not path.startswith(start) or not number.isdigit() or int(number) >= len(backbone.architecture.layers):
        raise TrainingError(
            f"{path!r} is no module of a decoder layer; they are called {start}<number>.<name>"
        )
    return int(number)


def _shape(backbone: Backbone, path: str) -> ModuleShape:
    try:
        d_in, d_out = features(backbone.model.get_submodule(path))
    except (AttributeError, ModelError) as error:
        raise TrainingError(f"{path!r} cannot carry an edit: {error}") from error
    return ModuleShape(path=path, d_in=d_in, d_out=d_out)
