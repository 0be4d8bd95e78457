#!/usr/bin/env python3
"""Writes Tests/TokenizationTests/Golden/tokenizers.json: small tokenizers with the pipelines of published models, and
what Hugging Face's `tokenizers` makes of some texts with them.

needs: tokenizers
"""

import json
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools/tokenization"))
import samples  # noqa: E402

FAMILIES = ["smollm2", "gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma", "metaspace", "o200k", "added",
            "wordpiece bert", "wordpiece cased", "unigram xlm-roberta", "unigram t5", "roberta words"]
TEXTS = [
    "", " ", "Hello world", "  it's 12345 o'clock, I'LL\n\n\tgo \r\n", "x = foo(bar[3], \"q\")  # wow!!", "<s>a</s> <s> b",
    "caf\u00e9 cafe\u0301 \u212b \ufb01 \u1e9b\u0323", "\u4f60\u597d \ub300\ud55c \u1112\u1161\u11ab \u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f469\u200d\U0001f467 \U0001f600\ufe0f", "\u2581\u2581a \u2581b", " \u00a0\u3000x\u200b", "\x00\x1f\x7f\ufffd\U0010ffff",
    "<|im_start|>user\nhi<|im_end|>", " <custom>  word<custom>word x<single> <single> <MASK> <mask>", "   ", "\n \n", "'s 'S '\u017f",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 2, "1\u00b2\u2160 \u0661\u0662\u0663 3.14", "[INST] go [/INST]",
]


def small_charsmap(texts):
    """A table of a few rules: the published ones have a quarter of a megabyte."""
    rules = [("\u00a0", " "), ("\t", " "), ("\n", " "), ("e\u0301", "\u00e9"), ("\ufb01", "fi"), ("\u212b", "\u00c5"),
             ("\u200b", ""), ("\u3000", " "), ("\u00b2", "2"), ("\u1e9b\u0323", "\u1e69")]
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        for left, right in rules:
            file.write("\t".join(" ".join(f"{ord(c):X}" for c in side) for side in (left, right)) + "\n")
        file.flush()
        model = samples.sentence_piece_model(
            ["".join(c for c in t if c.isascii()) for t in texts], "unigram", 100, normalization_rule_tsv=file.name)
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    return proto.normalizer_spec.precompiled_charsmap


def places(tokenizer, text, pair, words):
    encoding = tokenizer.encode(text, pair, is_pretokenized=words)
    return {"text": text, "pair": pair, "ids": encoding.ids, "types": encoding.type_ids,
            "offsets": [list(o) for o in encoding.offsets], "words": encoding.word_ids, "texts": encoding.sequence_ids}


def main():
    samples.charsmap = small_charsmap
    lines = [json.loads(line) for line in open(ROOT / "Models/home-control/train.jsonl")]
    texts = [f"{line['prompt']}. It's {line['completion']}\n caf\u00e9 \uac00\u5b57" for line in lines[:60]]
    rng = random.Random(4)
    result = []
    for name, make in samples.makers(420, texts):
        if name not in FAMILIES:
            continue
        tokenizer = make()
        cases = []
        for text in TEXTS:
            special = tokenizer.encode(text).ids
            cases.append({
                "text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids, "special": special,
                "decoded": tokenizer.decode(special, skip_special_tokens=False),
                "skipped": tokenizer.decode(special, skip_special_tokens=True)})
        size = tokenizer.get_vocab_size()
        for _ in range(20):
            ids = [rng.randrange(size) for _ in range(rng.randint(1, 8))]
            cases.append({"special": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                          "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
        traced = []
        if name not in ("smollm2", "llama3", "gemma", "o200k"):
            traced += [places(tokenizer, text, None, False) for text in TEXTS]
            traced += [places(tokenizer, a, b, False) for a, b in zip(TEXTS[::4], reversed(TEXTS))]
            traced += [places(tokenizer, text.split(), None, True) for text in TEXTS[1::4]]
        # As text, because equal keys for Swift need not be equal keys for JSON.
        result.append({"name": name, "tokenizer": tokenizer.to_str(), "cases": cases, "places": traced})
    text = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in result)
    (ROOT / "Tests/TokenizationTests/Golden/tokenizers.json").write_text(f"[\n{text}\n]\n")


main()
