"""Collisions among the edits of a store and those of one job, and what each policy makes of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sola_scale import Editor, EditRequest, ingest
from sola_scale.ingest import Outcome
from sola_scale.store import EditStatus
from tests.tiny import tiny_backbone, tiny_recipe

OTHER = EditRequest("The capital of France is", "Lyon")
FIRST, NEAR, FAR = (
    EditRequest(prompt, target)
    for prompt, target in (
        ("Who wrote Hamlet?", "Bob"),
        ("Who wrote Hamlet??", "Ann"),
        ("Who wrote Hamlet..", "Tom"),
    )
)
POLICIES = [("coexist", "written"), ("supersede", "superseded"), ("reject", "rejected")]


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Editor]:
    """An editor of which a job's requests are settled as one group, however slow the machine is."""
    monkeypatch.setattr(ingest, "_GROUP_SECONDS", 1e9)
    with Editor.open(tmp_path / "s", tiny_backbone(), recipe=tiny_recipe(0.4)) as opened:
        yield opened


def outcomes_of(editor: Editor, requests: list[EditRequest], policy: str) -> dict[str | None, Outcome]:
    report = editor.ingest(requests, on_collision=policy)  # type: ignore[arg-type]
    assert len(report.outcomes) == len(requests)
    return {outcome.prompt: outcome for outcome in report.outcomes}


def live(editor: Editor) -> set[str]:
    """Prompts of the edits that are live, each of which answers its own prompt."""
    records = [record for record in editor.edits() if record.status is EditStatus.LIVE]
    routes = editor.route([record.prompt for record in records])
    assert [route.edit_id for route in routes] == [record.id for record in records]
    return {record.prompt for record in records}


@pytest.mark.parametrize(("policy", "status"), POLICIES)
def test_a_collision_follows_the_policy(editor: Editor, policy: str, status: str) -> None:
    """A prompt inside another edit's firing region is reported; both stay, the newer takes over, or it is refused."""
    written = editor.ingest([FIRST]).written[0]
    assert editor.route([NEAR.prompt])[0].edit_id == written
    outcome = outcomes_of(editor, [NEAR], policy)[NEAR.prompt]
    assert (outcome.status, outcome.collides, outcome.told_apart) == (status, written, False)
    newer = outcome.edit_id
    fired = [route.edit_id for route in editor.route([FIRST.prompt, NEAR.prompt])]
    wanted = {"coexist": [written, newer], "supersede": [newer, newer], "reject": [written] * 2}
    assert fired == wanted[policy]
    if newer is not None:
        assert editor.generate([NEAR.prompt], max_new_tokens=8)[0].text.strip() == "Ann"
        editor.revoke(newer)
        assert editor.route([NEAR.prompt])[0].edit_id == written


@pytest.mark.parametrize(("policy", "status"), POLICIES)
def test_prompts_of_one_job_collide_as_those_of_two(editor: Editor, policy: str, status: str) -> None:
    """A prompt that fires an edit of its own job, not yet written when it was trained, is reported and follows the policy."""
    of = outcomes_of(editor, [OTHER, FIRST, NEAR], policy)
    assert of[OTHER.prompt].collides is None
    # which one trains first is the trainer's affair
    older, newer = sorted((of[FIRST.prompt], of[NEAR.prompt]), key=lambda one: one.collides is not None)
    assert (older.status, older.collides, older.told_apart) == ("written", None, None)
    assert (newer.status, newer.collides, newer.told_apart) == (status, older.edit_id, False)
    assert newer.replaced == (older.edit_id if policy == "supersede" else None)
    gone = {"coexist": set(), "supersede": {older.prompt}, "reject": {newer.prompt}}[policy]
    assert live(editor) == {OTHER.prompt, FIRST.prompt, NEAR.prompt} - gone


@pytest.mark.parametrize("written_before", [True, False])
def test_one_edit_is_taken_over_by_one_other(editor: Editor, written_before: bool) -> None:
    """Where two prompts of a job fire one edit and would take over from it, nothing that is reported as written is lost."""
    if written_before:
        editor.ingest([FIRST])
    job = [NEAR, FAR] if written_before else [FIRST, NEAR, FAR]
    of = outcomes_of(editor, job, "supersede")
    replaced = [one.replaced for one in of.values() if one.replaced is not None]
    assert replaced
    assert len(set(replaced)) == len(replaced)
    prompt_of = {record.id: record.prompt for record in editor.edits()}
    assert live(editor) == set(prompt_of.values()) - {prompt_of[edit_id] for edit_id in replaced}


def test_a_job_of_takeovers_can_be_run_again(editor: Editor) -> None:
    """Run a second time, a job changes nothing: what was taken over from stays so, and is reported as there already."""
    outcomes_of(editor, [OTHER, FIRST, NEAR], "supersede")
    before = live(editor)
    again = outcomes_of(editor, [OTHER, FIRST, NEAR], "supersede")
    assert {outcome.status for outcome in again.values()} == {"duplicate"}
    assert live(editor) == before
    (taken,) = [one for one in again.values() if one.reason and "took over" in one.reason]
    assert taken.prompt not in live(editor)


def test_what_was_revoked_can_be_written_again(editor: Editor) -> None:
    """An edit that was taken over from and then revoked is no duplicate: asked for again, it takes over in its turn."""
    of = outcomes_of(editor, [FIRST, NEAR], "supersede")
    (heir,) = [one for one in of.values() if one.replaced is not None]
    (older,) = [one for one in of.values() if one.replaced is None]
    editor.revoke(older.edit_id)
    request = FIRST if older.prompt == FIRST.prompt else NEAR
    again = outcomes_of(editor, [request], "supersede")[request.prompt]
    assert (again.status, again.replaced) == ("superseded", heir.edit_id)
    assert live(editor) == {request.prompt}


def test_an_update_meets_what_took_over_from_its_edit(editor: Editor) -> None:
    """A new target for a prompt whose edit another prompt of the job takes over from leaves one of them live, and none lost unsaid."""
    editor.ingest([FIRST])
    of = outcomes_of(editor, [NEAR, EditRequest(FIRST.prompt, "Tom")], "supersede")
    assert {one.status for one in of.values()} == {"superseded"}
    replaced = [one.replaced for one in of.values()]
    assert len(set(replaced)) == 2
    assert len(live(editor)) == 1
