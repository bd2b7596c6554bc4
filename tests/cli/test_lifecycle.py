"""sola revoke, restore, purge, compact, backup: changing a store without its model."""

from pathlib import Path

import pytest

from tests.cli.conftest import Sola


def statuses(sola: Sola, store: Path) -> dict[int, str]:
    """Edit id → status."""
    return {record["id"]: record["status"] for record in sola("list", store, "--json").lines}


def test_revoke_and_restore_by_id(sola: Sola, store: Path) -> None:
    """Revoking stops an edit, restoring undoes it, doing either twice changes nothing and is no failure."""
    assert sola("revoke", store, 2, 3, "--json").json == {"revoked": [2, 3], "unchanged": []}
    assert statuses(sola, store)[2] == "revoked"
    again = sola("revoke", store, 2, 4)
    assert again.code == 0
    assert "revoked 1 edit; 1 edit already so" in again.out
    assert sola("restore", store, 2, "--json").json == {"restored": [2], "unchanged": []}
    assert statuses(sola, store)[2] == "live"


def test_revoking_a_superseding_edit_brings_the_older_one_back(sola: Sola, store: Path) -> None:
    """The chain's predecessor is live again."""
    sola("revoke", store, 5)
    assert statuses(sola, store)[1] == "live"


def test_revoke_by_source(sola: Sola, store: Path) -> None:
    """All edits of a source can be taken back at once."""
    sola("revoke", store, "--source", "atlas")
    assert {edit_id for edit_id, status in statuses(sola, store).items() if status == "revoked"} == {1, 2}


def test_an_unknown_id_changes_nothing(sola: Sola, store: Path) -> None:
    """One unknown id among good ones fails the command before anything is changed."""
    run = sola("revoke", store, 2, 99)
    assert run.code == 1
    assert "99" in run.err
    assert statuses(sola, store)[2] == "live"


@pytest.mark.parametrize("arguments", [[], [2, "--tag", "city"]])
def test_edits_are_named_in_one_way(sola: Sola, store: Path, arguments: list[object]) -> None:
    """Neither ids nor a filter, or both, is bad usage."""
    assert sola("revoke", store, *arguments).code == 2


def test_purge_asks_first(sola: Sola, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes and without anybody to answer, nothing is erased; with it, text is gone for good."""
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115 - nobody answers
    assert sola("purge", store, 2).code == 1
    assert statuses(sola, store)[2] == "live"
    assert sola("purge", store, 2, "--yes", "--json").json["purged"] == [2]
    assert sola("show", store, 2, "--json").json["prompt"] == ""
    assert sola("restore", store, 2).code == 1


def test_compact_takes_purged_bytes_off_the_disk(sola: Sola, store: Path) -> None:
    """After purge and compact the text is nowhere in the file."""
    sola("purge", store, 2, "--yes")
    assert sola("compact", store).code == 0
    assert b"in other words" not in (store / "edits.lmdb").read_bytes()
    assert statuses(sola, store)[3] == "live"


def test_a_backup_is_a_store(sola: Sola, store: Path, tmp_path: Path) -> None:
    """The copy lists the same edits; an existing folder with a store is not overwritten."""
    assert sola("backup", store, tmp_path / "copy").code == 0
    assert statuses(sola, tmp_path / "copy") == statuses(sola, store)
    assert sola("backup", store, tmp_path / "copy").code == 1
