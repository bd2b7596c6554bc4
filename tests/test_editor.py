"""The Editor, end to end on a tiny model: ingest, route, generate, revoke, restore, reopen."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sola_scale import Editor, EditRequest
from sola_scale.backbone import Backbone
from sola_scale.errors import (
    EditStateError,
    FingerprintMismatchError,
    ModelError,
    RequestError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
    StoreReadOnlyError,
    UnknownEditError,
)
from sola_scale.requests import BadRecord
from sola_scale.serving import reports
from tests.tiny import tiny_backbone, tiny_recipe

FRANCE = EditRequest("The capital of France is", "Lyon", tags=("geo",))
HAMLET = EditRequest("Who wrote Hamlet?", "Bob", paraphrases=("Hamlet was written by",), source="test")
REQUESTS = [FRANCE, HAMLET]
PROMPTS = [FRANCE.prompt, HAMLET.prompt, "zzz 123"]


@pytest.fixture
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture
def editor(tmp_path: Path, backbone: Backbone) -> Iterator[Editor]:
    with Editor.open(tmp_path / "store", backbone, recipe=tiny_recipe(0.05)) as opened:
        yield opened


@pytest.fixture
def edited(editor: Editor) -> Editor:
    assert sorted(editor.ingest(REQUESTS).written) == [1, 2]
    return editor


def says(editor: Editor, prompt: str) -> str:
    return editor.generate([prompt], max_new_tokens=8)[0].text.strip()


def edit_of(editor: Editor, prompt: str) -> int:
    return next(record.id for record in editor.edits(status="live") if record.prompt == prompt)


def test_a_named_edit_answers_whatever_the_router_says(edited: Editor) -> None:
    """Prompts are answered by the edits that the caller names, None being the base model, and nothing is routed."""
    with edited.disabled():
        base = [one.text for one in edited.generate(PROMPTS, max_new_tokens=8)]
    hamlet = edit_of(edited, HAMLET.prompt)
    given = edited.generate(PROMPTS, edits=[None, hamlet, None], max_new_tokens=8, batch_size=2)
    assert [one.route for one in given] == [None] * 3
    assert [one.text for one in given] == [base[0], says(edited, HAMLET.prompt).join((" ", "")), base[2]]


def test_naming_edits_wrongly_is_refused(edited: Editor) -> None:
    """There must be as many edits as prompts, and each must exist and be live: a revoked edit answers nobody."""
    with pytest.raises(RequestError):
        edited.generate(PROMPTS, edits=[None])
    with pytest.raises(UnknownEditError):
        edited.generate(PROMPTS[:1], edits=[99], max_new_tokens=2)
    edited.revoke(1)
    with pytest.raises(EditStateError):
        edited.generate(PROMPTS[:1], edits=[1], max_new_tokens=2)


def base_logits(editor: Editor) -> torch.Tensor:
    with editor.disabled():
        return editor.logits(PROMPTS)


def test_edited_prompts_and_their_paraphrases_say_the_target(edited: Editor) -> None:
    """Free generation gives the target and stops; a given paraphrase follows; another prompt is the base model's."""
    answers = edited.generate([*PROMPTS, *HAMLET.paraphrases], max_new_tokens=8)
    assert [answer.text.strip() for answer in answers[:2]] == ["Lyon", "Bob"]
    assert answers[3].text.strip() == "Bob"
    assert answers[2].route is not None
    assert answers[2].route.edit_id is None
    with edited.disabled():
        plain = edited.generate([*PROMPTS, *HAMLET.paraphrases], max_new_tokens=8)
    assert plain[2].token_ids == answers[2].token_ids
    assert [answer.route for answer in plain] == [None] * 4


def test_rows_that_fire_nothing_are_bit_identical(edited: Editor) -> None:
    """In a mixed batch the row that fires nothing has the base model's logits, bit for bit."""
    routed, base = edited.logits(PROMPTS), base_logits(edited)
    assert torch.equal(routed[2], base[2])
    assert not torch.equal(routed[0], base[0])


def test_route_agrees_with_generation(edited: Editor) -> None:
    """`route` names the edits that generation fires."""
    routes = edited.route(PROMPTS)
    fired = [answer.route.edit_id for answer in edited.generate(PROMPTS, max_new_tokens=1) if answer.route]
    assert [route.edit_id for route in routes] == fired
    assert routes[0].candidates[0].edit_id == routes[0].edit_id


def test_revocation_is_exact_and_reversible(edited: Editor, tmp_path: Path) -> None:
    """After revoke the logits are the base model's bit for bit, also reopened; restore brings the edit back alike."""
    before, base = edited.logits(PROMPTS), base_logits(edited)
    ids = [record.id for record in edited.edits()]
    assert sorted(edited.revoke(ids)) == ids
    assert edited.revoke(ids) == []
    assert torch.equal(edited.logits(PROMPTS), base)
    edited.close()
    with Editor.open(tmp_path / "store", tiny_backbone()) as again:
        assert torch.equal(again.logits(PROMPTS), base)
        assert sorted(again.restore(ids)) == ids
        assert torch.equal(again.logits(PROMPTS), before)


def test_a_newer_edit_takes_over_and_gives_back(edited: Editor) -> None:
    """An edit of a known prompt supersedes the older one; revoking it brings the older one back."""
    report = edited.ingest([EditRequest(HAMLET.prompt, "Ann")])
    assert report.outcomes[0].status == "superseded"
    assert report.outcomes[0].replaced == 1 or report.outcomes[0].replaced == 2
    assert says(edited, HAMLET.prompt) == "Ann"
    edited.revoke(report.written)
    assert says(edited, HAMLET.prompt) == "Bob"
    edited.restore(report.written)
    assert says(edited, HAMLET.prompt) == "Ann"


def test_every_request_meets_its_outcome(edited: Editor) -> None:
    """Duplicates, conflicts and bad records are told apart, and do not stop the job."""
    seen: list[str] = []
    report = edited.ingest(
        [
            FRANCE,
            BadRecord(7, "broken JSON"),
            EditRequest("The moon is", "made"),
            EditRequest("The moon is", "big"),
        ],
        on_outcome=lambda outcome: seen.append(outcome.status),
    )
    assert sorted(seen) == ["duplicate", "failed", "superseded", "written"]
    assert report.counts == {"duplicate": 1, "failed": 1, "superseded": 1, "written": 1}
    assert [outcome.line for outcome in report.outcomes if outcome.status == "failed"] == [7]
    assert says(edited, "The moon is") == "big"


@pytest.mark.parametrize(("policy", "status"), [("reject", "failed"), ("keep-first", "rejected")])
def test_a_conflict_follows_the_policy(edited: Editor, policy: str, status: str) -> None:
    """With `reject` a conflicting request fails, with `keep-first` it is passed over; the older edit stays."""
    report = edited.ingest([EditRequest(FRANCE.prompt, "Nice")], on_conflict=policy)  # type: ignore[arg-type]
    assert [outcome.status for outcome in report.outcomes] == [status]
    assert says(edited, FRANCE.prompt) == "Lyon"


def test_what_the_base_model_says_anyway_is_not_stored(editor: Editor) -> None:
    """A target that the base model produces already is reported and costs no edit."""
    with editor.disabled():
        already = editor.generate(["zzz 123"], max_new_tokens=3)[0].text.strip()
    if not already:
        pytest.skip("the random model answers with white space")
    report = editor.ingest([EditRequest("zzz 123", already)])
    assert report.outcomes[0].status in {"already-true", "written"}
    assert len(list(editor.edits())) == len(report.written)


def test_filters_find_edits(edited: Editor) -> None:
    """Records are found by tag, source, status and text."""
    assert [record.target for record in edited.edits(tags=("geo",))] == ["Lyon"]
    assert [record.target for record in edited.edits(source="test")] == ["Bob"]
    assert [record.target for record in edited.edits(prompt_contains="Hamlet")] == ["Bob"]
    with pytest.raises(UnknownEditError):
        edited.edit(99)


def test_a_purged_edit_is_gone(edited: Editor) -> None:
    """Purging erases the text and the answer for good."""
    edit_id = edit_of(edited, HAMLET.prompt)
    edited.purge(edit_id)
    assert edited.edit(edit_id).target == ""
    assert torch.equal(edited.logits(PROMPTS)[1], base_logits(edited)[1])
    with pytest.raises(Exception, match="purged"):
        edited.restore(edit_id)


def test_the_index_folder_is_only_a_cache(edited: Editor, tmp_path: Path) -> None:
    """Deleting or damaging the index folder loses nothing."""
    edited.close()
    folder = tmp_path / "store" / "index"
    assert folder.exists()
    shutil.rmtree(folder)
    with Editor.open(tmp_path / "store", tiny_backbone()) as again:
        assert says(again, HAMLET.prompt) == "Bob"
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with Editor.open(tmp_path / "store", tiny_backbone()) as again:
        assert says(again, HAMLET.prompt) == "Bob"
        assert again.verify().ok


def test_another_model_is_refused(edited: Editor, tmp_path: Path) -> None:
    """A store opens only against the model it was made with, and says why not."""
    edited.close()
    with pytest.raises(FingerprintMismatchError, match="model"):
        Editor.open(tmp_path / "store", tiny_backbone(seed=5))


def test_two_editors_live_in_one_process(edited: Editor, tmp_path: Path) -> None:
    """Two editors on two models do not meet; one model or one store cannot carry two."""
    with Editor.open(tmp_path / "other", tiny_backbone(), recipe=tiny_recipe(0.05)) as other:
        other.ingest([EditRequest(HAMLET.prompt, "Eve")])
        assert says(edited, HAMLET.prompt) == "Bob"
        assert says(other, HAMLET.prompt) == "Eve"
    with pytest.raises(ModelError, match="another editor"):
        Editor.open(tmp_path / "third", edited.backbone, recipe=tiny_recipe())
    with pytest.raises(StoreLockedError):
        Editor.open(tmp_path / "store", tiny_backbone())


def test_a_reader_follows_the_writer(edited: Editor, tmp_path: Path) -> None:
    """A read-only editor sees new edits and revocations without reopening, and cannot write."""
    with Editor.open(tmp_path / "store", tiny_backbone(), read_only=True) as reader:
        assert says(reader, HAMLET.prompt) == "Bob"
        edited.revoke(edit_of(edited, HAMLET.prompt))
        edited.ingest([EditRequest("The moon is", "made")])
        assert torch.equal(reader.logits(PROMPTS)[1], base_logits(reader)[1])
        assert says(reader, "The moon is") == "made"
        with pytest.raises(StoreReadOnlyError):
            reader.ingest(REQUESTS)
        with pytest.raises(StoreReadOnlyError):
            reader.revoke(1)


def test_bad_prompts_are_refused(edited: Editor) -> None:
    """An empty prompt, a lone string and a prompt beyond the context are named errors."""
    with pytest.raises(RequestError, match="prompt 1"):
        edited.generate(["fine", " "])
    with pytest.raises(RequestError, match="list"):
        edited.route("a lone string")
    with pytest.raises(RequestError, match="context"):
        edited.generate(["long " * 100])


def test_opening_nothing_is_an_error(tmp_path: Path, backbone: Backbone) -> None:
    """A missing store without `create`, and a folder with something else in it, are named errors."""
    with pytest.raises(StoreNotFoundError):
        Editor.open(tmp_path / "none", backbone, create=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        Editor.open(tmp_path / "other", backbone)


def test_slots_too_few_for_a_batch_change_no_answer(tmp_path: Path) -> None:
    """With one slot a layout, a batch of several edits still answers each prompt with its own edit."""
    with Editor.open(tmp_path / "s", tiny_backbone(), recipe=tiny_recipe(0.05), slot_memory=1) as editor:
        editor.ingest(REQUESTS)
        answers = editor.generate(PROMPTS[:2] * 2, max_new_tokens=8)
        assert [answer.text.strip() for answer in answers] == ["Lyon", "Bob"] * 2


def test_statistics_count(edited: Editor) -> None:
    """Statistics tell edits, slots and routed prompts; another process finds the same beside the store."""
    edited.generate(PROMPTS, max_new_tokens=1)
    stats = edited.stats()
    assert (stats.registered, stats.live, stats.revoked, stats.resident) == (2, 2, 0, 2)
    assert (stats.slots.hits, stats.slots.misses, stats.slots.staging.count) == (0, 2, 1)
    assert stats.routing.count == 3
    assert stats.routing.quantile(0.5) > 0
    edited.revoke(1)
    assert (edited.stats().live, edited.stats().revoked, edited.stats().resident) == (1, 1, 1)
    edited.close()
    (report,) = reports(edited.path)
    assert (report.slots.misses, report.routing) == (2, stats.routing)
