"""A reading: what the words of a batch of prompts say, beside what the layers make of them.

The row of words is numbers like those of any other view, so that whatever takes views, carries or keeps them takes the
words too: a word's number is written as two digits of base `DIGIT`, its letters as four, which float16 holds exactly. So are
the numbers of its tokens.

Shape legend: B prompts, T token positions, R of them that are read, D width of the residual stream.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from sola_scale.backbone.spelling import Spelling, Word

WORDS = 24
"""The row of words holds this many, the last ones of the prompt, if it is wide enough."""
DIGITS = 6
"""Numbers a word takes: two digits of its number, the first one negative for a name, and four of its letters."""
DIGIT = 1024
"""float16 holds the whole numbers up to twice this."""
TOKENS = 24
"""The row of tokens holds this many, the last ones of the prompt."""
TOKEN_DIGITS = 2
"""Numbers a token takes: two digits of its number, the first one negative within a name."""
_READ = 128
"""Tokens at the end of a prompt that are read: the cost does not grow with the prompt."""


class _Asking(NamedTuple):
    """The end of a prompt that asks: the last sentence with a name in it, and what follows; what was said before is context."""

    places_R: Tensor
    """Positions of its tokens."""
    ids: list[int]
    """Their numbers in the vocabulary."""
    words: list[Word]
    """What they spell."""


class Reading:
    """A batch of prompts, read once for all views that ask."""

    def __init__(self, spelling: Spelling, ids_BT: Tensor | None, mask_BT: Tensor) -> None:
        """``ids_BT`` is None for prompts that came as embeddings: they have no words."""
        self._spelling, self._ids_BT, self._mask_BT = spelling, ids_BT, mask_BT

    @cached_property
    def _asking(self) -> list["_Asking"]:
        """What asks, row by row; brought from the device once, if a view wants it."""
        masks_BT = self._mask_BT.bool().cpu()
        if self._ids_BT is None:
            return [_Asking(torch.zeros(0, dtype=torch.int64), [], []) for _ in masks_BT]
        places = [torch.nonzero(mask_T)[-_READ:, 0] for mask_T in masks_BT]
        return [
            self._asks(places_R, ids_T[places_R].tolist())
            for places_R, ids_T in zip(places, self._ids_BT.cpu(), strict=True)
        ]

    def _asks(self, places_R: Tensor, ids: list[int]) -> "_Asking":
        words = list(self._spelling.words(ids))
        start = self._spelling.asks_from(ids, words)
        if start:
            places_R, ids = places_R[start:], ids[start:]
            words = list(self._spelling.words(ids))
        return _Asking(places_R, ids, words)

    @cached_property
    def asking_BT(self) -> Tensor:
        """Marks the tokens that ask; all that ``mask_BT`` marks where the tokens are not known."""
        if self._ids_BT is None:
            return self._mask_BT
        begins_B1 = torch.tensor([[int(row.places_R[0]) if row.ids else 0] for row in self._asking])
        positions_T = torch.arange(self._mask_BT.shape[1])
        after_BT = (positions_T >= begins_B1).to(self._mask_BT.device)
        return self._mask_BT.bool() & after_BT

    def word_rows(self, width: int) -> Tensor:
        """The last words of every prompt, the very last one first, as digits; float32 ``[B, width]``, 0 beyond."""
        places = min(WORDS, width // DIGITS)
        return self._padded(
            [
                [digit for word in row.words[: -places - 1 : -1] for digit in _digits(word)]
                for row in self._asking
            ],
            width,
        )

    def token_rows(self, width: int) -> Tensor:
        """The last tokens of every prompt, the very last one first, two digits each; float32 ``[B, width]``, 0 beyond."""
        places = min(TOKENS, width // TOKEN_DIGITS)
        rows = []
        for _, ids, words in self._asking:
            names = {place for word in words if word.name for place in range(word.start, word.stop)}
            last = range(len(ids) - 1, max(-1, len(ids) - 1 - places), -1)
            rows.append([digit for place in last for digit in _token(ids[place], name=place in names)])
        return self._padded(rows, width)

    def _padded(self, rows: list[list[int]], width: int) -> Tensor:
        return torch.tensor(
            [row + [0] * (width - len(row)) for row in rows], dtype=torch.float32, device=self._mask_BT.device
        )

    def frame_weights(self) -> Tensor:
        """How much every token says of what is asked, ``[B, T]``: the rarer the more, nothing if it is of a name."""
        weights_BT = torch.zeros(self._mask_BT.shape)
        for row, (places, ids, words) in enumerate(self._asking):
            weights = [0.0] * len(ids)
            for word in words:
                if not word.name:
                    weights[word.start : word.stop] = map(self._spelling.weight, ids[word.start : word.stop])
            weights_BT[row, places] = torch.tensor(weights)
        return weights_BT.to(self._mask_BT.device)


def _token(number: int, *, name: bool) -> tuple[int, int]:
    high = number // DIGIT + 1
    return -high if name else high, number % DIGIT


def _digits(word: Word) -> Iterator[int]:
    number, letters = word.number % DIGIT**2, word.letters
    high = number // DIGIT + 1
    yield from (-high if word.name else high, number % DIGIT)
    for _ in range(DIGITS - 2):
        yield letters % DIGIT
        letters //= DIGIT
