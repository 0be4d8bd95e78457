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
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.lr, weight_decay=options.weight_decay)
    name = "constant_with_warmup" if options.scheduler == "constant" else options.scheduler
    schedule = get_scheduler(name, optimiser, num_warmup_steps=options.warmup_steps,
                             num_training_steps=options.steps)
    output = pathlib.Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    at = 0
    with open(output / "metrics.jsonl", "w", encoding="utf-8") as metrics:
        for step in range(1, options.steps + 1):
            batch = [blocks[(at + i) % len(blocks)] for i in range(options.batch)]
            at = (at + options.batch) % len(blocks)
            loss, _ = store.mean_loss(model, batch)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, options.max_grad_norm)
            rate = schedule.get_last_lr()[0]
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            told = {"step": step, "loss": loss.item(), "learning_rate": rate, "grad_norm": norm.item()}
            print(json.dumps(told), file=metrics, flush=True)
            print(f"step {step}: loss {loss.item():.6f}", flush=True)
    model.save_pretrained(output)


if __name__ == "__main__":
    main()
