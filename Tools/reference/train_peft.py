#!/usr/bin/env python3
"""Trains a PEFT LoRA adapter in float32 on the dequantised weights of a store: the run that edge-lora must reproduce.

Batches are the lines of the file in their order, --batch lines a step, from the start again at the end. AdamW as
torch has it. Writes OUTPUT/metrics.jsonl (step, loss, learning_rate, grad_norm) and the adapter.
"""
import argparse
import json
import pathlib

import torch
from transformers import get_scheduler

import store


def train(model, blocks, steps, batch, rate, scheduler="linear", warmup=0, decay=0.0, max_norm=1.0, optimiser=None):
    """Takes `steps` steps with the trainable parameters of `model`, by AdamW or another optimiser, and yields what each
    step's record says."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = optimiser or torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
    name = "constant_with_warmup" if scheduler == "constant" else scheduler
    schedule = get_scheduler(name, optimiser, num_warmup_steps=warmup, num_training_steps=steps)
    at = 0
    for step in range(1, steps + 1):
        rows = [blocks[(at + i) % len(blocks)] for i in range(batch)]
        at = (at + batch) % len(blocks)
        loss, _ = store.mean_loss(model, rows)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, max_norm)
        now = schedule.get_last_lr()[0]
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        yield {"step": step, "loss": loss.item(), "learning_rate": now, "grad_norm": norm.item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="model directory: nf4, int8, int4 or floating point")
    parser.add_argument("adapter", help="PEFT adapter folder to begin with")
    parser.add_argument("tokens", help="JSONL file with input_ids")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=4, help="lines a step (default 4)")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--scheduler", choices=["constant", "linear", "cosine"], default="linear")
    parser.add_argument("--warmup-steps", type=int, default=0)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    options = parser.parse_args()
    model = store.load_with_adapter(options.store, options.adapter).eval()  # eval: no dropout
    blocks = store.read_blocks(options.tokens)
    output = pathlib.Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "metrics.jsonl", "w", encoding="utf-8") as metrics:
        for told in train(model, blocks, options.steps, options.batch, options.lr, options.scheduler,
                          options.warmup_steps, options.weight_decay, options.max_grad_norm):
            print(json.dumps(told), file=metrics, flush=True)
            print(f"step {told['step']}: loss {told['loss']:.6f}", flush=True)
    model.save_pretrained(output)


if __name__ == "__main__":
    main()
