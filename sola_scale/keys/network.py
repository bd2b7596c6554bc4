"""The trainable forms of an encoder, a matcher and an alignment; what is kept of them is arrays.

Shape legend: M texts, E views read, P directions kept of a view, K numbers made of a view, B problems, k candidates, G given
similarities, Z encoding, T token places, A alignment vector, D residual width, N tokens of the vocabulary.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, layer_norm, normalize

from sola_scale.keys import alignment
from sola_scale.keys.alignment import Alignment
from sola_scale.keys.encoder import EPSILON, Encoder
from sola_scale.keys.matcher import Matcher
from sola_scale.keys.scorer import Floats, Perceptron
from sola_scale.keys.whitening import Whitening

KEPT, INNER, ENCODING = 64, 512, 64
"""Numbers made of a view, width of the hidden layer, and of what comes out."""
HIDDEN = (384, 128)
"""Hidden layers of the pair scorer."""
ALIGNED = 32
"""Numbers of a token's vector."""
_DROPOUT, _PAIR_DROPOUT, _VIEW_DROPOUT, _TOKEN_DROPOUT = 0.2, 0.1, 0.1, 0.1
_LENGTH = 24.0
"""Length to which embeddings are brought: about the square root of the default model's width."""


class Drop(nn.Module):
    """Dropout that can draw from a generator of its own: fits that run beside one another would share torch's."""

    def __init__(self, share: float) -> None:
        """``share`` of the values is dropped; the generator is torch's own until `draw_from`."""
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Put some values to 0 and scale the others up, in training."""
        if not self.training:
            return values
        kept = torch.empty_like(values).bernoulli_(1 - self.share, generator=self.generator)
        return values * kept.div_(1 - self.share)


def draw_from(generator: torch.Generator, network: nn.Module) -> None:
    """Let all dropout of a network draw from ``generator``."""
    for module in network.modules():
        if isinstance(module, Drop):
            module.generator = generator


class EncoderNetwork(nn.Module):
    """The trainable form of an encoder."""

    def __init__(self, views: int, directions: int) -> None:
        super().__init__()
        self.project_EPK = nn.Parameter(torch.randn(views, directions, KEPT) / directions**0.5)
        self.drop = Drop(_DROPOUT)
        self.inner, self.outer = nn.Linear(views * KEPT, INNER), nn.Linear(INNER, ENCODING)

    def forward(self, white_MEP: Tensor) -> Tensor:
        """Encode whitened views, ``[M, Z]``."""
        projected_MEK = torch.einsum("mep,epk->mek", white_MEP, self.project_EPK)
        if self.training:
            # A whole view at a time: none may become the only one that is looked at.
            kept_ME1 = torch.rand(*projected_MEK.shape[:2], 1, generator=self.drop.generator) > _VIEW_DROPOUT
            projected_MEK = projected_MEK * kept_ME1
        normal_MF = layer_norm(projected_MEK.flatten(1), [projected_MEK[0].numel()], eps=EPSILON)
        hidden_MH = torch.relu(self.inner(self.drop(normal_MF)))
        encoded_MZ: Tensor = self.outer(self.drop(hidden_MH))
        return encoded_MZ

    def encoder(self, whitening: Whitening) -> Encoder:
        """The plain arrays of what was fitted."""
        (inner_FH, inner_H), (outer_HZ, outer_Z) = _arrays(self.inner), _arrays(self.outer)
        return Encoder(
            views=whitening.places,
            centre_ED=whitening.centre_ED,
            matrix_EDP=whitening.matrix_EDP @ self.project_EPK.detach().numpy(),
            inner_FH=inner_FH,
            inner_H=inner_H,
            outer_HZ=outer_HZ,
            outer_Z=outer_Z,
        )


class MatcherNetwork(nn.Module):
    """The trainable form of a matcher."""

    def __init__(self, views: int, directions: int, given: int) -> None:
        super().__init__()
        self.encode = EncoderNetwork(views, directions)
        widths = (given + 2 * ENCODING + 1, *HIDDEN)
        self.layers = nn.ModuleList(
            nn.Linear(wide, narrow) for wide, narrow in zip(widths, (*HIDDEN, 1), strict=True)
        )
        self.pair_drop = Drop(_PAIR_DROPOUT)

    def forward(self, white_MEP: Tensor, place_Bj: Tensor, given_BkG: Tensor) -> Tensor:
        """Logit of every candidate ``[B, k]``; ``place_Bj`` says which text is the query, and which the candidates."""
        encoded_BjZ = self.encode(white_MEP)[place_Bj]
        right_BkZ = encoded_BjZ[:, 1:]
        left_BkZ = encoded_BjZ[:, :1].expand_as(right_BkZ)
        cosine_Bk = cosine_similarity(left_BkZ, right_BkZ, dim=-1, eps=1e-6)
        features = [given_BkG, cosine_Bk[..., None], (left_BkZ - right_BkZ).abs(), left_BkZ * right_BkZ]
        hidden = torch.cat(features, dim=-1)
        for layer in self.layers[:-1]:
            hidden = self.pair_drop(torch.relu(layer(hidden)))
        logit_Bk: Tensor = self.layers[-1](hidden)[..., 0]
        return logit_Bk

    def matcher(self, whitening: Whitening) -> Matcher:
        """The plain arrays of what was fitted."""
        weights = [_arrays(layer) for layer in self.layers]
        features = len(weights[0][0])
        return Matcher(
            encoder=self.encode.encoder(whitening),
            pair=Perceptron(
                mean_F=torch.zeros(features).numpy(),
                scale_F=torch.ones(features).numpy(),
                weights=tuple(weight for weight, _ in weights),
                biases=tuple(bias for _, bias in weights),
            ),
        )


class AlignmentNetwork(nn.Module):
    """The trainable form of an alignment."""

    def __init__(self, embedding_ND: Tensor) -> None:
        """``embedding_ND`` as `level` gives it."""
        super().__init__()
        self.embedding_ND = embedding_ND
        self.drop = Drop(_TOKEN_DROPOUT)
        self.vector, self.weight = (
            nn.Linear(embedding_ND.shape[1], ALIGNED),
            nn.Linear(embedding_ND.shape[1], 1),
        )
        self.name = nn.Embedding(2, ALIGNED)

    def forward(self, token_MT: Tensor, name_MT: Tensor, there_MT: Tensor, place_Bj: Tensor) -> Tensor:
        """What is left uncovered of the query and of every candidate, ``[B, k, FEATURES]``; see `Alignment.likeness`."""
        longest = max(1, int(there_MT.sum(dim=1).max()))
        token_MT, name_MT, there_MT = (part[:, :longest] for part in (token_MT, name_MT, there_MT))
        met_U, which_MT = torch.unique(token_MT, return_inverse=True)
        embedded_UD = self.drop(self.embedding_ND[met_U])
        raw_MTA = self.vector(embedded_UD)[which_MT] + self.name(name_MT.long())
        vector_MTA = normalize(raw_MTA, dim=-1) * there_MT[..., None]
        weight_MT = torch.sigmoid(self.weight(embedded_UD))[..., 0][which_MT] * there_MT
        left, right = place_Bj[:, :1], place_Bj[:, 1:]
        near_BkTT = vector_MTA[left] @ vector_MTA[right].transpose(-1, -2)
        features = [
            *_side(weight_MT[left], name_MT[left], near_BkTT.amax(dim=-1).clamp_min(0)),
            *_side(weight_MT[right], name_MT[right], near_BkTT.amax(dim=-2).clamp_min(0)),
        ]
        return torch.stack(features, dim=-1)

    @torch.no_grad()
    def alignment(self, view: int, places: int) -> Alignment:
        """The plain arrays of what was fitted."""
        return Alignment(
            view=view,
            places=places,
            vector_NA=self.vector(self.embedding_ND).half().numpy(),
            weight_N=torch.sigmoid(self.weight(self.embedding_ND))[:, 0].numpy(),
            name_2A=self.name.weight.detach().numpy().copy(),
        )


def reduced(device: str = "cpu") -> AbstractContextManager[None]:
    """Compute in bfloat16 where the device multiplies it at once: several times as fast then; a CPU without is slower than in float32."""
    at_once = device != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 (no public way to ask)
    return torch.autocast(device, torch.bfloat16, enabled=at_once)


def level(embedding_ND: Tensor) -> Tensor:
    """Centre embeddings and bring them to one length, so that rare tokens are read as common ones are."""
    level_ND = embedding_ND.float() - embedding_ND.float().mean(dim=0)
    lengths_N1 = level_ND.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return level_ND.mul_(_LENGTH / lengths_N1)


def _side(weight_BkT: Tensor, name_BkT: Tensor, nearest_BkT: Tensor) -> list[Tensor]:
    bare_BkT = weight_BkT * (1 - nearest_BkT)
    features = []
    for kind_BkT in (name_BkT, ~name_BkT):
        uncovered_BkT, kept_BkT = bare_BkT * kind_BkT, weight_BkT * kind_BkT
        total_Bk = uncovered_BkT.sum(dim=-1)
        share_Bk = total_Bk / (kept_BkT.sum(dim=-1) + alignment.TINY)
        features += [share_Bk, total_Bk, uncovered_BkT.amax(dim=-1)]
    return features


def _arrays(layer: nn.Module) -> tuple[Floats, Floats]:
    """Weights ``[in, out]`` and bias."""
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()
