"""Checks of everything a caller hands to the index, before anything changes."""

import numpy as np

from sola_index.contract import NO_ID, Floats, Ids, Metric
from sola_index.errors import InvalidIdError, InvalidKeyError, KeyIndexError

# Shapes: N keys or queries, D dimensions.
UNIT_TOLERANCE = 1e-3
"""How far the length of a unit key may be from one."""

LARGEST_SQUARED_NORM = 1e36
"""Squared distances of longer keys would overflow float32."""

LARGEST_DIM = 65_536


def check_dim(dim: int) -> int:
    """Return a usable number of dimensions or refuse it."""
    if not 1 <= dim <= LARGEST_DIM:
        raise InvalidKeyError(f"dim must be between 1 and {LARGEST_DIM}, not {dim}")
    return int(dim)


def check_metric(metric: str) -> Metric:
    """Return a known metric or refuse it."""
    if metric == "cosine":
        return "cosine"
    if metric == "l2":
        return "l2"
    raise KeyIndexError(f"metric must be 'cosine' or 'l2', not {metric!r}")


def check_keys(keys_ND: Floats, dim: int, metric: Metric, what: str = "keys") -> Floats:
    """Return C-contiguous keys that are safe to measure distances with.

    Raises:
        InvalidKeyError: wrong dtype, width, or length; NaN, infinite or too large.
    """
    keys_ND = np.asarray(keys_ND)
    if keys_ND.dtype != np.float32:
        raise InvalidKeyError(
            f"{what} must be float32, not {keys_ND.dtype}; convert them with astype(np.float32)"
        )
    if keys_ND.ndim != 2 or keys_ND.shape[1] != dim:
        raise InvalidKeyError(f"{what} must have shape [n, {dim}], not {list(keys_ND.shape)}")
    keys_ND = np.ascontiguousarray(keys_ND)
    squared_N = np.einsum("nd,nd->n", keys_ND, keys_ND)
    if metric == "cosine" and (np.abs(squared_N - 1.0) <= 2 * UNIT_TOLERANCE).all():
        return keys_ND
    # A NaN or an infinity anywhere in a key makes this comparison false.
    sound_N = squared_N <= LARGEST_SQUARED_NORM
    if not sound_N.all():
        raise InvalidKeyError(
            f"{what}[{int(sound_N.argmin())}] is not finite, or too large to measure distances with"
        )
    if metric == "cosine":
        unit_N = np.abs(squared_N - 1.0) <= 2 * UNIT_TOLERANCE
        if not unit_N.all():
            worst = int(unit_N.argmin())
            length = float(np.sqrt(squared_N[worst]))
            raise InvalidKeyError(
                f"{what}[{worst}] has length {length:.4g}; the cosine metric needs unit length"
            )
    return keys_ND


def check_queries(queries: Floats, dim: int, metric: Metric) -> Floats:
    """Return queries [M, D]; a single query [D] is taken as a batch of one."""
    queries = np.asarray(queries)
    single = queries.ndim in {1, 2} and queries.size == dim == queries.shape[-1]
    if metric == "cosine" and single and queries.dtype == np.float32:
        # The one query of an ordinary search: the same conditions in a tenth of the time.
        query_D = np.ascontiguousarray(queries).reshape(-1)
        if abs(float(query_D @ query_D) - 1.0) <= 2 * UNIT_TOLERANCE:
            return query_D[None]
    return check_keys(queries[None] if queries.ndim == 1 else queries, dim, metric, "queries")


def as_ids(ids: Ids) -> Ids:
    """Return ids as one-dimensional uint64, refusing other dtypes: a silent cast would change negative ids."""
    ids_N = np.asarray(ids)
    if ids_N.size == 0:
        return np.empty(0, np.uint64)
    if ids_N.ndim != 1:
        raise InvalidIdError(f"ids must have shape [n], not {list(ids_N.shape)}")
    if ids_N.dtype == np.uint64:
        return np.ascontiguousarray(ids_N)
    if not np.issubdtype(ids_N.dtype, np.integer) or ids_N.min() < 0:
        raise InvalidIdError(f"ids must be uint64, or integers that are not negative; got {ids_N.dtype}")
    return ids_N.astype(np.uint64)


def check_new_ids(ids: Ids, last_id: int | None) -> Ids:
    """Return ids that may be added after ``last_id``.

    Raises:
        InvalidIdError: not strictly increasing, not above ``last_id``, or equal to the filler.
    """
    ids_N = as_ids(ids)
    if not len(ids_N):
        return ids_N
    if (ids_N[1:] <= ids_N[:-1]).any():
        at = int((ids_N[1:] <= ids_N[:-1]).argmax()) + 1
        raise InvalidIdError(f"ids must be strictly increasing: {ids_N[at]} follows {ids_N[at - 1]}")
    if last_id is not None and int(ids_N[0]) <= last_id:
        raise InvalidIdError(
            f"id {ids_N[0]} is not above {last_id}, the last id added; ids are never used twice"
        )
    if int(ids_N[-1]) == NO_ID:
        raise InvalidIdError(f"{NO_ID} stands for 'no key' and cannot be an id")
    return ids_N


def check_pairs(ids_N: Ids, keys_ND: Floats) -> None:
    """Refuse a different number of ids and keys."""
    if len(ids_N) != len(keys_ND):
        raise InvalidIdError(f"{len(ids_N)} ids for {len(keys_ND)} keys")


def check_k(k: int) -> int:
    """Return a usable number of answers or refuse it."""
    if k < 1:
        raise KeyIndexError(f"k must be at least 1, not {k}")
    return int(k)


def check_radius(radius: float) -> float:
    """Return a usable radius or refuse it; an infinite one means everything."""
    if not radius >= 0:
        raise KeyIndexError(f"radius must not be negative or NaN: {radius}")
    return float(radius)


def check_distinct(ids: Ids) -> Ids:
    """Return ids without repetition, or refuse them."""
    ids_N = as_ids(ids)
    if len(np.unique(ids_N)) != len(ids_N):
        raise InvalidIdError("an id appears twice in one call")
    return ids_N
