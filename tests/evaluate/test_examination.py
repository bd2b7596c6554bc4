"""The examination of edits on a tiny model: what it finds, and that it goes on where it was broken off."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sola_scale import Editor
from sola_scale.errors import RequestError
from sola_scale.evaluate.cases import Case, read_cases
from sola_scale.evaluate.examination import Finding, FindingsFile, examine
from sola_scale.evaluate.fluency import after_the_answer, of_unrelated_prompts
from tests.tiny import tiny_backbone, tiny_recipe

RECORDS = [
    {"prompt": "The capital of France is", "target_new": "Lyon", "rephrase_prompt": "France's capital is"},
    {"prompt": "Who wrote Hamlet?", "target_new": "Bob", "rephrase_prompt": "Hamlet was written by"},
    {"prompt": "x" * 400, "target_new": "too long"},
    {"prompt": "The capital of France is", "target_new": "Nice", "rephrase_prompt": "France's capital is"},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set with an edit that fails and one that a later record replaces."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in RECORDS) + "no record\n")
    return path


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    """A store on a tiny model."""
    with Editor.open(tmp_path / "store", tiny_backbone(), recipe=tiny_recipe(0.05)) as opened:
        yield opened


def ignore(_finding: Finding) -> None:
    """Nobody watches."""


def test_held_back_wordings_are_not_trained_on(data: Path) -> None:
    """A case's request names no paraphrase: those of the record are asked, not taught."""
    cases = list(read_cases(data))
    assert [case.line for case in cases] == [1, 2, 3, 4]
    assert all(not case.request.paraphrases for case in cases)
    assert cases[1].reworded == ("Hamlet was written by",)
    assert [case.line for case in read_cases(data, skip=1, limit=2)] == [2, 3]


def test_every_case_comes_to_a_finding(editor: Editor, data: Path) -> None:
    """Edits that hold are examined; one that failed and one that was replaced say so; the order is the file's."""
    findings = examine(editor, read_cases(data), FindingsFile(None), ignore)
    assert [one.status for one in findings] == ["replaced", "held", "failed", "held"]
    assert [one.exact for one in findings] == [False, True, False, True]
    assert findings[1].answer.strip() == "Bob"
    assert findings[1].reworded == 1
    assert findings[1].bytes > 0
    assert "256" in (findings[2].reason or "")


def test_a_broken_run_goes_on(
    editor: Editor, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written down is neither trained nor asked again, a line torn by the end is done anew."""
    path = tmp_path / "findings.jsonl"
    whole = examine(editor, read_cases(data), FindingsFile(path), ignore)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:20]]))
    assert examine(editor, read_cases(data), FindingsFile(path), ignore)[:2] == whole[:2]
    monkeypatch.setattr(Editor, "ingest", lambda *_, **__: pytest.fail("trained again"))
    again = examine(editor, read_cases(data), FindingsFile(path), ignore)
    assert [one.status for one in again] == [one.status for one in whole]


def test_findings_of_another_data_set_are_refused(editor: Editor, data: Path, tmp_path: Path) -> None:
    """A file of findings goes with its data set; anything else is an error, not a wrong figure."""
    path = tmp_path / "findings.jsonl"
    examine(editor, read_cases(data, limit=2), FindingsFile(path), ignore)
    other = [Case(line=1, request=case.request, reworded=()) for case in read_cases(data, skip=1, limit=1)]
    with pytest.raises(RequestError):
        examine(editor, other, FindingsFile(path), ignore)
    path.write_text("nonsense\n{}\n")
    with pytest.raises(RequestError):
        FindingsFile(path)


def test_fluency_compares_with_the_base_model(editor: Editor, data: Path) -> None:
    """Unrelated prompts fire nothing, so that both models write the same; after an answer they need not."""
    findings = [one for one in examine(editor, read_cases(data), FindingsFile(None), ignore) if one.edit_id]
    held = [one for one in findings if one.exact]
    after = after_the_answer(
        editor,
        [one.prompt for one in held],
        [one.answer for one in held],
        [one.edit_id or 0 for one in held],
    )
    assert after.texts == len(held)
    assert after.base > 0
    unrelated = of_unrelated_prompts(editor)
    assert unrelated.same == 1.0
    assert unrelated.edited == unrelated.base
