"""Makes the committed store of format 1 beside this file; run it only to add a fixture of a new format.

python tests/store/data/make_v1.py
"""

import json
from pathlib import Path

from sola_scale.store import LmdbStore
from sola_scale.store.testing import Clock, sample_edit, sample_keys, sample_manifest
from sola_scale.store.testing.samples import told


def main() -> None:
    """Write the store and what must be read from it."""
    folder = Path(__file__).parent / "v1"
    with LmdbStore.create(folder, sample_manifest(), clock=Clock()) as store:
        store.write([sample_edit(number, rows=1 + number % 2) for number in range(1, 41)])
        store.write([sample_edit(41, supersedes=3), sample_edit(42, supersedes=41, paraphrases=("again",))])
        store.revoke([5, 42])
        store.purge([6])
        store.quarantine([7], "to be seen in the fixture")
        rows = [(number, sample_keys(100 + number)) for number in range(1, 43) if number not in (6, 7)]
        store.recalibrate(2, rows, {"calibration/2": b"opaque"})
        store.restore([5])
        store.put_settings({"threshold": 0.5})
        store.truncate_log(3)
        store.compact()
        (folder / "expected.json").write_text(json.dumps(told(store), indent=1) + "\n")
    for scratch in ("writer.lock", "edits.lmdb-lock"):
        (folder / scratch).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
