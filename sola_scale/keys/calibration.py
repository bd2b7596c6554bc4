"""A calibration: the frozen map from views to keys, and from two keys to the probability of one question.

Shape legend: B prompts, V views, D width, R retrieval floats, M verification floats, k candidates, S similarities.
"""

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sola_scale.backbone import View
from sola_scale.errors import CalibrationError
from sola_scale.keys.heads import Head
from sola_scale.keys.lexicon import SWAPPED, Lexicon, Words
from sola_scale.keys.scorer import Bools, Floats, Ints, Perceptron, gaps, head_cosines, rivalry, sigmoid

Halves = NDArray[np.float16]

_ALL = slice(None)
SAME_DISTANCE = np.float32(5e-3)
SAME_COSINE = np.float32(0.998)
"""Two prompts nearer than this in retrieval distance *and* in every head are one text: float16 and the float noise of
another batch stay well inside, one changed token does not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """Keys of a batch of prompts."""

    retrieval_BR: Floats
    """Unit vectors the index searches: Euclidean distance is ``sqrt(2 - 2 cos)``."""
    verification_BM: Halves
    """What verification compares: the unit vectors of all heads, end to end, and the words."""

    def __len__(self) -> int:
        return len(self.retrieval_BR)


class Parts(NamedTuple):
    """Verification vectors, taken apart to be compared."""

    heads: Floats
    """The unit vectors of all heads, end to end."""
    words: Words | None
    """The words; None where the calibration compares none."""

    def at(self, *index: slice | None) -> "Parts":
        """Index the axes before the last one."""
        words = self.words.at(*index) if self.words is not None else None
        return Parts(self.heads[index], words)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Views to keys, keys to probabilities, and the threshold above which an edit fires."""

    views: tuple[View, ...]
    """The view axis: what to pool from the forward pass, in this order."""
    retrieval: Head
    """Gives the retrieval vector."""
    heads: tuple[Head, ...]
    """Give the parts of the verification vector; none in a calibration that trusts distance alone."""
    pair: Perceptron | None
    """Similarities of two prompts alone to the logit of "they ask the same question"."""
    listwise: Perceptron | None
    """Similarities and their gaps to the other candidates to that logit, for a candidate of a query."""
    threshold: float
    """An edit fires at this probability or above."""
    false_fire: float
    """The false-fire rate the threshold was set for."""
    model: str
    """Hash of the base model it was fitted on: ``fingerprint(backbone)["model"]``."""
    lexicon: Lexicon | None = None
    """Compares the words of two prompts; None in a calibration that knows hidden states only."""
    distance_scale: float = 1.0
    """Without heads: the retrieval distance at which the probability is one half."""
    note: str = ""
    """What it was fitted on, in words."""
    _id: list[str] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        readers = (self.retrieval, *self.heads, *((self.lexicon,) if self.lexicon else ()))
        for reader in readers:
            if not 0 <= reader.view < len(self.views):
                raise CalibrationError(
                    f"a head reads view {reader.view}, but there are {len(self.views)} views"
                )
        if self.lexicon is not None and not self.heads:
            raise CalibrationError("a lexicon compares words beside heads, not without them")
        if not 0 < self.threshold <= 1:
            raise CalibrationError(f"the threshold must lie in (0, 1], not {self.threshold}")
        if (self.pair is None) != (self.listwise is None) or (self.pair is None) != (not self.heads):
            raise CalibrationError("heads, pair scorer and listwise scorer come together or not at all")

    @property
    def id(self) -> str:
        """Content hash of all that decides a route: two calibrations of one id give the same keys and scores."""
        if not self._id:
            from sola_scale.keys.codec import pack

            self._id.append(hashlib.sha256(pack(self)).hexdigest()[:16])
        return self._id[0]

    @property
    def retrieval_dim(self) -> int:
        """Floats of a retrieval vector."""
        return self.retrieval.dim

    @property
    def verification_dim(self) -> int:
        """Floats of a verification vector: all heads together, and the words."""
        return sum(self._dims) + (self.lexicon.dim if self.lexicon else 0)

    @property
    def key_bytes(self) -> int:
        """Bytes a key takes at rest: both vectors in float16."""
        return 2 * (self.retrieval_dim + self.verification_dim)

    @property
    def last_layer(self) -> int:
        """The decision is known once this layer's input is: no edited layer may lie below it."""
        return max(view.layer for view in self.views)

    @property
    def _dims(self) -> list[int]:
        return [head.dim for head in self.heads]

    def keys(self, views_BVD: Floats | torch.Tensor) -> Keys:
        """Turn views into keys.

        Raises:
            CalibrationError: the views are of another shape than the calibration's, or not finite.
        """
        if isinstance(views_BVD, torch.Tensor):
            views_BVD = views_BVD.detach().to(device="cpu", dtype=torch.float32).numpy()
        width = len(self.retrieval.centre_D)
        if views_BVD.shape[1:] != (len(self.views), width):
            raise CalibrationError(
                f"views of shape {views_BVD.shape} where [B, {len(self.views)}, {width}] was calibrated"
            )
        if not np.isfinite(views_BVD).all():
            raise CalibrationError("a prompt's hidden states are not finite: it cannot have a key")
        parts = [head(views_BVD) for head in self.heads]
        if self.lexicon is not None:
            parts.append(views_BVD[:, self.lexicon.view, : self.lexicon.dim])
        flat_BM = np.concatenate(parts, axis=1) if parts else np.zeros((len(views_BVD), 0), np.float32)
        return Keys(retrieval_BR=self.retrieval(views_BVD), verification_BM=flat_BM.astype(np.float16))

    def score_batch(
        self,
        query_BM: NDArray[np.floating],
        candidates_BkM: NDArray[np.floating],
        distances_Bk: Floats,
        mask_Bk: Bools,
        groups_Bk: Ints | None = None,
    ) -> Floats:
        """Probability, for each candidate, that it asks the query's question; ``[B, k]``, 0 where masked out.

        Args:
            query_BM: verification vectors of the queries.
            candidates_BkM: verification vectors of their candidates.
            distances_Bk: Euclidean distances of the retrieval vectors.
            mask_Bk: which candidates are real.
            groups_Bk: the edit each key belongs to; keys of one edit do not compete. Default: all different.
        """
        if self.pair is None or self.listwise is None:
            probability_Bk = self._by_distance(distances_Bk)
        else:
            probability_Bk = self._listwise(query_BM, candidates_BkM, distances_Bk, mask_Bk, groups_Bk)
        masked_Bk: Floats = np.where(mask_Bk, probability_Bk, np.float32(0))
        return masked_Bk

    def score(
        self,
        query_M: NDArray[np.floating],
        candidates_kM: NDArray[np.floating],
        distances_k: Floats,
        groups_k: Ints | None = None,
    ) -> Floats:
        """``score_batch`` for one query: probabilities ``[k]``."""
        groups_Bk = None if groups_k is None else groups_k[None]
        mask_Bk = np.ones((1, len(distances_k)), dtype=np.bool_)
        probability_k: Floats = self.score_batch(
            query_M[None], candidates_kM[None], distances_k[None], mask_Bk, groups_Bk
        )[0]
        return probability_k

    def same_question(self, left: Keys, right: Keys) -> Floats:
        """Probability that prompt i of ``left`` and prompt i of ``right`` ask the same question, nothing else given.

        Symmetric. The policies for a new edit near an old one rest on it; a route weighs the rivals as well.
        """
        cosine_B = (left.retrieval_BR * right.retrieval_BR).sum(axis=1)
        distance_B = np.sqrt(np.maximum(2 - 2 * cosine_B, 0)).astype(np.float32)
        if self.pair is None:
            return self._by_distance(distance_B)
        similar_BS = self.similarities(self.apart(left.verification_BM), self.apart(right.verification_BM))
        return np.where(
            self._same_text(distance_B, similar_BS), np.float32(1), sigmoid(self.pair_logits(similar_BS))
        )

    def apart(self, verification: NDArray[np.floating]) -> Parts:
        """Take verification vectors ``[..., M]`` apart: once, however many others they are compared with."""
        split = sum(self._dims)
        heads = verification[..., :split].astype(np.float32, copy=False)
        return Parts(heads, self.lexicon.read(verification[..., split:]) if self.lexicon else None)

    def similarities(self, left: Parts, right: Parts) -> Floats:
        """Compare prompts whose shapes broadcast: ``[..., S]``, a cosine a head, then the likeness of the words."""
        similar = head_cosines(left.heads, right.heads, self._dims)
        if self.lexicon is None or left.words is None or right.words is None:
            return similar
        return np.concatenate([similar, self.lexicon.likeness(left.words, right.words)], axis=-1)

    def pair_logits(self, similar: Floats) -> Floats:
        """Logit that two prompts ask one question, from their similarities; whichever of the two comes first."""
        assert self.pair is not None
        logits = self.pair(similar)
        if self.lexicon is None:
            return logits
        heads = len(self.heads)
        order = [*range(heads), *(heads + place for place in SWAPPED)]
        symmetric: Floats = (logits + self.pair(similar[..., order])) * np.float32(0.5)
        return symmetric

    def to_bytes(self) -> bytes:
        """Serialise: safetensors with JSON metadata; see ``codec``."""
        from sola_scale.keys.codec import pack

        return pack(self)

    @staticmethod
    def from_bytes(data: bytes) -> "Calibration":
        """Read what ``to_bytes`` wrote.

        Raises:
            CalibrationError: the bytes are damaged, too large, of a newer format, or inconsistent.
        """
        from sola_scale.keys.codec import unpack

        return unpack(data)

    def _by_distance(self, distances: Floats) -> Floats:
        # monotone and 1/2 at the scale, so that threshold 1/2 fires exactly where the distance is below it
        probability: Floats = np.exp2(-distances / np.float32(self.distance_scale)).astype(np.float32)
        return probability

    def _same_text(self, distances: Floats, similar: Floats) -> Bools:
        cosines = similar[..., : len(self.heads)]
        same: Bools = (distances < SAME_DISTANCE) & (cosines.min(axis=-1) > SAME_COSINE)
        return same

    def _listwise(
        self,
        query_BM: NDArray[np.floating],
        candidates_BkM: NDArray[np.floating],
        distances_Bk: Floats,
        mask_Bk: Bools,
        groups_Bk: Ints | None,
    ) -> Floats:
        assert self.listwise is not None
        if groups_Bk is None:
            groups_Bk = np.broadcast_to(np.arange(distances_Bk.shape[1]), distances_Bk.shape)
        # The padding of a short list lies infinitely far, and infinity times no rivalry is no number.
        distances_Bk = np.where(mask_Bk, distances_Bk, np.float32(2))
        candidates = self.apart(candidates_BkM)
        similar_BkS = self.similarities(self.apart(query_BM[:, None]), candidates)
        among_BkkS = self.similarities(candidates.at(_ALL, _ALL, None), candidates.at(_ALL, None))
        features_BkF = listwise_features(
            similar_BkS, distances_Bk, rivalry(self.pair_logits(among_BkkS), groups_Bk, mask_Bk)
        )
        # a prompt stored word for word is its own question, however crowded the place
        same_Bk = self._same_text(distances_Bk, similar_BkS)
        return np.where(same_Bk, np.float32(1), sigmoid(self.listwise(features_BkF)))


def listwise_features(similar_BkS: Floats, distances_Bk: Floats, rivalry_Bkk: Floats) -> Floats:
    """What the listwise scorer sees of each candidate: all similarities, the retrieval cosine first, and their gaps.

    Args:
        similar_BkS: of every head and of the words, query against candidate.
        distances_Bk: of the retrieval vectors.
        rivalry_Bkk: how much candidate j competes with candidate i.

    Returns:
        ``[B, k, 2 + 2S]``
    """
    retrieval_Bk1 = (1 - 0.5 * distances_Bk.astype(np.float32) ** 2)[..., None]
    all_BkA = np.concatenate([retrieval_Bk1, similar_BkS], axis=-1)
    features: Floats = np.concatenate([all_BkA, gaps(all_BkA, rivalry_Bkk)], axis=-1)
    return features
