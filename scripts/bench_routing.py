"""What keys and verification cost, as a share of the prompt's forward pass; interleaved, medians of CPU time.

::

    python scripts/bench_routing.py --json
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sola_scale.backbone import capture_views, load_backbone
from sola_scale.keys import Calibration, default_calibration

PROMPT = "Which university did the author of the book about the silent river attend when young?"


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--calibration", type=Path, help="a calibration file in place of the one that ships")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone(arguments.model)
    if arguments.calibration:
        calibration = Calibration.from_bytes(arguments.calibration.read_bytes())
    else:
        calibration = default_calibration(backbone)
    calibration = calibration.on(backbone)
    rows = [measure(backbone, calibration, batch, arguments.rounds) for batch in arguments.batch]
    print(json.dumps(rows) if arguments.json else "\n".join(map(str, rows)))


@torch.inference_mode()
def measure(backbone: object, calibration: object, batch: int, rounds: int) -> dict[str, float]:
    """One batch size: the forward pass, and what routing adds beside the index: keys and scores of 8 candidates.

    A second look is what one doubtful candidate a prompt costs on top.
    """
    ids_BT, mask_BT = backbone.encode([PROMPT] * batch)
    views_BVD = capture_views(backbone, [PROMPT] * batch, calibration.views).numpy()
    rng = np.random.default_rng(0)
    own_B1M = calibration.keys(views_BVD).verification_BM[:, None]
    # The words are the prompt's own: comparing them costs the same, and random numbers would be none.
    noise_BkM = rng.normal(size=(batch, 8, calibration.verification_dim)) * 0.02
    words = calibration.lexicon.dim if calibration.lexicon else 0
    noise_BkM[..., noise_BkM.shape[2] - words :] = 0
    candidates_BkM = (own_B1M + noise_BkM).astype(np.float16)
    distances_Bk = np.full((batch, 8), 0.5, dtype=np.float32)
    mask_Bk = np.ones((batch, 8), dtype=np.bool_)

    def forward() -> object:
        return backbone.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False, logits_to_keep=1)

    alone = replace(calibration, reader=None)

    def route() -> object:
        keys = alone.keys(views_BVD)
        return alone.score_batch(keys.verification_BM, candidates_BkM, distances_Bk, mask_Bk)

    asked, fresh = ids_BT.tolist(), itertools.count(100)

    def look_again() -> object:
        # a pair that was read once is remembered: every candidate is a new one
        candidates = [[next(fresh) % len(backbone.tokenizer), *row[1:]] for row in asked]
        return calibration.reader.logits(asked, candidates) if calibration.reader else None

    times = [(cpu_ms(forward), cpu_ms(route), cpu_ms(look_again)) for _ in range(rounds)]
    forward_ms, route_ms, again_ms = (statistics.median(column) for column in zip(*times, strict=True))
    again = {"second_look_ms": again_ms, "second_look_share": again_ms / forward_ms}
    return {
        "batch": batch,
        "tokens": int(mask_BT[0].sum()),
        "forward_ms": forward_ms,
        "keys_and_verification_ms": route_ms,
        "share": route_ms / forward_ms,
        **(again if calibration.reader else {}),
    }


if __name__ == "__main__":
    main()
