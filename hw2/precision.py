"""Which number format to compute in."""

import torch


def wants_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: told so, or the processor multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
