"""A calibration: the frozen map from views to keys, and from two keys to the probability of one question.

Shape legend: B prompts, V views, D width, R retrieval floats, M verification floats, k candidates, G given
similarities.
"""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from sola_scale.backbone import Backbone, View
from sola_scale.errors import CalibrationError
from sola_scale.keys.alignment import Alignment, Spelled, spelled
from sola_scale.keys.cross_encoder import CrossEncoder, CrossReader
from sola_scale.keys.evidence import Evidence, listwise_features, match, rivalry, verdict
from sola_scale.keys.heads import Head
from sola_scale.keys.lexicon import Lexicon
from sola_scale.keys.matcher import Matcher
from sola_scale.keys.parts import Parts, Text, same_text
from sola_scale.keys.scorer import Bools, Floats, Ints, Perceptron, sigmoid

Halves = NDArray[np.float16]

_ALMOST_SURE = np.nextafter(np.float32(1), np.float32(0))
"""The most that a candidate which is not the very text can have."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """Keys of a batch of prompts."""

    retrieval_BR: Floats
    """Unit vectors the index searches: Euclidean distance is ``sqrt(2 - 2 cos)``."""
    verification_BM: Halves
    """What verification compares: the encodings of all matchers, end to end, the words and the tokens."""

    def __len__(self) -> int:
        return len(self.retrieval_BR)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Views to keys, keys to probabilities, and the threshold above which an edit fires."""

    views: tuple[View, ...]
    """The view axis: what to pool from the forward pass, in this order."""
    retrieval: Head
    """Gives the retrieval vector."""
    matchers: tuple[Matcher, ...]
    """Encode prompts and compare two of them, of which the mean logit counts; none in a calibration that trusts distance
    alone."""
    listwise: Perceptron | None
    """What is known of a candidate, and how far it leads the other candidates, to the logit that it asks the query's
    question."""
    threshold: float
    """An edit fires at this probability or above."""
    false_fire: float
    """The false-fire rate the threshold was set for."""
    model: str
    """Hash of the base model it was fitted on: ``fingerprint(backbone)["model"]``."""
    lexicon: Lexicon | None = None
    """Compares the words of two prompts; None in a calibration that knows hidden states only."""
    alignment: Alignment | None = None
    """Compares the tokens of two prompts; None where the lexicon is."""
    cross: CrossEncoder | None = None
    """Reads what keys leave in doubt a second time; None where they are trusted."""
    reader: CrossReader | None = field(default=None, repr=False)
    """The same on a model, see `on`; without it doubtful candidates stay as the keys judge them."""
    distance_scale: float = 1.0
    """Without matchers: the retrieval distance at which the probability is one half."""
    note: str = ""
    """What it was fitted on, in words."""
    _id: list[str] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        read = [self.retrieval.view, *(view for one in self.matchers for view in one.encoder.views)]
        read += [part.view for part in (self.lexicon, self.alignment) if part]
        for view in read:
            if not 0 <= view < len(self.views):
                raise CalibrationError(f"view {view} is read, but there are {len(self.views)} views")
        for name, part, pooling in (
            ("lexicon", self.lexicon, "words"),
            ("alignment", self.alignment, "tokens"),
        ):
            if part and (part.dim > len(self.retrieval.centre_D) or self.views[part.view].pooling != pooling):
                raise CalibrationError(f"the view that the {name} reads holds no {pooling}, or too few")
        if not 0 < self.threshold <= 1:
            raise CalibrationError(f"the threshold must lie in (0, 1], not {self.threshold}")
        verifying = {part is not None for part in (self.listwise, self.lexicon, self.alignment)}
        if verifying != {bool(self.matchers)}:
            raise CalibrationError(
                "matchers, lexicon, alignment and listwise scorer come together or not at all"
            )
        if self.cross is not None and self.alignment is None:
            raise CalibrationError("a cross-encoder reads tokens, and these keys hold none")

    def on(self, backbone: Backbone) -> "Calibration":
        """The same calibration, able to read doubtful candidates a second time with ``backbone``, if it has learnt to.

        Raises:
            CalibrationError: its cross-encoder is of another width than the model.
            ModelError: the model has fewer layers, or not the linear maps that adapters were made for.
        """
        return self if self.cross is None else replace(self, reader=CrossReader(self.cross, backbone))

    @property
    def id(self) -> str:
        """Content hash of all that decides a route: two calibrations of one id give the same keys, and on the model the same scores."""
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
        """Floats of a verification vector: all encodings together, the words, and the tokens."""
        return sum(self._dims) + sum(part.dim for part in (self.lexicon, self.alignment) if part)

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
        return [one.encoder.dim for one in self.matchers]

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
        parts = [one.encoder(views_BVD) for one in self.matchers]
        parts += [views_BVD[:, part.view, : part.dim] for part in (self.lexicon, self.alignment) if part]
        flat_BM = np.concatenate(parts, axis=1) if parts else np.zeros((len(views_BVD), 0), np.float32)
        return Keys(retrieval_BR=self.retrieval(views_BVD), verification_BM=flat_BM.astype(np.float16))

    def score_batch(
        self,
        query_BM: NDArray[np.floating],
        candidates_BkM: NDArray[np.floating],
        distances_Bk: Floats,
        mask_Bk: Bools,
        groups_Bk: Ints | None = None,
        *,
        whole: bool = False,
    ) -> Floats:
        """Probability, for each candidate, that it asks the query's question; ``[B, k]``, 0 where masked out.

        Args:
            query_BM: verification vectors of the queries.
            candidates_BkM: verification vectors of their candidates.
            distances_Bk: Euclidean distances of the retrieval vectors.
            mask_Bk: which candidates are real.
            groups_Bk: the edit each key belongs to; keys of one edit do not compete. Default: all different.
            whole: have a cross-encoder read doubtful candidates even where another one is sure to fire.
        """
        if self.listwise is None:
            probability_Bk = self._by_distance(distances_Bk)
        else:
            probability_Bk = self._listwise(
                query_BM, candidates_BkM, distances_Bk, mask_Bk, groups_Bk, whole=whole
            )
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

        Symmetric: the mean of what either would be given if the other were the only edit. The policies for a new edit
        near an old one rest on it; a route weighs the rivals as well.
        """
        distance_B = np.linalg.norm(left.retrieval_BR - right.retrieval_BR, axis=1).astype(np.float32)
        mask_B1 = np.ones((len(left), 1), dtype=np.bool_)
        both = [
            self.score_batch(
                one.verification_BM, other.verification_BM[:, None], distance_B[:, None], mask_B1
            )
            for one, other in ((left, right), (right, left))
        ]
        mean_B: Floats = 0.5 * (both[0] + both[1])[:, 0]
        return mean_B

    def apart(self, verification: NDArray[np.floating]) -> Parts:
        """Take verification vectors ``[..., M]`` apart: once, however many others they are compared with."""
        split = sum(self._dims)
        encodings = verification[..., :split].astype(np.float32, copy=False)
        if self.lexicon is None or self.alignment is None:
            return Parts(encodings, None)
        further = split + self.lexicon.dim
        words = self.lexicon.read(verification[..., split:further])
        return Parts(encodings, Text(words, self.alignment.read(verification[..., further:])))

    def evidence(self, query: Parts, candidates: Parts, distances_Bk: Floats) -> Evidence:
        """What is known of the candidates of each query: ``query`` has the axes ``[B, 1]``, ``candidates`` ``[B, k]``."""
        assert self.lexicon is not None
        assert self.alignment is not None
        assert query.text is not None
        assert candidates.text is not None
        retrieval_Bk1 = (1 - 0.5 * distances_Bk.astype(np.float32) ** 2)[..., None]
        given_BkG = np.concatenate(
            [
                retrieval_Bk1,
                self.lexicon.likeness(query.text.words, candidates.text.words),
                self.alignment.likeness(query.text.tokens, candidates.text.tokens),
            ],
            axis=-1,
        )
        return match(self.matchers, given_BkG, query.encodings, candidates.encodings)

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

    def _spelled(self, verification: NDArray[np.floating]) -> Spelled:
        assert self.alignment is not None
        return spelled(verification[..., self.verification_dim - self.alignment.dim :])

    def _by_distance(self, distances: Floats) -> Floats:
        # monotone and 1/2 at the scale, so that threshold 1/2 fires exactly where the distance is below it
        probability: Floats = np.exp2(-distances / np.float32(self.distance_scale)).astype(np.float32)
        return probability

    def _listwise(
        self,
        query_BM: NDArray[np.floating],
        candidates_BkM: NDArray[np.floating],
        distances_Bk: Floats,
        mask_Bk: Bools,
        groups_Bk: Ints | None,
        *,
        whole: bool,
    ) -> Floats:
        assert self.listwise is not None
        if groups_Bk is None:
            groups_Bk = np.broadcast_to(np.arange(distances_Bk.shape[1]), distances_Bk.shape)
        # The padding of a short list lies infinitely far, and infinity times no rivalry is no number.
        distances_Bk = np.where(mask_Bk, distances_Bk, np.float32(2))
        query, candidates = self.apart(query_BM[:, None]), self.apart(candidates_BkM)
        evidence = self.evidence(query, candidates, distances_Bk)
        rivals_Bkk = rivalry(evidence.among_Bkk, groups_Bk, mask_Bk)
        logit_Bk = verdict(evidence.logit_Bk, self.listwise(listwise_features(evidence, rivals_Bkk)))
        # a prompt stored word for word is its own question, however crowded the place, and no other is as sure
        same_Bk = same_text(query, candidates, distances_Bk, evidence.cosine_Bk)
        if self.reader is not None:
            asked, known = self._spelled(query_BM[:, None]), self._spelled(candidates_BkM)
            certain_Bk = np.where(same_Bk, np.float32(np.inf), logit_Bk)
            logit_Bk = self.reader.settle(certain_Bk, mask_Bk, asked, known, whole=whole)
        return np.where(same_Bk, np.float32(1), np.minimum(sigmoid(logit_Bk), _ALMOST_SURE))
