"""Doubts: what keys say of problems whose relations they have not met, and what there is to read in their stead.

A fit leaves them behind. A cross-encoder is trained and tested on them, at once or on another machine: they can be saved.

Shape legend: N texts, Q problems, k candidates, T token places.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sola_scale.errors import CalibrationError
from sola_scale.keys.alignment import Spelled
from sola_scale.keys.scorer import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Doubts:
    """Problems, and the logits of keys out of fold."""

    query_Q: Ints
    """Which text asks."""
    candidate_Qk: Ints
    """Its nearest edits' prompts."""
    label_Qk: Bools
    """Which of them ask its question."""
    known_Q: Bools
    """Whether an edit of its question lay in the store."""
    relation_Q: Ints
    """What the query asks for."""
    role_Q: Ints
    """What kind of query it is to its candidates: near misses may fire more often than others."""
    verdict_Qk: Floats
    """Logits that count."""
    weight_Qk: Floats
    """How much each candidate counts."""
    token_NT: Ints
    """Tokens of the texts, the last one first."""
    name_NT: Bools
    """Which of them belong to names."""
    there_NT: Bools
    """Where there is one."""

    def __post_init__(self) -> None:
        """Check that the arrays fit together: they may come from a file."""
        problems, candidates, texts = (
            self.query_Q.shape[:1],
            self.candidate_Qk.shape[:2],
            self.token_NT.shape[:2],
        )
        integers, truths, floats = np.integer, np.bool_, np.floating
        self._must_be(problems, integers, "query_Q", "relation_Q", "role_Q")
        self._must_be(problems, truths, "known_Q")
        self._must_be((*problems, *candidates[1:]), integers, "candidate_Qk")
        self._must_be(candidates, truths, "label_Qk")
        self._must_be(candidates, floats, "verdict_Qk", "weight_Qk")
        self._must_be(texts, integers, "token_NT")
        self._must_be(texts, truths, "name_NT", "there_NT")
        for places in (self.query_Q, self.candidate_Qk):
            if not places.size or places.min() < 0 or places.max() >= len(self.token_NT):
                raise CalibrationError("the doubts are of texts that are not there, or of none")
        if self.token_NT.min(initial=0) < 0:
            raise CalibrationError("the doubts hold a token that cannot be")

    def _must_be(self, shape: tuple[int, ...], kind: type, *names: str) -> None:
        for name in names:
            array = getattr(self, name)
            if array.shape != shape or not np.issubdtype(array.dtype, kind) or not np.isfinite(array).all():
                raise CalibrationError(
                    f"the doubts do not fit together: {name} has the shape {array.shape}, {array.dtype}"
                )

    @property
    def spelled(self) -> Spelled:
        """The texts as their tokens."""
        return Spelled(self.token_NT, self.name_NT, self.there_NT)

    def save(self, path: Path) -> None:
        """Write them as safetensors, some tens of MiB."""
        arrays = {one.name: np.ascontiguousarray(getattr(self, one.name)) for one in fields(self)}
        save_file({name: _small(array) for name, array in arrays.items()}, path)

    @staticmethod
    def load(path: Path) -> "Doubts":
        """Read what ``save`` wrote.

        Raises:
            CalibrationError: the file is damaged, or holds something else.
            OSError: there is none.
        """
        try:
            arrays = load_file(path)
            return Doubts(**{name: _wide(array) for name, array in arrays.items()})
        except (SafetensorError, TypeError, ValueError) as error:
            raise CalibrationError(f"{path} holds no doubts: {error}") from error


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int32) if array.dtype == np.int64 else array


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int64) if array.dtype == np.int32 else array
