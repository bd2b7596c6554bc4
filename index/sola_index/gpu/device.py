"""The seam to the GPU: the few things the index asks of a device, and their CUDA form."""

from typing import Any, Protocol

import numpy as np

from sola_index.backend import faiss
from sola_index.contract import Floats, Rows
from sola_index.errors import DeviceError

# Shapes: M queries, N keys, D dimensions, K answers, S slots.


class Device(Protocol):
    """Memory and kernels; every method is called by one thread at a time."""

    def reserve(self, slots: int, dim: int) -> None:
        """Make room for so many keys, keeping those that are there."""

    def write(self, start: int, keys_ND: Floats) -> None:
        """Put keys into the slots from ``start`` on."""

    def move(self, source: int, target: int) -> None:
        """Copy one slot onto another."""

    def nearest(self, slots: int, queries_MD: Floats, k: int) -> Rows:
        """The k nearest of the first ``slots`` slots by brute force, int64 [M, K]."""

    def clone(self, index: Any) -> Any:
        """A read-only copy of a faiss CPU index on the device."""


def cuda_device(number: int = 0) -> Device:
    """The CUDA device of this number.

    Raises:
        DeviceError: faiss sees no such device, or torch is missing. Nothing of faiss's GPU half is called before that
            is known: without a device ``knn_gpu`` does not raise, it ends the process.
    """
    devices = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    if number >= devices:
        fix = "install faiss-gpu instead of faiss-cpu, on a machine with an NVIDIA driver"
        raise DeviceError(f"faiss sees {devices} GPUs and was asked for number {number}; {fix}")
    try:
        return _CudaDevice(number)
    except ImportError as error:
        raise DeviceError("the GPU tier keeps its keys in a torch tensor; fix: pip install torch") from error


class _CudaDevice:
    """Keys as one float16 tensor; faiss's brute-force kernel reads it where it lies."""

    def __init__(self, number: int) -> None:
        import torch

        self._torch = torch
        self._number = number
        self._resources = faiss.StandardGpuResources()
        self._keys_SD = torch.empty((0, 0), dtype=torch.float16, device=f"cuda:{number}")

    def reserve(self, slots: int, dim: int) -> None:
        larger_SD = self._torch.empty((slots, dim), dtype=self._torch.float16, device=self._keys_SD.device)
        if len(self._keys_SD):
            larger_SD[: len(self._keys_SD)] = self._keys_SD
        self._keys_SD = larger_SD

    def write(self, start: int, keys_ND: Floats) -> None:
        keys = self._torch.from_numpy(np.ascontiguousarray(keys_ND))
        self._keys_SD[start : start + len(keys)] = keys.to(self._keys_SD.device, self._torch.float16)

    def move(self, source: int, target: int) -> None:
        self._keys_SD[target] = self._keys_SD[source]

    def nearest(self, slots: int, queries_MD: Floats, k: int) -> Rows:
        queries = self._torch.from_numpy(np.ascontiguousarray(queries_MD))
        queries = queries.to(self._keys_SD.device, self._torch.float16)
        # faiss runs on a stream of its own: what torch has queued must be there first.
        self._torch.cuda.synchronize(self._number)
        _, slots_MK = faiss.knn_gpu(self._resources, queries, self._keys_SD[:slots], k, device=self._number)
        return np.asarray(slots_MK.cpu().numpy(), np.int64)

    def clone(self, index: Any) -> Any:
        return faiss.index_cpu_to_gpu(self._resources, self._number, index)
