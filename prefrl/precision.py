"""Convolutions in bfloat16, where the processor has instructions for it: about twice as fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor


def bfloat16(tensor: Tensor) -> torch.autocast:
    """A context in which convolutions of such tensors are computed in bfloat16, where that pays.

    Emulated, as on processors without AVX-512 BF16 or AMX, it would be slower than float32.
    Weights, gradients and optimisers stay in float32.
    """
    device = tensor.device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=_native(device))


def to_working_type(tensor: Tensor) -> Tensor:
    """Numbers of the type that `bfloat16` computes with: bytes become it without a detour."""
    return tensor.to(torch.bfloat16 if _native(tensor.device.type) else torch.float32)


def _native(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch do not tell.
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return device == "cpu" and bool(found.get("avx512_bf16") or found.get("amx_bf16"))


class Bfloat16CNN(NatureCNN):
    """SB3's features of images (Mnih et al. 2015), convolved in bfloat16 where that pays."""

    def forward(self, observations: Tensor) -> Tensor:
        with bfloat16(observations):
            return super().forward(observations).float()
