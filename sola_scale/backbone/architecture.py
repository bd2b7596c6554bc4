"""The one adapter point between sola-scale and the decoder families: where their parts are and what they are called."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from sola_scale.errors import ModelError

# The projection that writes a layer's MLP result back into the residual stream, by the name its family gives it.
_OUTPUT_PROJECTIONS = ("mlp.down_proj", "mlp.c_proj", "mlp.fc2", "mlp.dense_4h_to_h")
# The projection that writes a layer's attention result back into the residual stream, likewise.
_ATTENTION_PROJECTIONS = ("self_attn.o_proj", "attn.c_proj", "self_attn.dense", "attention.dense")
_LAYER_LISTS = ("layers", "h")
_FINAL_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The parts of a decoder-only transformer that sola-scale touches."""

    decoder: nn.Module
    """The model below the language-model head (embeddings, layers, final norm)."""
    layers: nn.ModuleList
    """The decoder layers, first to last."""
    layers_path: str
    """Dotted path of ``layers`` inside the whole model."""
    projection: str
    """Dotted path, inside a layer, of the MLP's output projection."""
    attention_projection: str
    """Dotted path, inside a layer, of the attention's output projection: the default place of an edit."""
    final_norm: nn.Module
    """The norm between the last layer and the head."""
    head: nn.Module
    """The language-model head."""
    width: int
    """Size of the residual stream."""

    def module_path(self, layer: int, name: str | None = None) -> str:
        """Return the dotted path, inside the whole model, of a module of ``layer`` (default: ``projection``).

        Raises:
            ModelError: there is no such layer.
        """
        if not 0 <= layer < len(self.layers):
            raise ModelError(
                f"layer {layer} does not exist: the model has layers 0 to {len(self.layers) - 1}"
            )
        return f"{self.layers_path}.{layer}.{name or self.projection}"


def describe(model: Any) -> Architecture:
    """Find the parts of ``model``.

    Raises:
        ModelError: the model is not a decoder of a known family; the text says which part was not found.
    """
    decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else None
    head: Any = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    layers = _first(decoder, _LAYER_LISTS)
    norm = _first(decoder, _FINAL_NORMS)
    if head is None or not isinstance(layers, nn.ModuleList) or norm is None:
        raise ModelError(
            f"{type(model).__name__} is not a causal decoder whose layers, final norm and head are known"
        )
    return Architecture(
        decoder=decoder,
        layers=layers,
        layers_path=_path_of(model, layers),
        projection=_projection(layers[0], _OUTPUT_PROJECTIONS),
        attention_projection=_projection(layers[0], _ATTENTION_PROJECTIONS),
        final_norm=norm,
        head=head,
        width=int(_text_config(model).hidden_size),
    )


def features(linear: nn.Module) -> tuple[int, int]:
    """Return ``(d_in, d_out)`` of a linear map, be it ``nn.Linear`` or GPT-2's transposed ``Conv1D``.

    Raises:
        ModelError: the module is no linear map.
    """
    if isinstance(linear, nn.Linear):
        return linear.in_features, linear.out_features
    weight = getattr(linear, "weight", None)
    if type(linear).__name__ == "Conv1D" and weight is not None:
        return int(weight.shape[0]), int(weight.shape[1])
    raise ModelError(f"{type(linear).__name__} is not a linear map and cannot carry an edit")


def _first(owner: Any, names: tuple[str, ...]) -> Any:
    return next((getattr(owner, name) for name in names if hasattr(owner, name)), None)


def _path_of(model: nn.Module, part: nn.Module) -> str:
    paths: list[str] = [name for name, module in model.named_modules() if module is part]
    return paths[0]


def _projection(layer: nn.Module, known: tuple[str, ...]) -> str:
    names = {name for name, _ in layer.named_modules()}
    found = next((name for name in known if name in names), None)
    if found is None:
        raise ModelError(f"{type(layer).__name__} has no output projection of a known name {known}")
    return found


def _text_config(model: Any) -> Any:
    config = model.config
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
