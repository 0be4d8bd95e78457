#!/usr/bin/env python3
"""Writes Tests/DataTests/Golden: lines of data with the tokens and labels that transformers gives for them, and a
small tokenizer of the SentencePiece kind, which puts a space before text.

needs: transformers tokenizers
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "Tests/DataTests/Golden"
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + "
    "' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)


def sentence_piece():
    """A tokenizer of 420 tokens with Llama 2's pipeline."""
    text = [p["prompt"] + " " + p["completion"] for p in map(json.loads, open(ROOT / "Models/home-control/train.jsonl"))]
    special = ["<unk>", "<s>", "</s>"]
    trainee = Tokenizer(models.BPE(unk_token="<unk>"))
    trainee.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    trainee.train_from_iterator([w for t in text for w in t.replace(" ", " \0").split("\0")], trainers.BpeTrainer(
        vocab_size=420, special_tokens=special + [f"<0x{b:02X}>" for b in range(256)], show_progress=False))
    trained = json.loads(trainee.to_str())["model"]
    tokenizer = Tokenizer(models.BPE(
        trained["vocab"], [tuple(m) for m in trained["merges"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = trainee.normalizer
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = GOLDEN / "sentence-piece"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": MISTRAL}))
    return folder


def load(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokens = {k: v for k, v in settings.items() if k in ("bos_token", "eos_token", "unk_token", "pad_token")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **tokens)
    template = folder / "chat_template.jinja"
    tokenizer.chat_template = template.read_text() if template.exists() else settings["chat_template"]
    return tokenizer


def conversation(tokenizer, messages, on_prompt):
    def ids(messages, prompt):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    tokens, labels = [], []
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            start, end = ids(messages[:i], True), ids(messages[: i + 1], False)
            assert end[: len(start)] == start and start[: len(tokens)] == tokens
            labels += (start if on_prompt else [-100] * len(start))[len(labels) :]
            labels += end[len(start) :]
            tokens = end
    if on_prompt:
        tokens = ids(messages, False)
        labels = tokens
    return tokens, labels


def user(prompt, answer):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


LINES = [
    {"text": "the cup is in the kitchen.\n\nla voil\u00e0 \U0001f600  "},
    {"prompt": "what is the opposite of warm", "completion": "cold"},
    {"prompt": "turn on the light ", "completion": " {\"device\":\"light\"} "},
    {"instruction": "translate", "input": "two lines\nof text", "output": "zwei"},
    {"instruction": "say it", "input": "", "output": "it"},
    {"instruction": "say it", "input": None, "output": "it"},
    {"question": "2+2?", "answer": "4"},
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
                  {"role": "user", "content": "and you?"}, {"role": "assistant", "content": "fine\n"},
                  {"role": "user", "content": "left over"}]},
    {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"},
                  {"role": "assistant", "content": "hello"}]},
    {"input_ids": [5, 6, 7, 8]},
    {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 9], "attention_mask": [1, 1, 1, 1]},
]


def expected(tokenizer, line, on_prompt):
    if "text" in line:
        tokens = tokenizer(line["text"])["input_ids"] + [tokenizer.eos_token_id]
        return tokens, tokens
    if "input_ids" in line:
        return line["input_ids"], line.get("labels", line["input_ids"])
    if "messages" in line:
        return conversation(tokenizer, line["messages"], on_prompt)
    if "instruction" in line:
        prompt = line["instruction"] + ("\n\n" + line["input"] if line["input"] else "")
        return conversation(tokenizer, user(prompt, line["output"]), on_prompt)
    if "question" in line:
        return conversation(tokenizer, user(line["question"], line["answer"]), on_prompt)
    return conversation(tokenizer, user(line["prompt"], line["completion"]), on_prompt)


def main():
    cases = []
    for name, folder in (("Models/tiny-llama", ROOT / "Models/tiny-llama"),
                         ("Tests/DataTests/Golden/sentence-piece", sentence_piece())):
        tokenizer = load(folder)
        for on_prompt in (False, True):
            for line in LINES:
                tokens, labels = expected(tokenizer, line, on_prompt)
                cases.append({"tokenizer": name, "train_on_prompt": on_prompt, "line": json.dumps(line),
                              "tokens": tokens, "labels": labels})
    text = ",\n".join(json.dumps(case) for case in cases)
    (GOLDEN / "lines.json").write_text(f"[\n{text}\n]\n")


main()
