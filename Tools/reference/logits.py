#!/usr/bin/env python3
"""Logits of transformers in float32 on the dequantised weights of a store.

Writes `logits` [tokens, vocabulary] of all lines of the JSONL file in order, as `evaluate --dump-logits` does, and
prints the mean loss.
"""
import argparse

import torch
from safetensors.torch import save_file

import store


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="model directory: nf4, int8, int4 or floating point")
    parser.add_argument("tokens", help="JSONL file with input_ids")
    parser.add_argument("output", help="safetensors file to write")
    parser.add_argument("--adapter", help="PEFT adapter folder to put on the model")
    options = parser.parse_args()
    model = (store.load_with_adapter(options.store, options.adapter) if options.adapter
             else store.load_model(options.store)).eval()
    blocks = store.read_blocks(options.tokens)
    with torch.no_grad():
        logits = torch.cat([model(input_ids=ids[None]).logits[0] for ids, _ in blocks])
        loss, count = store.mean_loss(model, blocks)
    save_file({"logits": logits}, options.output)
    print(f"{len(blocks)} sequences, {count} predicted tokens, loss {loss.item():.6f}")


if __name__ == "__main__":
    main()
