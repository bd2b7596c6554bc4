"""Calibrations as bytes: safetensors with JSON metadata, checked on the way in, never pickled."""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sola_scale.backbone import View
from sola_scale.backbone.reading import TOKENS, WORDS
from sola_scale.errors import CalibrationError
from sola_scale.keys.alignment import Alignment
from sola_scale.keys.calibration import Calibration
from sola_scale.keys.consistency import fit_together
from sola_scale.keys.cross_encoder import Adapter, Blend, CrossEncoder
from sola_scale.keys.encoder import Encoder
from sola_scale.keys.heads import Head
from sola_scale.keys.lexicon import Lexicon
from sola_scale.keys.matcher import Matcher
from sola_scale.keys.scorer import Perceptron

FORMAT = 7
_WITHOUT_CROSS_ENCODER = 6
"""Written still where there is none: the same calibration keeps its bytes, and its id."""
_WITHOUT_MATCHERS = 3
MAX_BYTES = 256 << 20
"""Nothing larger is read: the widest models need some tens of MiB."""
_META = "sola_calibration"
_HEADER_LENGTH = 8
_ALIGNMENT = ("vector_NA", "weight_N", "name_2A")
_VOCABULARY = "alignment.vector_NA"
"""The one large array: half precision is enough, as for keys and for adapters."""
_ADAPTER, _HEAD = "cross.layers.", "cross.head"
_ENCODER = ("centre_ED", "matrix_EDP", "inner_FH", "inner_H", "outer_HZ", "outer_Z")

Tensors = dict[str, NDArray[Any]]


def pack(calibration: Calibration) -> bytes:
    """Serialise; equal calibrations give equal bytes."""
    head = calibration.retrieval
    tensors: Tensors = {"head.0.centre": head.centre_D, "head.0.matrix": head.matrix_DK}
    for place, matcher in enumerate(calibration.matchers):
        arrays = {name: getattr(matcher.encoder, name) for name in _ENCODER}
        tensors |= {f"encoder.{place}.{name}": array for name, array in arrays.items()}
        tensors |= _scorer_tensors(f"pair.{place}", matcher.pair)
    lexicon = calibration.lexicon
    if lexicon is not None:
        # float32 holds the number of any word exactly
        tensors["lexicon.word"], tensors["lexicon.weight"] = lexicon.word_N, lexicon.weight_N
    tensors |= _scorer_tensors("listwise", calibration.listwise)
    alignment = calibration.alignment
    if alignment is not None:
        tensors |= {f"alignment.{name}": getattr(alignment, name) for name in _ALIGNMENT}
    cross = calibration.cross
    if cross is not None:
        tensors |= _cross_tensors(cross)
    described = {
        "format": _WITHOUT_CROSS_ENCODER if cross is None else FORMAT,
        "views": [[view.layer, view.pooling] for view in calibration.views],
        "heads": [[head.view, head.unit]],
        "encoders": [list(matcher.encoder.views) for matcher in calibration.matchers],
        "lexicon": [lexicon.view, lexicon.places, lexicon.unknown] if lexicon else None,
        "alignment": [alignment.view, alignment.places] if alignment else None,
        "threshold": calibration.threshold,
        "false_fire": calibration.false_fire,
        "model": calibration.model,
        "distance_scale": calibration.distance_scale,
        "note": calibration.note,
    }
    if cross is not None:
        described["cross"] = [cross.depth, cross.separator, cross.bias, list(cross.doubt), list(cross.blend)]
    ordered = {name: np.ascontiguousarray(tensors[name], dtype=_dtype_of(name)) for name in sorted(tensors)}
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
        plain = described["format"] in range(1, _WITHOUT_MATCHERS + 1) and len(described["heads"]) == 1
        if described["format"] not in (FORMAT, _WITHOUT_CROSS_ENCODER) and not plain:
            fix = "update sola-scale" if described["format"] > FORMAT else "make the store again"
            raise CalibrationError(
                f"calibration format {described['format']} is not known; this version reads {_WITHOUT_CROSS_ENCODER} and {FORMAT}: {fix}"
            )
        calibration = _assemble(described, tensors)
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise CalibrationError(f"the calibration is damaged: {error}") from error
    if not fit_together(calibration):
        raise CalibrationError("the calibration is damaged: its arrays do not fit together")
    return calibration


def _metadata(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:_HEADER_LENGTH], "little")
    if not 0 < length <= len(data) - _HEADER_LENGTH:
        raise CalibrationError("the calibration is damaged: its header is cut short")
    header = json.loads(data[_HEADER_LENGTH : _HEADER_LENGTH + length])
    described: dict[str, Any] = json.loads(header["__metadata__"][_META])
    return described


def _assemble(described: dict[str, Any], tensors: Tensors) -> Calibration:
    for name, tensor in tensors.items():
        if tensor.dtype != _dtype_of(name) or not np.isfinite(tensor).all():
            raise CalibrationError(f"the calibration is damaged: {name} is not finite {_dtype_of(name)}")
    views = tuple(View(int(layer), str(pooling)) for layer, pooling in described["views"])  # type: ignore[arg-type]
    ((place, unit),) = described["heads"]
    return Calibration(
        views=views,
        retrieval=Head(
            view=int(place),
            centre_D=tensors["head.0.centre"],
            matrix_DK=tensors["head.0.matrix"],
            unit=bool(unit),
        ),
        matchers=tuple(
            _matcher(tensors, number, places) for number, places in enumerate(described.get("encoders", []))
        ),
        listwise=_scorer(tensors, "listwise"),
        lexicon=_lexicon(described.get("lexicon"), tensors),
        alignment=_alignment(described.get("alignment"), tensors),
        cross=_cross(described.get("cross"), tensors),
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


def _alignment(described: list[int] | None, tensors: Tensors) -> Alignment | None:
    if described is None:
        return None
    view, places = map(int, described)
    vector_NA, weight_N, name_2A = (tensors[f"alignment.{name}"] for name in _ALIGNMENT)
    fits = vector_NA.ndim == 2 and vector_NA.size and weight_N.shape == vector_NA.shape[:1]
    if not fits or name_2A.shape != (2, vector_NA.shape[1]) or not 0 < places <= TOKENS:
        raise CalibrationError("the calibration is damaged: its alignment does not fit together")
    return Alignment(view=view, places=places, vector_NA=vector_NA, weight_N=weight_N, name_2A=name_2A)


def _cross_tensors(cross: CrossEncoder) -> Tensors:
    tensors: Tensors = {_HEAD: cross.head_D}
    for path, adapter in cross.adapters.items():
        tensors |= {f"{_ADAPTER}{path}.{name}": getattr(adapter, name) for name in Adapter._fields}
    return tensors


def _cross(described: list[Any] | None, tensors: Tensors) -> CrossEncoder | None:
    if described is None:
        return None
    depth, separator, bias, (low, high), blend = described
    paths = sorted(
        {name.removeprefix(_ADAPTER).rpartition(".")[0] for name in tensors if name.startswith(_ADAPTER)}
    )
    adapters = {
        path: Adapter(*(tensors[f"{_ADAPTER}{path}.{name}"] for name in Adapter._fields)) for path in paths
    }
    for path, (down_RI, up_OR) in adapters.items():
        if down_RI.ndim != 2 or up_OR.ndim != 2 or len(down_RI) != up_OR.shape[1]:
            raise CalibrationError(f"the calibration is damaged: the adapter of {path} does not fit together")
    return CrossEncoder(
        depth=int(depth),
        separator=int(separator),
        adapters=adapters,
        head_D=tensors[_HEAD],
        bias=float(bias),
        doubt=(float(low), float(high)),
        blend=Blend(*map(float, blend)),
    )


def _dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(np.float16 if name == _VOCABULARY or name.startswith(_ADAPTER) else np.float32)


def _matcher(tensors: Tensors, number: int, places: list[int]) -> Matcher:
    arrays = {name: tensors[f"encoder.{number}.{name}"] for name in _ENCODER}
    pair = _scorer(tensors, f"pair.{number}")
    if pair is None:
        raise CalibrationError("the calibration is damaged: a matcher is not whole")
    return Matcher(encoder=Encoder(views=tuple(map(int, places)), **arrays), pair=pair)


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
