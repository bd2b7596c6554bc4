"""A cross-encoder: reads two prompts in one sequence, and says whether they ask the same.

A key is made before anybody knows what it will be compared with, and says little of what it will be asked. Where keys leave
doubt, the model itself reads both prompts, one after the other, through its lower layers with an adapter that was trained for that:
retrieve, then re-rank (Nogueira and Cho 2019, "Passage Re-ranking with BERT"). What it reads are the tokens that keys hold anyway.

Shape legend: B queries, k candidates, P pairs, T token places, D width of the residual stream, I and O width of a linear map's
input and output, R rank.
"""

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sola_scale.backbone import Backbone
from sola_scale.backbone.lower import LowerLayers
from sola_scale.errors import CalibrationError
from sola_scale.keys.alignment import Spelled
from sola_scale.keys.scorer import Bools, Floats

_BATCH = 128
"""Sequences run at once."""
_REMEMBERED = 4096
"""Pairs whose logits are remembered, by a digest that says nothing of the prompts."""

_Pair = tuple[tuple[int, ...], tuple[int, ...]]


class Adapter(NamedTuple):
    """What is added to one linear map."""

    down_RI: NDArray[np.float16]
    up_OR: NDArray[np.float16]
    """Carries the scale."""


class Blend(NamedTuple):
    """Weights of the two logits, and what is added: a logistic regression on what neither was fitted on."""

    keys: float
    cross: float
    offset: float

    def __call__(self, keys_P: Floats, cross_P: Floats) -> Floats:
        """The logit that counts."""
        blended_P: Floats = (self.keys * keys_P + self.cross * cross_P + self.offset).astype(np.float32)
        return blended_P


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossEncoder:
    """The arrays of a cross-encoder; `CrossReader` runs it on a model."""

    depth: int
    """Layers that are read with, from the first one on."""
    separator: int
    """The token that ends a prompt."""
    adapters: Mapping[str, Adapter]
    """By the path of the linear map that they are laid on, below the list of layers."""
    head_D: Floats
    """Weights of the last token's state."""
    bias: float
    """What is added to them."""
    doubt: tuple[float, float]
    """Between these logits of the keys' verdict, both left out, a candidate is read together with the query, unless another lies beyond."""
    blend: Blend
    """What is made of both logits then."""

    def __post_init__(self) -> None:
        """Check what no model is needed for."""
        numbers = np.array([*self.doubt, *self.blend, self.bias], np.float32)
        if not np.isfinite(numbers).all() or self.doubt[0] >= self.doubt[1]:
            raise CalibrationError("the cross-encoder's doubt is no range, or a number of it is not finite")
        if self.depth < 1 or self.separator < 0 or self.head_D.ndim != 1:
            raise CalibrationError("the cross-encoder does not fit together")

    def doubtful(self, logit_Bk: Floats, open_Bk: Bools, *, whole: bool = False) -> Bools:
        """Which of the open candidates the keys' verdict leaves in doubt; with ``whole`` those beside a sure one too."""
        return in_doubt(logit_Bk, open_Bk, self.doubt, whole=whole)


class CrossReader:
    """A cross-encoder on a model, whose weights it shares."""

    def __init__(self, cross: CrossEncoder, backbone: Backbone) -> None:
        """Lay the adapters on the lower layers of ``backbone``.

        Raises:
            CalibrationError: the cross-encoder is of another width, or of another vocabulary.
            ModelError: the model has fewer layers, or not the linear maps that adapters were made for.
        """
        if len(cross.head_D) != backbone.architecture.width:
            raise CalibrationError("the cross-encoder was made for a model of another width")
        self.cross = cross
        self._lower = LowerLayers(backbone, cross.depth)
        for path, adapter in cross.adapters.items():
            arrays = (torch.from_numpy(np.array(array)).to(backbone.dtype) for array in adapter)
            self._lower.adapt(path, *arrays).requires_grad_(False)
        if cross.separator >= self._lower.vocabulary:
            raise CalibrationError("the cross-encoder's separator is no token of the model")
        self._head_D = torch.from_numpy(np.array(cross.head_D))
        self._lock, self._secret = threading.Lock(), os.urandom(16)
        self._memo: dict[bytes, float] = {}

    def settle(
        self,
        logit_Bk: Floats,
        open_Bk: Bools,
        query: Spelled,
        candidates: Spelled,
        *,
        whole: bool = False,
    ) -> Floats:
        """Read what is doubtful among the ``open_Bk`` candidates again, and blend both logits there; ``[B, k]``.

        Args:
            logit_Bk: the keys' verdict; infinite for the query word for word, which is never read.
            open_Bk: which candidates are there.
            query: tokens of the queries, ``[B, 1, T]``.
            candidates: tokens of their candidates, ``[B, k, T]``.
            whole: read what is doubtful beside a candidate that is sure as well.
        """
        # a prompt that came as embeddings has no tokens
        readable_Bk = query.there.any(axis=-1) & candidates.there.any(axis=-1)
        rows_P, places_P = np.nonzero(readable_Bk & self.cross.doubtful(logit_Bk, open_Bk, whole=whole))
        if not len(rows_P):
            return logit_Bk
        asked, known = token_lists(query, rows_P, 0), token_lists(candidates, rows_P, places_P)
        settled_Bk = logit_Bk.copy()
        doubted_P = logit_Bk[rows_P, places_P]
        blended_P = self.cross.blend(doubted_P, self.logits(asked, known))
        # states of a half-precision model may overflow: keys have the last word then
        settled_Bk[rows_P, places_P] = np.where(np.isfinite(blended_P), blended_P, doubted_P)
        return settled_Bk

    def logits(self, left: Sequence[list[int]], right: Sequence[list[int]]) -> Floats:
        """Mean logit, in both orders, that prompt i of ``left`` and of ``right`` ask the same; float32 ``[P]``."""
        pairs = [_unordered(one, other) for one, other in zip(left, right, strict=True)]
        digests = [self._digest(pair) for pair in pairs]
        with self._lock:
            found = {digest: self._memo[digest] for digest in digests if digest in self._memo}
        missing = {digest: pair for digest, pair in zip(digests, pairs, strict=True) if digest not in found}
        read = dict(zip(missing, self._read(list(missing.values())).tolist(), strict=True))
        self._remember(read)
        found |= read
        return np.array([found[digest] for digest in digests], np.float32)

    def _digest(self, pair: _Pair) -> bytes:
        return hashlib.blake2b(repr(pair).encode(), key=self._secret, digest_size=16).digest()

    def _remember(self, read: dict[bytes, float]) -> None:
        """Prompts are asked again, and collisions judged from both sides: the last pairs are kept."""
        with self._lock:
            self._memo.update(read)
            for pair in list(itertools.islice(self._memo, max(0, len(self._memo) - _REMEMBERED))):
                del self._memo[pair]

    def _read(self, pairs: Sequence[_Pair]) -> Floats:
        both = [*pairs, *((other, one) for one, other in pairs)]
        sequences = [joined(one, other, self.cross.separator) for one, other in both]
        logit_2P = np.empty(len(sequences), np.float32)
        with torch.inference_mode(), torch.autocast(self._lower.device.type, enabled=False):
            for some in _of_like_length(sequences):
                states_PD = self._lower.last_states([sequences[place] for place in some])
                logit_2P[some] = (states_PD.cpu() @ self._head_D).numpy() + np.float32(self.cross.bias)
        mean_P: Floats = logit_2P.reshape(2, -1).mean(axis=0)
        return mean_P


def in_doubt(logit_Bk: Floats, open_Bk: Bools, ends: tuple[float, float], *, whole: bool = False) -> Bools:
    """Open candidates between the ends, which are left out. Where one lies beyond them, none is in doubt, as it is ahead of all others.

    With ``whole`` those beside it are in doubt all the same.
    """
    low, high = ends
    doubtful_Bk: Bools = open_Bk & (logit_Bk > low) & (logit_Bk < high)
    beyond_B1 = (open_Bk & (logit_Bk >= high)).any(axis=-1, keepdims=True)
    return doubtful_Bk if whole else doubtful_Bk & ~beyond_B1


def joined(left: Sequence[int], right: Sequence[int], separator: int) -> list[int]:
    """The sequence in which two prompts are read; the state of its last token says whether they ask the same."""
    return [*left, separator, *right, separator]


def token_lists(spelled: Spelled, *places: NDArray[np.int64] | int | slice) -> list[list[int]]:
    """Tokens of the prompts at these places, first one first: keys hold them the other way round."""
    tokens_PT, there_PT = spelled.token[places], spelled.there[places]
    return [row_T[there_T][::-1].tolist() for row_T, there_T in zip(tokens_PT, there_PT, strict=True)]


def _unordered(one: Sequence[int], other: Sequence[int]) -> _Pair:
    left, right = sorted([tuple(one), tuple(other)])
    return left, right


def _of_like_length(sequences: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of the sequences in batches that need little padding."""
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
    return (order[start : start + _BATCH] for start in range(0, len(order), _BATCH))
