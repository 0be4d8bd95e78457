#!/usr/bin/env python3
"""Golden vectors of the kernels: AdamW with 8-bit moments as bitsandbytes computes it.

Writes into Tests/KernelsTests/Golden. Needs torch, bitsandbytes, safetensors.
"""
import pathlib

import bitsandbytes.backends.cpu.ops as cpu
import bitsandbytes.functional as functional
import torch
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "Tests/KernelsTests/Golden"
BLOCK = 256


def nearest(values, code, maxima, codes, block):
    """The nearest code, as bitsandbytes' CUDA kernel and its plain PyTorch version search it. Its CPU library looks up
    65,536 equal steps instead, which are too coarse for the smallest codes."""
    for number, part in enumerate(values.split(block)):
        maxima[number] = part.abs().max()
        scaled = part / maxima[number].clamp(min=1e-38)
        places = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2)
        codes[number * block:number * block + len(part)] = places.to(torch.uint8)


def main():
    torch.manual_seed(4)
    cpu._quant_blockwise_fp32_direct = nearest
    signed, unsigned = functional.create_dynamic_map(signed=True), functional.create_dynamic_map(signed=False)
    tensors = {"signed": signed, "unsigned": unsigned}
    # Two matrices: one block and a part of one, then two whole blocks, of which one has gradients of another size.
    for name, count in [("a", 300), ("b", 512)]:
        blocks = -(-count // BLOCK)
        parameters = torch.randn(count) * 0.1
        codes = [torch.zeros(count, dtype=torch.uint8) for _ in range(2)]
        maxima = [torch.zeros(blocks) for _ in range(2)]
        tensors[f"{name}.0.parameters"] = parameters.clone()
        for step in range(1, 5):
            # Magnitudes over two and a half orders: second moments stay above the least code.
            gradients = torch.randn(count).sign() * 10 ** (-2.5 * torch.rand(count))
            gradients[256:] *= 1e-4
            cpu._optimizer_update_8bit_blockwise_cpu(
                "adam", gradients, parameters, codes[0], codes[1], 0.9, 0.999, 0.0, 0.0, 1e-8, step, 1e-2, signed, unsigned,
                maxima[0], maxima[1], 0.1, 1.0)
            tensors |= {f"{name}.{step}.gradients": gradients, f"{name}.{step}.parameters": parameters.clone()}
            for moment in range(2):
                tensors |= {f"{name}.{step}.codes{moment + 1}": codes[moment].clone(),
                            f"{name}.{step}.absmax{moment + 1}": maxima[moment].clone()}
    save_file(tensors, GOLDEN / "adamw-8bit.safetensors")


main()
