"""Figures of a trial: the table at one threshold, the sweep over thresholds, the growth with the store.

Everything here is plain numbers, ready for JSON.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sola_scale.analysis.routing import PoolResult

Floats = NDArray[np.float32]
Figures = dict[str, Any]

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def table(results: Sequence[PoolResult], threshold: float) -> list[Figures]:
    """One row a pool at one threshold, with the target beside it and a 95 % interval."""
    rows = []
    for result in results:
        share = result.fired(threshold)
        low, high = wilson(share, len(result.pool))
        wanted_high = result.pool.wanted == "right"
        rows.append(
            {
                "pool": result.pool.name,
                "queries": len(result.pool),
                "wanted": result.pool.wanted,
                "fires": share,
                "interval": [low, high],
                "fires_wrong_edit": result.misfired(threshold) if wanted_high else None,
                "nearest_key_right": float(result.first_Q.mean()) if wanted_high else None,
                "right_among_candidates": float(result.kept_Q.mean()) if wanted_high else None,
                "read_again": float(result.doubted_Q.mean()),
                "target": result.pool.target,
                "reached": share >= result.pool.target if wanted_high else share <= result.pool.target,
            }
        )
    return rows


def sweep(results: Sequence[PoolResult], points: int = 200) -> Figures:
    """Shares that fire over thresholds, close together where probabilities crowd towards 0 and 1."""
    logits = np.linspace(-9, 9, points)
    thresholds = 1 / (1 + np.exp(-logits))
    return {
        "threshold": thresholds.tolist(),
        "fires": {
            result.pool.name: [result.fired(float(value)) for value in thresholds] for result in results
        },
    }


def at_own_thresholds(results: Sequence[PoolResult]) -> list[Figures]:
    """For every silent pool, the threshold that just keeps its own target, and what each right pool fires there."""
    rows = []
    for silent in results:
        if silent.pool.wanted != "silent":
            continue
        threshold = float(np.quantile(silent.best_Q, 1 - silent.pool.target, method="higher"))
        threshold = float(np.nextafter(np.float32(threshold), np.float32(2)))
        fires = {
            result.pool.name: result.fired(threshold) for result in results if result.pool.wanted == "right"
        }
        rows.append(
            {"pool": silent.pool.name, "rate": silent.pool.target, "threshold": threshold, "fires": fires}
        )
    return rows


def growth(
    sizes: Sequence[int], runs: Sequence[Sequence[PoolResult]], nearest: Sequence[Floats], threshold: float
) -> Figures:
    """How distances, collisions and rates change with the store, and where the trend leads at a million."""
    rows = [
        _growth_row(size, results, near, threshold)
        for size, results, near in zip(sizes, runs, nearest, strict=True)
    ]
    return {"rows": rows, "at_1M": _extrapolate(rows, 1_000_000)}


def _growth_row(size: int, results: Sequence[PoolResult], nearest: Floats, threshold: float) -> Figures:
    own = np.concatenate(
        [result.own_Q[np.isfinite(result.own_Q)] for result in results if "paraphrase" in result.pool.name]
    )
    # the radius that would catch 95 % of the paraphrases found: what a router by distance alone must allow
    radius = float(np.quantile(own, 0.95)) if len(own) else 0.0
    return {
        "crowd": size,
        "nearest_other_edit": {str(level): float(np.quantile(nearest, level)) for level in _QUANTILES},
        "paraphrase_to_edit": {str(level): float(np.quantile(own, level)) for level in _QUANTILES}
        if len(own)
        else {},
        "paraphrase_radius_95": radius,
        "collision_rate": float((nearest < radius).mean()),
        "pools": {
            result.pool.name: {
                "fires": result.fired(threshold),
                "nearest_key_right": float(result.first_Q.mean()),
                "right_among_candidates": float(result.kept_Q.mean()),
                "nearest_within_radius": float((result.nearest_Q < radius).mean()),
            }
            for result in results
        },
    }


def _extrapolate(rows: list[Figures], size: int) -> Figures:
    """Straight lines of the logit of each rate over the logarithm of the store's size."""
    if len(rows) < 3:
        return {}
    x = np.log([row["crowd"] for row in rows])
    out: Figures = {
        "crowd": size,
        "collision_rate": _line(x, [row["collision_rate"] for row in rows], size),
        "pools": {},
    }
    for name in rows[0]["pools"]:
        out["pools"][name] = {
            key: _line(x, [row["pools"][name][key] for row in rows], size)
            for key in ("fires", "nearest_key_right", "right_among_candidates")
        }
    return out


def _line(x: NDArray[np.float64], rates: list[float], size: int) -> float:
    # a rate of none or all is taken as half a query of four thousand, which a logit can bear
    clipped = np.clip(rates, 1 / 8000, 1 - 1 / 8000)
    slope, level = np.polyfit(x, np.log(clipped / (1 - clipped)), 1)
    return float(1 / (1 + np.exp(-(slope * np.log(size) + level))))


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share of ``count`` (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    spread = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    centre = share + z * z / (2 * count)
    scale = 1 + z * z / count
    return max(0.0, float((centre - spread) / scale)), min(1.0, float((centre + spread) / scale))
