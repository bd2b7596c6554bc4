"""A private decoder: the base model's weights under modules of our own, so that training touches no hook of the model."""

from collections import OrderedDict
from typing import Any

from torch import nn

from sola_scale.backbone.architecture import Architecture

_HOOK_TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class PrivateDecoder:
    """A copy of the decoder that shares every weight with the model and no module.

    Its modules may be replaced and run while other threads generate with the model and the model's own hooks.
    """

    def __init__(self, model: nn.Module, architecture: Architecture) -> None:
        self.decoder: Any = _copy(architecture.decoder)
        self._inside = f"{path_of(model, architecture.decoder)}."
        self.layers: Any = self.decoder.get_submodule(path_of(architecture.decoder, architecture.layers))

    def replace(self, path: str, module: nn.Module) -> None:
        """Put ``module`` where ``path``, dotted and inside the whole model, leads."""
        self.decoder.set_submodule(path.removeprefix(self._inside), module)

    def get(self, path: str) -> nn.Module:
        """Return the private module at ``path``, dotted and inside the whole model."""
        found: nn.Module = self.decoder.get_submodule(path.removeprefix(self._inside))
        return found


class StandIn(nn.Module):
    """Base of modules that stand where a layer stood and answer as that layer when a decoder asks it something."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def __getattr__(self, name: str) -> Any:
        """Look an unknown name up in the layer, such as the kind of attention it uses."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


def path_of(root: nn.Module, part: nn.Module) -> str:
    """Return the dotted path of ``part`` inside ``root``."""
    names: dict[nn.Module, str] = {module: name for name, module in root.named_modules()}
    return names[part]


def _copy(module: nn.Module) -> nn.Module:
    own: nn.Module = module.__class__.__new__(module.__class__)
    own.__dict__.update(module.__dict__)
    for table in _HOOK_TABLES:
        own.__dict__[table] = OrderedDict()
    own.__dict__["_modules"] = {name: child and _copy(child) for name, child in module.named_children()}
    return own
