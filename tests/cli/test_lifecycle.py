"""sola revoke, restore, purge, compact, backup: changing a store without its model."""

import io
from pathlib import Path

import pytest

from tests.cli.conftest import Sola


def statuses(sola: Sola, store: Path) -> dict[int, str]:
    """Edit id → status."""
    return {record["id"]: record["status"] for record in sola("list", store, "--json").lines}


def test_revoke_and_restore_by_id(sola: Sola, store: Path) -> None:
    """Revoking stops an edit, restoring undoes it, doing either twice changes nothing and is no failure."""
    assert sola("revoke", store, 2, 3, "--json").json == {"revoked": [2, 3], "resumed": [], "unchanged": []}
    assert statuses(sola, store)[2] == "revoked"
    again = sola("revoke", store, 2, 4)
    assert again.code == 0
    assert "revoked 1 edit; 1 edit already so" in again.out
    assert sola("restore", store, 2, "--json").json == {"restored": [2], "resumed": [], "unchanged": []}
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


def test_a_dry_run_tells_and_changes_nothing(sola: Sola, store: Path) -> None:
    """What would be revoked, what would serve again and what is so already are shown; the store stays as it was."""
    sola("revoke", store, 2)
    before = (store / "edits.lmdb").read_bytes()
    assert sola("revoke", store, 2, 5, "--dry-run", "--json").json == {
        "would_revoke": [5],
        "resumed": [1],
        "unchanged": [2],
    }
    shown = sola("revoke", store, 2, 5, "--dry-run").out
    assert "prompt 1" in shown
    assert "would revoke 1 edit; 1 edit they had superseded would serve again; 1 edit already so" in shown
    assert "nothing was changed" in shown
    assert (store / "edits.lmdb").read_bytes() == before
    assert sola("purge", store, "--tag", "city", "--dry-run", "--json").json["would_purge"] == [1, 2]
    assert sola("revoke", store, 99, "--dry-run").code == 1


def test_a_dry_run_says_what_the_real_one_does(sola: Sola, store: Path) -> None:
    """The same selection, rehearsed and done, names the same edits."""
    sola("revoke", store, 3)
    for verb, past in (("revoke", "revoked"), ("restore", "restored")):
        told = sola(verb, store, 1, 3, 5, "--dry-run", "--json").json
        done = sola(verb, store, 1, 3, 5, "--json").json
        assert {past: told.pop(f"would_{verb}"), **told} == done


def test_selection_by_time_and_prompt(sola: Sola, store: Path) -> None:
    """Edits are found by when they were written, relative or absolute, and by a part of their prompt."""
    assert sola("revoke", store, "--since", "2020-01-01", "--until", "1h", "--json").json["revoked"] == []
    assert sola("revoke", store, "--until", "2020-01-01T10:00+02:00", "--json").json["revoked"] == []
    assert sola("revoke", store, "--since", "1h", "--contains", "PROMPT 3", "--json").json["revoked"] == [3]
    assert sola("revoke", store, "--since", "yesterday").code == 2
    assert [one["id"] for one in sola("list", store, "--since", "1h", "--json").lines] == [1, 2, 3, 4, 5]
    assert sola("list", store, "--until", "1h", "--json").lines == []


def test_selection_by_a_list_of_ids(
    sola: Sola, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids come from a file or stdin, one a line or as what `sola list --json` prints; anything else is bad usage."""
    listed = tmp_path / "ids"
    listed.write_text("3\n\n2\n")
    assert sola("revoke", store, "--ids-from", listed, "--json").json["revoked"] == [3, 2]
    monkeypatch.setattr("sys.stdin", io.StringIO(sola("list", store, "--status", "revoked", "--json").out))
    assert sola("restore", store, "--ids-from", "-", "--json").json["restored"] == [2, 3]
    for bad in ("three", "-1", "true", '{"name": 3}', "[3]"):
        listed.write_text(f"4\n{bad}\n")
        assert sola("revoke", store, "--ids-from", listed).code == 2
    assert sola("revoke", store, "--ids-from", tmp_path / "none").code == 2
    assert statuses(sola, store)[4] == "live"


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
