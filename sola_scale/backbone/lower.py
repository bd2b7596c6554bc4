"""The lower layers of a model, run a second time with low-rank adapters of their own, on the model's own weights.

Shape legend: P sequences, T token positions, D width of the residual stream, I and O width of a linear map's input and output,
R rank.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sola_scale.backbone.architecture import features
from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.private import PrivateDecoder, path_of
from sola_scale.errors import ModelError

# The linear maps that are adapted, by the names that families give them: queries and values, and the way into the MLP and out of it.
_ADAPTED = (
    *("q_proj", "v_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"),
    *("c_attn", "c_fc", "c_proj", "query_key_value", "dense_h_to_4h", "dense_4h_to_h", "fc1", "fc2"),
)


class LowRank(nn.Module):
    """A linear map and what an adapter adds to it (LoRA, Hu et al. 2021)."""

    def __init__(self, base: nn.Module, down_RI: Tensor, up_OR: Tensor) -> None:
        """``up_OR`` carries the adapter's scale."""
        super().__init__()
        self.base = base
        self.down_RI, self.up_OR = nn.Parameter(down_RI), nn.Parameter(up_OR)

    def forward(self, input_PTI: Tensor) -> Tensor:
        """The base map's output and the adapter's."""
        output_PTO: Tensor = self.base(input_PTI)
        low_PTR = linear(input_PTI, self.down_RI.to(input_PTI.dtype))
        return output_PTO + linear(low_PTR, self.up_OR.to(input_PTI.dtype))


class LowerLayers:
    """The first layers of a model as a reader of their own; nothing that it does is seen by the model."""

    def __init__(self, backbone: Backbone, depth: int) -> None:
        """Take the first ``depth`` layers, with their embeddings below and the model's final norm on top.

        Raises:
            ModelError: the model has fewer layers, or cannot be run with some of them only.
        """
        architecture = backbone.architecture
        if not 0 < depth <= len(architecture.layers):
            raise ModelError(f"{depth} layers cannot be read with: the model has {len(architecture.layers)}")
        self.device = backbone.device
        self.vocabulary = int(backbone.model.get_input_embeddings().weight.shape[0])
        private = PrivateDecoder(backbone.model, architecture)
        self.module = private.decoder
        self.layers = nn.ModuleList(list(private.layers)[:depth])
        self.module.set_submodule(path_of(architecture.decoder, architecture.layers), self.layers)
        self.module.config = copy.copy(self.module.config)
        self.module.config.num_hidden_layers = depth
        self.module.eval()
        self._probe()

    def _probe(self) -> None:
        try:
            with torch.inference_mode():
                self.last_states([[0, 0]])
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{type(self.module).__name__} cannot be run with some of its layers only"
            ) from error

    def adaptable(self, lowest: int) -> dict[str, tuple[int, int]]:
        """Paths of the linear maps that take an adapter, from layer ``lowest`` on, with their ``(d_in, d_out)``.

        Raises:
            ModelError: none goes by a known name.
        """
        found = {
            path: features(module)
            for path, module in self.layers.named_modules()
            if path.rpartition(".")[2] in _ADAPTED and int(path.partition(".")[0]) >= lowest
        }
        if not found:
            raise ModelError(
                f"{type(self.module).__name__} has no linear map of a known name to adapt from layer {lowest} on"
            )
        return found

    def adapt(self, path: str, down_RI: Tensor, up_OR: Tensor) -> LowRank:
        """Lay an adapter on the linear map at ``path``.

        Raises:
            ModelError: there is no such map, or the adapter has another shape.
        """
        owner_path, _, name = path.rpartition(".")
        try:
            owner = self.layers.get_submodule(owner_path)
            base = getattr(owner, name)
        except AttributeError as error:
            raise ModelError(
                f"the model has no linear map {path} among the layers that are read with"
            ) from error
        if (down_RI.shape[1], up_OR.shape[0]) != features(base) or down_RI.shape[0] != up_OR.shape[1]:
            raise ModelError(f"an adapter of another shape was made for {path}")
        device = base.weight.device
        adapted = LowRank(base, down_RI.to(device), up_OR.to(device))
        setattr(owner, name, adapted)
        return adapted

    def last_states(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Run token sequences, and give the state of the last token of each; float32 ``[P, D]``.

        A token that the vocabulary does not have is met as its first or last one.
        """
        longest = max(map(len, sequences))
        # Padded on the right: in a causal model no token sees what follows it, so that no mask is needed.
        padded = [[*one, *[0] * (longest - len(one))] for one in sequences]
        ids_PT = torch.tensor(padded, dtype=torch.int64).clamp_(0, self.vocabulary - 1).to(self.device)
        hidden_PTD = self.module(input_ids=ids_PT, use_cache=False, return_dict=True).last_hidden_state
        last_P = torch.tensor([len(one) - 1 for one in sequences], device=hidden_PTD.device)
        last_PD: Tensor = hidden_PTD[torch.arange(len(sequences), device=hidden_PTD.device), last_P]
        return last_PD.float()
