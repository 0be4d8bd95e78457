#!/usr/bin/env python3
"""Bottleneck adapters as AdapterHub's `adapters` makes, reads and trains them, on the float32 weights of a store.

    adapterhub.py make STORE FOLDER CONFIG       an adapter with random parameters; CONFIG as `seq_bn[reduction_factor=4]`
    adapterhub.py measure STORE FOLDER TOKENS ROWS OUTPUT    logits, gradients in float64, and the losses of 20 steps

Runs in an environment of its own: `python3 -m venv --system-site-packages DIR; DIR/bin/pip install adapters==1.3.0`.
"""
import sys

import torch
from safetensors.torch import save_file

import adapters
import store as reference
import train_peft

NAME = "tiny"


def model_of(store):
    model = reference.load_model(store)
    adapters.init(model)
    return model


def make(store, folder, config):
    torch.manual_seed(7)
    model = model_of(store)
    model.add_adapter(NAME, config=config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if f".{NAME}." in name:
                parameter.normal_(std=0.1)
    model.save_adapter(folder, NAME, with_head=False, use_safetensors=True)


def measure(store, folder, tokens, rows, output):
    model = model_of(store)
    model.load_adapter(folder, load_as=NAME, with_head=False, use_safetensors=True)
    model.train_adapter(NAME)
    model.eval()
    losses = [told["loss"] for told in train_peft.train(model, reference.read_blocks(rows), 20, 4, 2e-3)]
    model = model_of(store)
    model.load_adapter(folder, load_as=NAME, with_head=False, use_safetensors=True)
    model.train_adapter(NAME)
    model = model.double().eval()
    blocks = reference.read_blocks(tokens)
    with reference.DoublePrecision():
        reference.mean_loss(model, blocks)[0].backward()
    told = {f"gradient.{name.replace(f'.adapters.{NAME}.', '.adapters.NAME.')}": parameter.grad.contiguous()
            for name, parameter in model.named_parameters() if f".adapters.{NAME}." in name}
    logits = reference.logits_in_double(model, blocks)
    save_file(told | {"losses": torch.tensor(losses), "logits": torch.cat(logits).contiguous()}, output)


if __name__ == "__main__":
    {"make": make, "measure": measure}[sys.argv[1]](*sys.argv[2:])
