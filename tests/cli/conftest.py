"""What the tests of the command line share: running `sola` in this process, and a small store to run it on."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sola_scale.cli import main
from sola_scale.store import KeyRows, LmdbStore, NewEdit, StoreManifest


@dataclass(frozen=True)
class Run:
    """One run of the command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        (only,) = self.lines
        return only

    @property
    def lines(self) -> list[Any]:
        """The objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Sola = Callable[..., Run]


@pytest.fixture
def sola(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Sola:
    """Run `sola` with these arguments, as the shell would."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Run:
        monkeypatch.setattr("sys.argv", ["sola", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Run(int(exit_.value.code or 0), captured.out, captured.err)

    return run


def new_edit(number: int, **fields: Any) -> NewEdit:
    """An edit made of nothing but numbers: the store does not mind."""
    rng = np.random.default_rng(number)
    keys = KeyRows(
        retrieval=rng.standard_normal((1, 8)).astype(np.float16),
        verification=rng.standard_normal((1, 4)).astype(np.float16),
    )
    given = {"prompt": f"prompt {number}", "target": f"target {number}", "calibration": 1, **fields}
    return NewEdit(keys=keys, weights=bytes([number]) * 64, **given)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of five edits; the fifth supersedes the first."""
    path = tmp_path / "store"
    manifest = StoreManifest(model_name="some-model", fingerprint={"model": "a", "tokenizer": "b"})
    with LmdbStore.create(path, manifest) as opened:
        opened.write(
            [
                new_edit(1, tags=("city", "old"), source="atlas"),
                new_edit(2, tags=("city",), source="atlas", paraphrases=("in other words",)),
                new_edit(3, tags=("river",), details={"loss": 0.25, "steps": 7}),
                new_edit(4, prompt="[bold]markup[/] in a prompt"),
            ]
        )
        opened.write([new_edit(5, prompt="prompt 1", supersedes=1)])
    return path
