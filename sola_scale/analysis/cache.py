"""A resumable cache of views: texts whose hidden states were taken once are not run again.

Shape legend: N texts, V views, D width of the residual stream.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from sola_scale.backbone import Backbone, View
from sola_scale.backbone.reading import DIGITS, TOKEN_DIGITS
from sola_scale.keys import capture_all

Halves = NDArray[np.float16]

CHUNK = 2048
"""Texts run between two writes: what an interruption can cost."""


class ViewCache:
    """Views of texts in chunk files of float16, found by the hash of the text.

    One folder serves one model and one tuple of views; a chunk is written aside and renamed, so that a killed run
    leaves whole chunks only.
    """

    def __init__(self, folder: Path, backbone: Backbone, views: Sequence[View], model: str) -> None:
        layout = [(view.layer, view.pooling) for view in views]
        # words and tokens are read another way once they take other numbers
        name = xxhash.xxh64_hexdigest(repr((model, layout, DIGITS, TOKEN_DIGITS)).encode())
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.backbone, self.views = backbone, tuple(views)
        self._place: dict[int, tuple[int, int]] = {}
        self._chunks: list[Halves] = []
        for path in sorted(self.folder.glob("*.views.npy")):
            self._open(path)

    def __len__(self) -> int:
        return len(self._place)

    def get(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Halves:
        """Views ``[N, V, D]`` of ``texts`` in float16, run for those that are not at hand."""
        hashes = [hash_of(text) for text in texts]
        missing = list(
            {
                number: text for number, text in zip(hashes, texts, strict=True) if number not in self._place
            }.items()
        )
        # like lengths together, so that a chunk pads little
        missing.sort(key=lambda entry: len(entry[1]))
        for start in range(0, len(missing), CHUNK):
            self._run(missing[start : start + CHUNK])
            if progress is not None:
                progress(min(start + CHUNK, len(missing)), len(missing))
        out = np.empty((len(texts), len(self.views), self.backbone.architecture.width), dtype=np.float16)
        for row, number in enumerate(hashes):
            chunk, place = self._place[number]
            out[row] = self._chunks[chunk][place]
        return out

    def put(self, hashes: NDArray[np.uint64], views_NVD: Halves) -> None:
        """Add views taken elsewhere."""
        path = self.folder / f"{len(self._chunks):06d}.views.npy"
        _write(path.with_name(path.name.replace(".views.", ".hashes.")), hashes)
        _write(path, views_NVD)
        self._open(path)

    def _run(self, entries: list[tuple[int, str]]) -> None:
        views_NVD = capture_all(self.backbone, [text for _, text in entries], self.views)
        # a massive activation may leave float16's range; what is clipped is clipped for every text alike
        clipped = np.clip(views_NVD, -65000, 65000).astype(np.float16)
        self.put(np.array([number for number, _ in entries], dtype=np.uint64), clipped)

    def _open(self, path: Path) -> None:
        hashes = np.load(path.with_name(path.name.replace(".views.", ".hashes.")))
        self._chunks.append(np.load(path, mmap_mode="r"))
        chunk = len(self._chunks) - 1
        self._place.update({int(number): (chunk, row) for row, number in enumerate(hashes)})


def hash_of(text: str) -> int:
    """64-bit hash of a text."""
    return xxhash.xxh64_intdigest(text.encode())


def _write(path: Path, array: NDArray[np.generic]) -> None:
    staging = path.with_name(f".{path.name}.tmp")
    with staging.open("wb") as stream:
        np.save(stream, array)
    staging.replace(path)
