"""Fitting encoders and pair scorers together, on the routing problems that they will meet.

Shape legend: N texts, E views read, D residual width, P directions kept of a view, Q problems, k candidates, B problems of
a step, G given similarities, Z encoding, F features.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sola_scale.keys.encoder import EPSILON, Encoder
from sola_scale.keys.matcher import Matcher
from sola_scale.keys.scorer import Bools, Floats, Ints, Perceptron
from sola_scale.keys.whitening import Whitening

KEPT, INNER, ENCODING = 64, 256, 48
"""Numbers made of a view, width of the hidden layer, and of what comes out."""
HIDDEN = (128, 64)
"""Hidden layers of the pair scorer."""
_BATCH = (32, 512)
"""Problems of a step: a sixteenth of all, within these bounds."""
_EPOCHS, _STEPS = (2, 24), 1000
"""Passes over the problems: as many as make so many steps, within these bounds."""
_RATE, _DECAY = 2e-3, 0.05
_DROPOUT, _PAIR_DROPOUT, _VIEW_DROPOUT = 0.2, 0.1, 0.1
_SMOOTHING = 0.05
"""Share of labels not taken at their word: more paraphrases fire where as many near misses do, see docs/design/routing.md."""


class Examples(NamedTuple):
    """Problems as a matcher is fitted on them."""

    query_Q: Ints
    """Which text asks."""
    candidate_Qk: Ints
    """Its nearest edits' prompts."""
    given_QkG: Floats
    """What is known of both beside their encodings."""
    label_Qk: Bools
    """Which of them ask the query's question."""
    weight_Qk: Floats
    """How much each counts."""

    def only(self, keep: Bools) -> "Examples":
        """Keep some of the problems."""
        return Examples(
            self.query_Q[keep],
            self.candidate_Qk[keep],
            self.given_QkG[keep],
            self.label_Qk[keep],
            self.weight_Qk[keep],
        )


def fit_matcher(white_NEP: Tensor, whitening: Whitening, examples: Examples, *, seed: int) -> Matcher:
    """Fit by weighted log loss over all candidates; equal input and seed give equal arrays."""
    threads = torch.get_num_threads()
    # Products of so few numbers are not worth sharing: threads would wait for one another.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            network = _Network(white_NEP.shape[1], white_NEP.shape[2], examples.given_QkG.shape[-1])
            _train(network, white_NEP, examples, torch.Generator().manual_seed(seed))
    finally:
        torch.set_num_threads(threads)
    return network.matcher(whitening)


def _train(network: "_Network", white_NEP: Tensor, examples: Examples, generator: torch.Generator) -> None:
    """AdamW with a rate that rises and falls once (Smith and Topin 2017)."""
    query_Q, candidate_Qk, given_QkG, label_Qk, weight_Qk = (
        torch.from_numpy(np.ascontiguousarray(part)) for part in examples
    )
    target_Qk = label_Qk.float() * (1 - _SMOOTHING) + _SMOOTHING / 2
    batch = int(np.clip(len(query_Q) // 16, *_BATCH))
    per_epoch = -(-len(query_Q) // batch)
    epochs = int(np.clip(-(-_STEPS // per_epoch), *_EPOCHS))
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=epochs * per_epoch, pct_start=0.1
    )
    network.train()
    for _ in range(epochs):
        for rows_B in torch.split(torch.randperm(len(query_Q), generator=generator), batch):
            logit_Bk = network(white_NEP, query_Q[rows_B], candidate_Qk[rows_B], given_QkG[rows_B])
            loss = nn.functional.binary_cross_entropy_with_logits(
                logit_Bk, target_Qk[rows_B], weight=weight_Qk[rows_B]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


class _Network(nn.Module):
    """The trainable form of a matcher."""

    def __init__(self, views: int, directions: int, given: int) -> None:
        super().__init__()
        self.project_EPK = nn.Parameter(torch.randn(views, directions, KEPT) / directions**0.5)
        self.drop = nn.Dropout(_DROPOUT)
        self.inner, self.outer = nn.Linear(views * KEPT, INNER), nn.Linear(INNER, ENCODING)
        widths = (given + 2 * ENCODING + 1, *HIDDEN)
        self.layers = nn.ModuleList(
            nn.Linear(wide, narrow) for wide, narrow in zip(widths, (*HIDDEN, 1), strict=True)
        )
        self.pair_drop = nn.Dropout(_PAIR_DROPOUT)

    def forward(self, white_NEP: Tensor, query_B: Tensor, candidate_Bk: Tensor, given_BkG: Tensor) -> Tensor:
        """Logit of every candidate ``[B, k]``; a text that occurs more than once is encoded once."""
        texts_M, place = torch.unique(torch.cat([query_B[:, None], candidate_Bk], dim=1), return_inverse=True)
        encoded_BjZ = self.encode(white_NEP[texts_M].float())[place]
        right_BkZ = encoded_BjZ[:, 1:]
        left_BkZ = encoded_BjZ[:, :1].expand_as(right_BkZ)
        cosine_Bk = nn.functional.cosine_similarity(left_BkZ, right_BkZ, dim=-1, eps=1e-6)
        features = [given_BkG, cosine_Bk[..., None], (left_BkZ - right_BkZ).abs(), left_BkZ * right_BkZ]
        hidden = torch.cat(features, dim=-1)
        for layer in self.layers[:-1]:
            hidden = self.pair_drop(torch.relu(layer(hidden)))
        logit_Bk: Tensor = self.layers[-1](hidden)[..., 0]
        return logit_Bk

    def encode(self, white_MEP: Tensor) -> Tensor:
        """Encode whitened views."""
        projected_MEK = torch.einsum("mep,epk->mek", white_MEP, self.project_EPK)
        if self.training:
            # A whole view at a time: none may become the only one that is looked at.
            kept_ME1 = torch.rand(*projected_MEK.shape[:2], 1) > _VIEW_DROPOUT
            projected_MEK = projected_MEK * kept_ME1
        normal_MF = nn.functional.layer_norm(
            projected_MEK.flatten(1), [projected_MEK[0].numel()], eps=EPSILON
        )
        hidden_MH = torch.relu(self.inner(self.drop(normal_MF)))
        encoded_MZ: Tensor = self.outer(self.drop(hidden_MH))
        return encoded_MZ

    def matcher(self, whitening: Whitening) -> Matcher:
        """The plain arrays of what was fitted."""
        weights = [_arrays(layer) for layer in self.layers]
        (inner_FH, inner_H), (outer_HZ, outer_Z) = _arrays(self.inner), _arrays(self.outer)
        features = len(weights[0][0])
        return Matcher(
            encoder=Encoder(
                views=whitening.places,
                centre_ED=whitening.centre_ED,
                matrix_EDP=whitening.matrix_EDP @ self.project_EPK.detach().numpy(),
                inner_FH=inner_FH,
                inner_H=inner_H,
                outer_HZ=outer_HZ,
                outer_Z=outer_Z,
            ),
            pair=Perceptron(
                mean_F=np.zeros(features, np.float32),
                scale_F=np.ones(features, np.float32),
                weights=tuple(weight for weight, _ in weights),
                biases=tuple(bias for _, bias in weights),
            ),
        )


def _arrays(layer: nn.Module) -> tuple[Floats, Floats]:
    """Weights ``[in, out]`` and bias."""
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()
