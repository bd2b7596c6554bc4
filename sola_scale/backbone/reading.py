"""A reading: what the words of a batch of prompts say, beside what the layers make of them.

The row of words is numbers like those of any other view, so that whatever takes views, carries or keeps them takes the
words too: a word's number and its stem are written as two digits of base `DIGIT` each, which float16 holds exactly.

Shape legend: B prompts, T token positions, D width of the residual stream.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sola_scale.backbone.spelling import Spelling, Word

WORDS = 24
"""The row of words holds this many, the last ones of the prompt, if it is wide enough."""
DIGITS = 4
"""Numbers a word takes: two digits of its number, the first one negative for a name, and two of its stem."""
DIGIT = 1024
"""float16 holds the whole numbers up to twice this."""
_READ = 128
"""Tokens at the end of a prompt that are read: the cost does not grow with the prompt."""


class Reading:
    """A batch of prompts, read once for all views that ask."""

    def __init__(self, spelling: Spelling, ids_BT: Tensor | None, mask_BT: Tensor) -> None:
        """``ids_BT`` is None for prompts that came as embeddings: they have no words."""
        self._spelling = spelling
        self._mask_BT = mask_BT
        self._ids = [[] for _ in mask_BT] if ids_BT is None else _ends(ids_BT, mask_BT)
        self._words = [list(spelling.words(ids)) for ids in self._ids]

    def rows(self, width: int) -> Tensor:
        """The last words of every prompt, the very last one first, as digits; float32 ``[B, width]``, 0 beyond."""
        places = min(WORDS, width // DIGITS)
        rows = [
            [digit for word in words[: -places - 1 : -1] for digit in _digits(word)] for words in self._words
        ]
        return torch.tensor(
            [row + [0] * (width - len(row)) for row in rows], dtype=torch.float32, device=self._mask_BT.device
        )

    def frame_weights(self) -> Tensor:
        """How much every token says of what is asked, ``[B, T]``: the rarer the more, nothing if it is of a name."""
        weights_BT = torch.zeros(self._mask_BT.shape)
        for row, (ids, words) in enumerate(zip(self._ids, self._words, strict=True)):
            weights = [0.0] * len(ids)
            for word in words:
                if not word.name:
                    weights[word.start : word.stop] = map(self._spelling.weight, ids[word.start : word.stop])
            if ids:
                places = torch.nonzero(self._mask_BT[row].cpu())[-len(ids) :, 0]
                weights_BT[row, places] = torch.tensor(weights)
        return weights_BT.to(self._mask_BT.device)


def _ends(ids_BT: Tensor, mask_BT: Tensor) -> list[list[int]]:
    rows = zip(ids_BT.cpu(), mask_BT.bool().cpu(), strict=True)
    return [ids_T[mask_T][-_READ:].tolist() for ids_T, mask_T in rows]


def _digits(word: Word) -> Iterator[int]:
    number, stem = word.number % DIGIT**2, word.stem % DIGIT**2
    high = number // DIGIT + 1
    yield from (-high if word.name else high, number % DIGIT, stem // DIGIT + 1, stem % DIGIT)
