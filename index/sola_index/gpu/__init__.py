"""The GPU tier: keys in device memory owned by the index, searched by brute force; needs faiss-gpu and torch."""

from sola_index.gpu.device import Device, cuda_device

__all__ = ["Device", "cuda_device"]
