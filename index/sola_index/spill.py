"""The second list of every key: one that errs in another direction than the list of its nearest centroid."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sola_index.backend import faiss
from sola_index.contract import Floats, Rows

# Shapes: N keys, Z dimensions of the frame, L lists.
ListNumbers = npt.NDArray[np.int64]
LEANING = 1.0
"""How much a second list is held against for erring in the direction the first one errs in."""

TINY = 1e-20
"""Stands for the squared residual of a key that is its own centroid."""


class Spill:
    """A second way into the lists of a faiss index, by which each key's code goes into one more list.

    A query that lies off in the direction in which a key lies off its centroid misses the key's list. The second list
    is therefore not the second nearest one, but the one that minimises ``|x - c|^2 + LEANING * (r.(x - c))^2 / |r|^2``, r
    being the residual at the first (SOAR, Sun et al. 2023).
    """

    def __init__(self, codes: Any, centroids_LZ: Floats) -> None:
        self._centroids_LZ = centroids_LZ
        self._squared_L: Floats = np.einsum("lz,lz->l", centroids_LZ, centroids_LZ)
        self._products_LL: Floats = centroids_LZ @ centroids_LZ.T
        # faiss asks a quantizer where a key goes. This one knows the keys of one batch and a list for each of them; keys
        # so near that it mixes them up belong into the same lists anyhow.
        self._given = faiss.IndexIDMap(faiss.IndexFlatL2(codes.d))
        self._door = faiss.IndexIVFPQFastScan(
            self._given, codes.d, codes.nlist, codes.M, 4, faiss.METRIC_L2, codes.bbs
        )
        self._door.by_residual = False
        self._door.pq, self._door.is_trained = codes.pq, True
        self._door.replace_invlists(codes.invlists, False)
        self._codes = codes  # whose lists these are, so they must not go before this does

    def add(self, keys_NZ: Floats, rows_N: Rows) -> ListNumbers:
        """Put the codes of keys into their second lists; gives the numbers of their lists, first ones and second ones."""
        first_N, second_N = self.lists_of(keys_NZ)
        self._given.reset()
        self._given.add_with_ids(keys_NZ, second_N)
        self._door.add_with_ids(keys_NZ, rows_N)
        return np.concatenate([first_N, second_N])

    def lists_of(self, keys_NZ: Floats) -> tuple[ListNumbers, ListNumbers]:
        """The first and the second list of each key; where there is but one list, that one twice."""
        product_NL = keys_NZ @ self._centroids_LZ.T
        every_N = np.arange(len(keys_NZ))
        distance_NL = self._squared_L - 2.0 * product_NL  # less the key's own squared length
        first_N = distance_NL.argmin(1)
        length_N = np.einsum("nz,nz->n", keys_NZ, keys_NZ)
        along_N = length_N - product_NL[every_N, first_N]  # r.x
        squared_N = np.maximum(length_N + distance_NL[every_N, first_N], TINY)
        leaning_NL = self._products_LL[first_N]
        leaning_NL -= product_NL
        leaning_NL += along_N[:, None]  # r.(x - c)
        leaning_NL *= leaning_NL
        leaning_NL *= np.float32(LEANING) / squared_N[:, None]
        distance_NL += leaning_NL
        distance_NL[every_N, first_N] = np.inf
        return first_N, distance_NL.argmin(1)
