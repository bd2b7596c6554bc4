"""A writer that does random steps until it is killed: tells each one before it starts and after it is durable.

python worker.py FOLDER SEED
"""

import json
import os
import random
import sys
from pathlib import Path

from sola_scale.store import LmdbStore
from tests.store.faults.steps import StepClock, choose, do, open_index


def tell(message: dict[str, object]) -> None:
    """One line to the parent, in one system call, so that a kill cannot hold it back."""
    os.write(1, json.dumps(message).encode() + b"\n")


def main(folder: Path, seed: int) -> None:
    """Open the store and go on for ever."""
    rng = random.Random(seed)
    with LmdbStore.open(folder / "store", clock=StepClock()) as store:
        live = open_index(store, folder)
        tell({"ready": os.getpid()})
        while True:
            step = choose(store, rng)
            tell({"begin": step})
            do(store, step, folder, live)
            tell({"done": step["at"]})
            live.refresh()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
