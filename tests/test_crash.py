"""A writer killed in mid-ingest: every acknowledged edit is there and works, whatever was under way is whole or absent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sola_scale import Editor
from tests.tiny import tiny_backbone

WRITER = """
import sys
import sola_scale.ingest
from sola_scale import EditRequest, Editor
from tests.tiny import tiny_backbone, tiny_recipe

sola_scale.ingest._GROUP = 2
editor = Editor.open(sys.argv[1], tiny_backbone(), recipe=tiny_recipe(0.02))
requests = (EditRequest(f"Fact number {n} says", f"{n * 7 % 100}") for n in range(200))
editor.ingest(requests, on_outcome=lambda outcome: print(outcome.edit_id, outcome.prompt, sep="|", flush=True))
"""


@pytest.mark.parametrize("acknowledged", [1, 5, 12])
def test_every_acknowledged_edit_survives_a_kill(tmp_path: Path, acknowledged: int) -> None:
    """After kill -9 the store opens, verifies, and each edit that was acknowledged answers as it did."""
    store = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WRITER, str(store)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".", "index"])},
    )
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(acknowledged)]
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    seen += process.stdout.read().splitlines(keepends=True)
    process.wait()
    promised = dict(
        line.strip().split("|") for line in seen if line.endswith("\n") and not line.startswith("None")
    )
    assert len(promised) >= acknowledged - 1
    with Editor.open(store, tiny_backbone()) as editor:
        assert editor.verify().ok
        prompts = list(promised.values())
        routes = editor.route(prompts)
        assert [str(route.edit_id) for route in routes] == list(promised)
        answers = editor.generate(prompts, max_new_tokens=6)
        expected = [editor.edit(int(edit_id)).target for edit_id in promised]
        assert [answer.text.strip() for answer in answers] == expected
