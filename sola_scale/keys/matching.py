"""Fitting encoders, pair scorers and the alignment of tokens together, on the routing problems that they will meet.

Shape legend: N texts, E views read, P directions kept of a view, Q problems, k candidates, B problems of a step, G given
similarities, T token places.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sola_scale.keys.alignment import FEATURES, Alignment, Spelled
from sola_scale.keys.blocks import beside
from sola_scale.keys.descent import Descent
from sola_scale.keys.matcher import Matcher
from sola_scale.keys.network import AlignmentNetwork, MatcherNetwork, draw_from, reduced
from sola_scale.keys.scorer import Bools, Floats, Ints
from sola_scale.keys.teaching import Lessons, teach
from sola_scale.keys.whitening import Whitening

_BATCH = (32, 512)
"""Problems of a step: a sixteenth of all, within these bounds."""
_EPOCHS, _STEPS = (2, 24), 1300
"""Passes over the problems: as many as make so many steps, within these bounds."""
_RATE, _DECAY = 2e-3, 0.05
_TAUGHT_RATES = (0.3, 1.0, 0.0)
"""Shares of the rate that the members' encoders are fitted at, in turn: taught first, and to keep most of it; not taught; taught,
and left so. Members of different kinds know what others miss: see docs/design/routing.md."""
_SMOOTHING = 0.02
"""Share of labels not taken at their word: some near misses are paraphrases."""


class Examples(NamedTuple):
    """Problems as a matcher is fitted on them."""

    query_Q: Ints
    """Which text asks."""
    candidate_Qk: Ints
    """Its nearest edits' prompts."""
    given_QkG: Floats
    """What is known of both beside their encodings and tokens."""
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


class Texts(NamedTuple):
    """What is known of every text of the fit."""

    white_NEP: Tensor
    """Its whitened views, in half precision."""
    whitening: Whitening
    """How they were made."""
    spelled: Spelled
    """Its tokens."""
    token_view: int
    """Place of their view on the view axis."""
    places: int
    """Tokens that the view holds at most."""
    embedding_ND: Tensor
    """The model's embeddings of the tokens of its vocabulary, levelled."""
    lessons: Lessons
    """What encoders are taught first."""


class Matched(NamedTuple):
    """Matchers that were fitted together."""

    matchers: tuple[Matcher, ...]
    alignment: Alignment
    """What they share."""


class Fit(NamedTuple):
    """Some matchers to fit."""

    keep_Q: Bools
    """The problems that they are fitted on."""
    members: int
    """How many, over one alignment."""
    seed: int
    """What first weights, order and dropout are drawn from."""


def fit_matchers(texts: Texts, examples: Examples, fits: Sequence[Fit]) -> list[Matched]:
    """Fit matchers, and the alignments they share, by weighted log loss; equal input and seeds give equal arrays.

    Fits run beside one another, and the first ones begin first.
    """
    given = examples.given_QkG.shape[-1]
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        networks = [_network(texts, given, fit) for fit in fits]
    return list(beside(lambda both: _fitted(texts, examples, *both), zip(networks, fits, strict=True)))


def _network(texts: Texts, given: int, fit: Fit) -> "_Network":
    torch.manual_seed(fit.seed)
    return _Network(texts, given, fit.members)


def _fitted(texts: Texts, examples: Examples, network: "_Network", fit: Fit) -> Matched:
    generator, some = torch.Generator().manual_seed(fit.seed), examples.only(fit.keep_Q)
    draw_from(generator, network)
    network.teach(_asked(texts.lessons, some), generator)
    _train(network, some, generator)
    return Matched(
        tuple(member.matcher(texts.whitening) for member in network.members),  # type: ignore[operator]
        network.align.alignment(texts.token_view, texts.places),
    )


def _asked(lessons: Lessons, examples: Examples) -> Lessons:
    """What the problems ask for: other relations are kept from the matchers."""
    return lessons.only(np.isin(lessons.relation_N, lessons.relation_N[examples.query_Q]))


class _Network(nn.Module):
    """Matchers over one alignment."""

    def __init__(self, texts: Texts, given: int, members: int) -> None:
        super().__init__()
        self._white_NEP = texts.white_NEP
        self._spelled = [torch.from_numpy(np.ascontiguousarray(part)) for part in texts.spelled]
        self.align = AlignmentNetwork(texts.embedding_ND)
        _, views, directions = texts.white_NEP.shape
        self.members = nn.ModuleList(
            MatcherNetwork(views, directions, given + FEATURES) for _ in range(members)
        )
        self._shares = [1.0] * members

    def teach(self, lessons: Lessons, generator: torch.Generator) -> None:
        """Teach encoders, if there are lessons, and choose how fast each is fitted on."""
        if (lessons.relation_N < 0).all():
            return
        for place, member in enumerate(self.members):
            share = self._shares[place] = _TAUGHT_RATES[place % len(_TAUGHT_RATES)]
            if share < 1:
                teach(member.encode, self._white_NEP, lessons, generator)  # type: ignore[arg-type]
            member.encode.requires_grad_(share > 0)

    def train(self, mode: bool = True) -> "_Network":
        """Prepare for fitting, or for use: what is not fitted drops nothing."""
        super().train(mode)
        for member, share in zip(self.members, self._shares, strict=True):
            member.encode.train(mode and share > 0)  # type: ignore[union-attr]
        return self

    def groups(self) -> list[dict[str, Any]]:
        """Parameters with the highest rate they are fitted at."""
        encoders = [list(member.encode.parameters()) for member in self.members]  # type: ignore[union-attr]
        known = {id(part) for parts in encoders for part in parts}
        rest = [part for part in self.parameters() if id(part) not in known]
        fitted = [
            {"params": parts, "lr": share * _RATE}
            for parts, share in zip(encoders, self._shares, strict=True)
            if share > 0
        ]
        return [*fitted, {"params": rest, "lr": _RATE}]

    def forward(self, query_B: Tensor, candidate_Bk: Tensor, given_BkG: Tensor) -> list[Tensor]:
        """Each member's logit of every candidate ``[B, k]``; a text that occurs more than once is read once."""
        texts_M, place_Bj = torch.unique(
            torch.cat([query_B[:, None], candidate_Bk], dim=1), return_inverse=True
        )
        aligned_BkF = self.align(*(part[texts_M] for part in self._spelled), place_Bj)
        white_MEP = self._white_NEP[texts_M].float()
        given = torch.cat([given_BkG, aligned_BkF], dim=-1)
        return [member(white_MEP, place_Bj, given) for member in self.members]


def _train(network: _Network, examples: Examples, generator: torch.Generator) -> None:
    query_Q, candidate_Qk, given_QkG, label_Qk, weight_Qk = (
        torch.from_numpy(np.ascontiguousarray(part)) for part in examples
    )
    target_Qk = label_Qk.float() * (1 - _SMOOTHING) + _SMOOTHING / 2
    batch = int(np.clip(len(query_Q) // 16, *_BATCH))
    per_epoch = -(-len(query_Q) // batch)
    epochs = int(np.clip(-(-_STEPS // per_epoch), *_EPOCHS))
    descend = Descent(network.groups(), steps=epochs * per_epoch, decay=_DECAY)
    network.train()
    for _ in range(epochs):
        for rows_B in torch.split(torch.randperm(len(query_Q), generator=generator), batch):
            with reduced():
                logits = network(query_Q[rows_B], candidate_Qk[rows_B], given_QkG[rows_B])
            losses = [
                nn.functional.binary_cross_entropy_with_logits(
                    logit_Bk.float(), target_Qk[rows_B], weight=weight_Qk[rows_B]
                )
                for logit_Bk in logits
            ]
            descend(torch.stack(losses).sum())
