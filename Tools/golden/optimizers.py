#!/usr/bin/env python3
"""Golden vectors of optimisers, for Tests/KernelsTests/Golden/optimizers.safetensors: updates of a matrix and a vector by
torch's SGD, transformers' Adafactor with what its Trainer sets, and bitsandbytes' Lion.

Needs torch, transformers, bitsandbytes, safetensors.
"""
import pathlib
import sys

sys.path.pop(0)  # bitsandbytes looks for a package called kernels, and would find kernels.py beside this file

import bitsandbytes
import torch
from safetensors.torch import save_file
from transformers.optimization import Adafactor

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "Tests/KernelsTests/Golden"
STEPS = 6
RATE = 1e-2

RULES = {
    "sgd": lambda parameters, decay: torch.optim.SGD(parameters, lr=RATE, weight_decay=decay),
    "adafactor": lambda parameters, decay: Adafactor(
        parameters, lr=RATE, weight_decay=decay, scale_parameter=False, relative_step=False),
    "lion": lambda parameters, decay: bitsandbytes.optim.Lion32bit(parameters, lr=RATE, weight_decay=decay),
}


def main():
    torch.manual_seed(11)
    start = {"matrix": torch.randn(6, 5) * 0.3, "vector": torch.randn(7) * 0.3}
    gradients = []
    for step in range(STEPS):
        scale = 10 ** (-2 + step / 2)  # from updates that Adafactor leaves alone to such as it clips
        one = {name: torch.randn_like(value) * scale for name, value in start.items()}
        one["matrix"][2] *= 1e-3
        if step == 0:  # as of LoRA's A, whose B is zero
            one["matrix"].zero_()
        gradients.append(one)
    tensors = {f"start.{name}": value for name, value in start.items()}
    for step, one in enumerate(gradients, 1):
        tensors |= {f"gradient.{step}.{name}": value for name, value in one.items()}
    for rule, make in RULES.items():
        for decay in (0.0, 0.1):
            parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
            optimizer = make(list(parameters.values()), decay)
            for step, one in enumerate(gradients, 1):
                for name, parameter in parameters.items():
                    parameter.grad = one[name].clone()
                optimizer.step()
                tensors |= {f"{rule}.{decay}.{step}.{name}": p.detach().clone() for name, p in parameters.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, GOLDEN / "optimizers.safetensors")


main()
