"""The one place faiss is imported: refuses a broken installation with the fix, and keeps its threads to itself."""

from importlib import metadata
from typing import Any

from sola_index.errors import BackendError

BUILDS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


def installed_builds() -> list[str]:
    """Names of the installed distributions that provide the module ``faiss``."""
    found = []
    for build in BUILDS:
        try:
            metadata.version(build)
        except metadata.PackageNotFoundError:
            continue
        found.append(build)
    return found


def check_builds(builds: list[str]) -> None:
    """Refuse two builds in one environment: they overwrite each other's files and pip does not warn."""
    if len(builds) > 1:
        both = " and ".join(builds)
        fix = f"pip uninstall -y {' '.join(builds)} && pip install {builds[0]}"
        raise BackendError(f"{both} are both installed and break each other; fix: {fix}")


def load_faiss() -> Any:
    """The faiss module.

    Raises:
        BackendError: none is installed, or two that exclude each other.
    """
    check_builds(installed_builds())
    try:
        import faiss
    except ImportError as error:
        raise BackendError("faiss is not installed; fix: pip install 'faiss-cpu>=1.15,<1.16'") from error
    return faiss


faiss = load_faiss()


def use_one_thread() -> None:
    """Keep faiss to one thread in the calling thread only: OpenMP's setting belongs to each thread by itself."""
    faiss.omp_set_num_threads(1)
