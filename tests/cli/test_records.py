"""sola list, show: reading a store without its model."""

from pathlib import Path

import pytest

from tests.cli.conftest import Sola


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], [1, 2, 3, 4, 5]),
        (["--status", "live"], [2, 3, 4, 5]),
        (["--status", "superseded"], [1]),
        (["--tag", "city"], [1, 2]),
        (["--tag", "city", "--tag", "old"], [1]),
        (["--source", "atlas"], [1, 2]),
        (["--contains", "PROMPT 1"], [1, 5]),
        (["--limit", "2"], [1, 2]),
    ],
)
def test_list_filters(sola: Sola, store: Path, options: list[str], ids: list[int]) -> None:
    """Every filter leaves the right edits, in the order they were written."""
    assert [record["id"] for record in sola("list", store, *options, "--json").lines] == ids


def test_a_listing_that_goes_on_says_so(sola: Sola, store: Path) -> None:
    """The table shows as many as asked, and stderr says that there are more, but only if there are."""
    run = sola("list", store, "--limit", "2")
    assert "prompt 2" in run.out
    assert "prompt 3" not in run.out
    assert "more" in run.err
    assert sola("list", store, "--limit", "5").err == ""


def test_markup_in_a_text_is_text(sola: Sola, store: Path) -> None:
    """A prompt with brackets is shown as it is."""
    assert "[bold]markup[/] in a prompt" in sola("list", store).out
    assert "[bold]markup[/] in a prompt" in sola("show", store, 4).out


def test_show_tells_all_of_an_edit(sola: Sola, store: Path) -> None:
    """Paraphrases, figures, history and chain are there, for people and for programs."""
    shown = sola("show", store, 2, 3).out
    assert all(text in shown for text in ("in other words", "atlas", "0.25", "write"))
    first, fifth = sola("show", store, 1, 5, "--json").lines
    assert first["chain"] == fifth["chain"] == [1, 5]
    assert first["status"] == "superseded"
    assert fifth["supersedes"] == 1


def test_show_refuses_an_unknown_edit(sola: Sola, store: Path) -> None:
    """The error names the id."""
    run = sola("show", store, 77)
    assert run.code == 1
    assert "77" in run.err
