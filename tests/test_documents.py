"""What the README and the documentation say is so: the example runs, the commands exist, the links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sola_scale.cli.app import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = {command.name for command in app.registered_commands}


def blocks(path: Path, language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.real
def test_the_readme_s_example_runs_as_written(tmp_path: Path) -> None:
    """The Python block of the README edits, answers, revokes and lists, copied out as it stands."""
    (example,) = blocks(ROOT / "README.md", "python")
    assert len(example.strip().splitlines()) <= 15
    run = subprocess.run(
        [sys.executable, "-c", example],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "PYTHONPATH": f"{ROOT}:{ROOT / 'index'}"},
    )
    lines = run.stdout.strip().splitlines()
    assert lines[0] == "Lyon by edit 1"
    assert lines[1].startswith("Paris")
    assert lines[-1] == "1 revoked The capital of France is -> Lyon"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_compile(path: Path) -> None:
    """Every Python block is Python."""
    for block in blocks(path, "python"):
        compile(block, str(path), "exec")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    """Every `sola` command that a document shows is one, and so is every `make` target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in (line for block in blocks(path, "bash") for line in block.splitlines()):
        words = shlex.split(line.split("|")[0], comments=True)
        if words[:1] == ["sola"]:
            assert words[1] in COMMANDS
        if words[:1] == ["make"]:
            assert words[1] in targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file that is there."""
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists()


def test_every_command_is_documented() -> None:
    """The page about the command line has a row for each command."""
    page = (ROOT / "docs" / "cli.md").read_text()
    assert all(f"`sola {name}" in page for name in COMMANDS)


def test_the_changelog_knows_the_version() -> None:
    """The newest heading of the changelog is the package's version."""
    from sola_scale import __version__

    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading.group(1).rstrip(",") == __version__


def test_no_placeholder_is_left() -> None:
    """No document promises figures or text that somebody was to fill in later."""
    for path in DOCUMENTS:
        assert not re.search(r"\b(TODO|TBD|FIXME|XXX|FIGURES)\b", path.read_text())
