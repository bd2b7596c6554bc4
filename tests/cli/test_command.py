"""The command line as a whole: help, exit codes, errors, start-up."""

import subprocess
import sys
from pathlib import Path

import pytest

from sola_scale.cli.app import app
from tests.cli.conftest import Sola

COMMANDS = [command.name for command in app.registered_commands]


def test_help_lists_every_command(sola: Sola) -> None:
    """`sola --help` names all commands and exits with 0."""
    run = sola("--help")
    assert run.code == 0
    assert all(name in run.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json_and_explains_itself(sola: Sola, name: str) -> None:
    """Each command has a help text of its own and the option --json."""
    run = sola(name, "--help")
    assert run.code == 0
    assert "--json" in run.out
    assert "Usage: sola " + name in run.out


def test_the_version_is_the_package_s(sola: Sola) -> None:
    """`sola --version` prints it."""
    from sola_scale import __version__

    assert sola("--version").out.strip() == __version__


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["list"], ["list", "a", "--limit", "0"], ["show", "a", "b"]]
)
def test_bad_usage_exits_with_2(sola: Sola, arguments: list[str]) -> None:
    """An unknown command, a missing argument or a bad value is the caller's fault."""
    run = sola(*arguments)
    assert run.code == 2
    assert run.out == ""


def test_an_error_is_one_line_and_says_what_to_do(sola: Sola, tmp_path: Path) -> None:
    """A missing store gives one line on stderr, nothing on stdout, exit code 1, no traceback."""
    run = sola("list", tmp_path / "none")
    assert run.code == 1
    assert run.out == ""
    assert run.err.startswith("error: ")
    assert len(run.err.strip().splitlines()) == 1


def test_an_error_is_an_object_where_json_is_asked(sola: Sola, tmp_path: Path) -> None:
    """With --json a program finds type and message of the error on stdout."""
    run = sola("list", tmp_path / "none", "--json")
    assert run.code == 1
    assert run.json["error"]["type"] == "StoreNotFoundError"
    assert run.json["error"]["message"]


def test_help_and_listing_load_no_torch(store: Path) -> None:
    """What needs no model starts without torch and transformers."""
    script = (
        "import sys; from sola_scale.cli import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code\n"
        "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules)"
    )
    for arguments in (["--help"], ["list", str(store)], ["revoke", str(store), "2"], ["stats", str(store)]):
        paths = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, env=paths, capture_output=True)
