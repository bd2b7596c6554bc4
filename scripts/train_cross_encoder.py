"""Train a cross-encoder for a calibration that was fitted elsewhere: keys want a CPU's hour, a cross-encoder a GPU's minutes.

::

    python scripts/collision_analysis.py --data DATA --out report/ --fit      # leaves calibration.safetensors and doubts.safetensors
    python scripts/train_cross_encoder.py --fit report/ --out sharp.safetensors --device cuda
    python scripts/collision_analysis.py --data DATA --out report/ --calibration sharp.safetensors
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from sola_scale.backbone import fingerprint, load_backbone
from sola_scale.keys import Calibration
from sola_scale.keys.cross_fitting import with_cross_encoder
from sola_scale.keys.cross_training import CrossConfig
from sola_scale.keys.doubts import Doubts


def main() -> None:
    """Train, write, print."""
    arguments = _arguments()
    backbone = load_backbone(arguments.model, device=arguments.device, dtype=getattr(torch, arguments.dtype))
    calibration = Calibration.from_bytes((arguments.fit / "calibration.safetensors").read_bytes())
    # a model's number format is part of its hash: the one that serves need not be the one that is trained with
    models = [backbone, load_backbone(arguments.model, device="cpu")]
    if calibration.model not in [fingerprint(one)["model"] for one in models]:
        sys.exit(
            f"{arguments.fit} was not fitted on {arguments.model}, in float32 or {arguments.dtype}; give --model, --dtype"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    doubts = Doubts.load(arguments.fit / "doubts.safetensors")
    config = _config(arguments, len(backbone.architecture.layers))
    began = time.perf_counter()
    with Progress(disable=arguments.json) as bars:
        bar = bars.add_task("training", total=None)
        trained = with_cross_encoder(
            calibration,
            backbone,
            doubts,
            config=config,
            false_fire=arguments.false_fire,
            seed=arguments.seed,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    arguments.out.write_bytes(trained.to_bytes())
    figures = _figures(trained, config, time.perf_counter() - began)
    print(
        json.dumps(figures)
        if arguments.json
        else "\n".join(f"{key}: {value}" for key, value in figures.items())
    )


def _config(arguments: argparse.Namespace, layers: int) -> CrossConfig:
    given = {one.name: getattr(arguments, one.name) for one in fields(CrossConfig)}
    return replace(
        CrossConfig.of(layers), **{name: value for name, value in given.items() if value is not None}
    )


def _figures(trained: Calibration, config: CrossConfig, seconds: float) -> dict[str, Any]:
    assert trained.cross is not None
    size = sum(array.size for adapter in trained.cross.adapters.values() for array in adapter)
    return {
        "calibration": trained.id,
        "threshold": trained.threshold,
        "false_fire": trained.false_fire,
        "blend": trained.cross.blend._asdict(),
        "numbers": size + int(np.size(trained.cross.head_D)),
        "config": asdict(config),
        "seconds": round(seconds),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", type=Path, required=True, help="folder with what a fit left")
    parser.add_argument("--out", type=Path, required=True, help="file for the calibration")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--device", help="CUDA if present, else the CPU")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--depth", type=int, help="layers to read with")
    parser.add_argument("--lowest", type=int, help="the first layer with adapters")
    parser.add_argument("--rank", type=int, help="of the adapters")
    parser.add_argument("--pairs", type=int, help="pairs of a pass, at most")
    parser.add_argument("--passes", type=int, help="times that pairs are drawn and gone through")
    parser.add_argument("--batch", type=int, help="pairs of a step")
    parser.add_argument(
        "--false-fire", type=float, help="rate to set the threshold for; the calibration's own by default"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
