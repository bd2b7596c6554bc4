"""Teaching encoders which relation a text asks for, before they are fitted with the rest of a matcher.

Whether two texts ask the same says little of either. That this one asks for a father, of all that is asked of people, says
much at once: an encoder taught so parts relations far better, in a tenth of the time, than the pairs alone would teach it.

Shape legend: N texts, M texts of a step, E views read, P directions kept of a view, Z encoding, C relations, Y kinds.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sola_scale.keys.corpus import ASKED, Corpus
from sola_scale.keys.descent import Descent
from sola_scale.keys.network import ENCODING, EncoderNetwork, reduced
from sola_scale.keys.scorer import Bools, Ints

_FEWEST = 8
"""Texts of a relation below which there is nothing to learn from it."""
_LEAST_SHARE = 2 / 3
"""Share of prompts and paraphrases below which the lessons would teach too little of what is asked."""
_BATCH, _EPOCHS = 512, 12
_RATE, _DECAY = 2e-3, 0.05
_OUT_OF_KIND = -1e4
"""Logit of a relation that cannot be meant."""


class Lessons(NamedTuple):
    """What every text asks for."""

    relation_N: Ints
    """Number of its relation; -1 where there is nothing to learn."""
    kind_C: Ints
    """The kind of every relation: it is told from the others of its kind, for only these are asked of one subject."""

    def only(self, keep_N: Bools) -> "Lessons":
        """Leave out some of the texts."""
        return self._replace(relation_N=np.where(keep_N, self.relation_N, -1))


def lessons_of(corpus: Corpus) -> Lessons:
    """What there is to learn: relations whose kind is named, with texts enough; nothing if these are few of all texts."""
    relations, place_N, count_C = np.unique(corpus.relation_N, return_inverse=True, return_counts=True)
    kind_C = np.full(len(relations), -1)
    kind_C[place_N] = corpus.kind_N
    taught_C = (kind_C >= 0) & (count_C >= _FEWEST)
    taught_C &= count_C[taught_C].sum() >= _LEAST_SHARE * (corpus.role_N == ASKED).sum()
    number_C = np.where(taught_C, np.cumsum(taught_C) - 1, -1)
    return Lessons(number_C[place_N], kind_C[taught_C])


def teach(encoder: EncoderNetwork, white_NEP: Tensor, lessons: Lessons, generator: torch.Generator) -> None:
    """Fit an encoder by the log loss of a text's relation among those of its kind; leave it as it is without lessons.

    Its encodings have unit variance then. Order and first weights are drawn from ``generator``.
    """
    learnt_M = torch.from_numpy(np.flatnonzero(lessons.relation_N >= 0))
    if not len(learnt_M):
        return
    relation_N, kind_C = (torch.from_numpy(np.ascontiguousarray(part)) for part in lessons)
    _train(encoder, white_NEP, (relation_N, kind_C, learnt_M), generator)
    _level(encoder, white_NEP, learnt_M)


def _train(
    encoder: EncoderNetwork,
    white_NEP: Tensor,
    lessons: tuple[Tensor, Tensor, Tensor],
    generator: torch.Generator,
) -> None:
    relation_N, kind_C, learnt_M = lessons
    apart_YC = (kind_C != torch.arange(int(kind_C.max()) + 1)[:, None]) * _OUT_OF_KIND
    tell = _linear(ENCODING, len(kind_C), generator)
    group = {"params": [*encoder.parameters(), *tell.parameters()], "lr": _RATE}
    descend = Descent([group], steps=_EPOCHS * -(-len(learnt_M) // _BATCH), decay=_DECAY)
    encoder.train()
    for _ in range(_EPOCHS):
        for rows_M in torch.split(learnt_M[torch.randperm(len(learnt_M), generator=generator)], _BATCH):
            asked_M = relation_N[rows_M]
            with reduced():
                logit_MC = tell(encoder(white_NEP[rows_M].float()))
            descend(nn.functional.cross_entropy(logit_MC.float() + apart_YC[kind_C[asked_M]], asked_M))


def _linear(wide: int, narrow: int, generator: torch.Generator) -> nn.Linear:
    """As torch starts one, from a generator of one's own."""
    layer = nn.Linear(wide, narrow, device="meta").to_empty(device="cpu")
    for part in layer.parameters():
        nn.init.uniform_(part, -(wide**-0.5), wide**-0.5, generator=generator)
    return layer


@torch.no_grad()
def _level(encoder: EncoderNetwork, white_NEP: Tensor, learnt_M: Tensor) -> None:
    """Bring encodings to unit variance: what they are compared by next is fitted from scratch."""
    encoder.eval()
    some_M = learnt_M[:: max(1, len(learnt_M) // 4096)]
    scale = encoder(white_NEP[some_M].float()).std().clamp_min(1e-6)
    encoder.outer.weight.div_(scale)
    encoder.outer.bias.div_(scale)
    encoder.train()
