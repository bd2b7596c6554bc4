"""Calibrations as bytes: safetensors with JSON metadata, checked on the way in, never pickled."""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sola_scale.backbone import View
from sola_scale.backbone.reading import WORDS
from sola_scale.errors import CalibrationError
from sola_scale.keys.calibration import Calibration
from sola_scale.keys.heads import Head
from sola_scale.keys.lexicon import Lexicon
from sola_scale.keys.scorer import Perceptron

FORMAT = 3
MAX_BYTES = 256 << 20
"""Nothing larger is read: the widest models need some tens of MiB."""
_META = "sola_calibration"
_HEADER_LENGTH = 8

Tensors = dict[str, NDArray[Any]]


def pack(calibration: Calibration) -> bytes:
    """Serialise; equal calibrations give equal bytes."""
    heads = (calibration.retrieval, *calibration.heads)
    tensors: Tensors = {}
    for place, head in enumerate(heads):
        tensors[f"head.{place}.centre"] = head.centre_D
        tensors[f"head.{place}.matrix"] = head.matrix_DK
    lexicon = calibration.lexicon
    if lexicon is not None:
        # float32 holds the number of any word exactly
        tensors["lexicon.word"], tensors["lexicon.weight"] = lexicon.word_N, lexicon.weight_N
    for name in ("pair", "listwise"):
        tensors |= _scorer_tensors(name, getattr(calibration, name))
    described = {
        "format": FORMAT,
        "views": [[view.layer, view.pooling] for view in calibration.views],
        "heads": [[head.view, head.unit] for head in heads],
        "lexicon": [lexicon.view, lexicon.places, lexicon.unknown] if lexicon else None,
        "threshold": calibration.threshold,
        "false_fire": calibration.false_fire,
        "model": calibration.model,
        "distance_scale": calibration.distance_scale,
        "note": calibration.note,
    }
    ordered = {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in sorted(tensors)}
    return bytes(save(ordered, metadata={_META: json.dumps(described, sort_keys=True)}))


def unpack(data: bytes) -> Calibration:
    """Read what ``pack`` wrote.

    Raises:
        CalibrationError: the bytes are damaged, too large, of a newer format, or inconsistent.
    """
    if len(data) > MAX_BYTES:
        raise CalibrationError(f"a calibration of {len(data)} bytes is over the limit of {MAX_BYTES}")
    try:
        described = _metadata(data)
        tensors = load(data)
        if described["format"] not in {1, FORMAT}:
            raise CalibrationError(
                f"calibration format {described['format']} is not known; this version reads 1 and {FORMAT}: calibrate again"
            )
        return _assemble(described, tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CalibrationError(f"the calibration is damaged: {error}") from error


def _metadata(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:_HEADER_LENGTH], "little")
    if not 0 < length <= len(data) - _HEADER_LENGTH:
        raise CalibrationError("the calibration is damaged: its header is cut short")
    header = json.loads(data[_HEADER_LENGTH : _HEADER_LENGTH + length])
    described: dict[str, Any] = json.loads(header["__metadata__"][_META])
    return described


def _assemble(described: dict[str, Any], tensors: Tensors) -> Calibration:
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise CalibrationError(f"the calibration is damaged: {name} is not finite float32")
    views = tuple(View(int(layer), str(pooling)) for layer, pooling in described["views"])  # type: ignore[arg-type]
    heads = [
        Head(
            view=int(view),
            centre_D=tensors[f"head.{place}.centre"],
            matrix_DK=tensors[f"head.{place}.matrix"],
            unit=bool(unit),
        )
        for place, (view, unit) in enumerate(described["heads"])
    ]
    return Calibration(
        views=views,
        retrieval=heads[0],
        heads=tuple(heads[1:]),
        pair=_scorer(tensors, "pair"),
        listwise=_scorer(tensors, "listwise"),
        lexicon=_lexicon(described.get("lexicon"), tensors),
        threshold=float(described["threshold"]),
        false_fire=float(described["false_fire"]),
        model=str(described["model"]),
        distance_scale=float(described["distance_scale"]),
        note=str(described["note"]),
    )


def _lexicon(described: list[float] | None, tensors: Tensors) -> Lexicon | None:
    if described is None:
        return None
    view, places, unknown = described
    word_N, weight_N = tensors["lexicon.word"].astype(np.int64), tensors["lexicon.weight"]
    fits = word_N.shape == weight_N.shape and word_N.ndim == 1 and bool((np.diff(word_N) > 0).all())
    if not fits or not 0 < places <= WORDS or not 0 <= unknown < math.inf:
        raise CalibrationError("the calibration is damaged: its lexicon does not fit together")
    return Lexicon(
        view=int(view), places=int(places), word_N=word_N, weight_N=weight_N, unknown=float(unknown)
    )


def _scorer_tensors(name: str, scorer: Perceptron | None) -> Tensors:
    if scorer is None:
        return {}
    tensors: Tensors = {f"{name}.mean": scorer.mean_F, f"{name}.scale": scorer.scale_F}
    for layer, (weight, bias) in enumerate(zip(scorer.weights, scorer.biases, strict=True)):
        tensors[f"{name}.{layer}.weight"] = weight
        tensors[f"{name}.{layer}.bias"] = bias
    return tensors


def _scorer(tensors: Tensors, name: str) -> Perceptron | None:
    if f"{name}.mean" not in tensors:
        return None
    depth = sum(1 for key in tensors if key.startswith(f"{name}.") and key.endswith(".weight"))
    return Perceptron(
        mean_F=tensors[f"{name}.mean"],
        scale_F=tensors[f"{name}.scale"],
        weights=tuple(tensors[f"{name}.{layer}.weight"] for layer in range(depth)),
        biases=tuple(tensors[f"{name}.{layer}.bias"] for layer in range(depth)),
    )
