#!/usr/bin/env python3
"""Writes a fresh PEFT LoRA adapter for a store, so that two programs can begin with the same numbers."""
import argparse

import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

import store


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="model directory: nf4, int8, int4 or floating point")
    parser.add_argument("output", help="adapter folder to write")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--target-modules", default="all-linear", help="all-linear, or names with commas between")
    parser.add_argument("--use-rslora", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--random-b", action="store_true",
                        help="B small and random instead of zero, so that A's gradient is not zero")
    options = parser.parse_args()
    set_seed(options.seed)
    names = options.target_modules
    alpha = int(options.alpha) if options.alpha == int(options.alpha) else options.alpha
    model = get_peft_model(store.load_model(options.store), LoraConfig(
        r=options.rank, lora_alpha=alpha, lora_dropout=0.0, use_rslora=options.use_rslora,
        target_modules=names if names == "all-linear" else names.split(","), task_type="CAUSAL_LM"))
    if options.random_b:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.02)
    model.save_pretrained(options.output)
    print(f"{options.output}: {len(store.adapter_tensors(model))} tensors")


if __name__ == "__main__":
    main()
