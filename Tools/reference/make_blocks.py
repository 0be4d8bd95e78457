#!/usr/bin/env python3
"""Cuts text into sequences of equal length: one line {"input_ids": [...]} of exactly LENGTH tokens each.

TEXT is a text file, or a JSONL file whose string fields are joined line by line.
"""
import argparse
import json

from transformers import AutoTokenizer


def text_of(path):
    with open(path, encoding="utf-8") as file:
        if not path.endswith(".jsonl"):
            return file.read()
        lines = [json.loads(text) for text in file if text.strip()]
    return "\n\n".join("\n".join(value for value in line.values() if isinstance(value, str)) for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", help=".txt or .jsonl file")
    parser.add_argument("tokenizer", help="model directory with a tokenizer")
    parser.add_argument("length", type=int, help="tokens in each line")
    parser.add_argument("output", help="JSONL file to write")
    parser.add_argument("--blocks", type=int, help="write only so many lines")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many lines first")
    parser.add_argument("--first", type=int, help="id of a token that each line begins with, as Gemma's texts must")
    options = parser.parse_args()
    if options.length < 2:
        parser.error("LENGTH must be at least 2")
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    ids = tokenizer(text_of(options.text), add_special_tokens=False)["input_ids"]
    first = [] if options.first is None else [options.first]
    length = options.length - len(first)
    starts = range(options.skip * length, len(ids) - length + 1, length)
    starts = starts[:options.blocks] if options.blocks is not None else starts
    if not starts:
        raise SystemExit(f"{options.text}: {len(ids)} tokens are too few")
    with open(options.output, "w", encoding="utf-8") as file:
        for start in starts:
            print(json.dumps({"input_ids": first + ids[start:start + length]}), file=file)
    print(f"{options.output}: {len(starts)} lines of {options.length} tokens")


if __name__ == "__main__":
    main()
