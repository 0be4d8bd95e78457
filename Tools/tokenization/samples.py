"""Mixed text and trained tokenizers for comparisons: everything is made with fixed seeds."""

import random
import sysconfig
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The later pattern with possessive repetition and categories of letters: it has no scanner, so the matcher runs it.
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K_POSSESSIVE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
    r"\s+(?!\S)|\s"
)


def _assigned():
    return [
        c
        for c in range(0x110000)
        if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")
    ]


def _scripts():
    """Runs of characters that belong together, by block of 128."""
    blocks = {}
    for c in _assigned():
        blocks.setdefault(c >> 7, []).append(chr(c))
    return list(blocks.values())


def unicode_text(size, seed=1):
    """Texts of all scripts, emoji, controls and things that look like special tokens, about `size` bytes."""
    rng = random.Random(seed)
    blocks = _scripts()
    common = [b for b in blocks if ord(b[0]) < 0x3400]
    emoji = [chr(c) for c in range(0x1F300, 0x1FAFF) if unicodedata.category(chr(c)) == "So"]
    controls = [chr(c) for c in (*range(0x20), *range(0x7F, 0xA1), 0xAD, *range(0x200B, 0x2010), 0x2028, 0x2029, 0xFEFF)]
    marks = [chr(c) for c in _assigned() if unicodedata.category(chr(c))[0] == "M"]
    pieces = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "[INST]", "[/INST]", "<|begin_of_text|>", "<0x41>",
              "<|endoftext|>", "<|im_", "|>", "'s", "'LL", "'ſ", "'ve", "I'm", "don't", "\u2581", "\u2581\u2581", "Ġ", "Ċ",
              "<mask>", "<custom>", "  <custom> ", "word<custom>word", "x<single>", " <single> ", "\ufffd"]
    spaces = [" ", "  ", "   ", "\n", "\n\n", " \n", "\t", "\r\n", "\u00a0", "\u3000", " " * 17, "\n \n  \n", "\x0b", "\x85"]

    def word():
        kind = rng.random()
        if kind < 0.35:
            block = rng.choice(common if rng.random() < 0.8 else blocks)
            return "".join(rng.choice(block) for _ in range(rng.randint(1, 12)))
        if kind < 0.45:
            return "".join(rng.choice(emoji) + rng.choice(["", "\u200d", "\ufe0f", "\U0001f3fd"]) for _ in range(rng.randint(1, 4)))
        if kind < 0.55:
            return "".join(rng.choice("0123456789.,") for _ in range(rng.randint(1, 9)))
        if kind < 0.62:
            return "".join(rng.choice(controls) for _ in range(rng.randint(1, 3)))
        if kind < 0.70:
            return rng.choice(pieces)
        if kind < 0.78:
            return "".join(rng.choice("abcdeéêñüßöÅ가각한ภาषาहिन्दी") + rng.choice(marks) for _ in range(rng.randint(1, 5)))
        if kind < 0.84:
            return "".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(rng.randint(1, 6)))
        if kind < 0.845:
            return rng.choice("abcxyz=-. 字") * rng.randint(30, 900)
        letters = "".join(rng.choice("etaoinshrdlucmfwypvbgkjqxz") for _ in range(rng.randint(1, 11)))
        return rng.choice([letters, letters.capitalize(), letters.upper(), unicodedata.normalize("NFD", letters + "é")])

    texts, total = [], 0
    while total < size:
        text = "".join(word() + (rng.choice(spaces) if rng.random() < 0.6 else "") for _ in range(rng.randint(1, 400)))
        texts.append(text)
        total += len(text.encode())
    return texts


def files_text(size, paths, seed=2):
    """Parts of files, about `size` bytes."""
    files = []
    for path in paths:
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    random.Random(seed).shuffle(files)
    texts, total = [], 0
    for file in files:
        try:
            text = file.read_bytes().decode()
        except (UnicodeDecodeError, OSError):
            continue
        for start in range(0, min(len(text), 400_000), 5000):
            texts.append(text[start : start + 5000])
            total += len(texts[-1].encode())
        if total >= size:
            break
    return texts


def mixed(megabytes, paths=()):
    """Half files (those given, and the sources of Python's library), half made text, and texts on the edge."""
    size = int(megabytes * 1e6)
    texts = unicode_text(size // 2)
    given = files_text(size // 4, list(paths)) if paths else []
    texts += given
    library = Path(sysconfig.get_paths()["stdlib"])
    texts += files_text(size - sum(len(t.encode()) for t in texts), [p for p in library.glob("*.py")] + [library / "test"])
    edges = ["", " ", "  ", "\n", "a", " a", "a ", "\u2581", "<s>", " <s> ", "<s><s>", "'", "''", "é", "e\u0301", "\u0301", "가",
             "\u1100\u1161\u11a8", "\x00", "\U0010ffff", "   a", "\n\na", " \u0301a"]
    return edges + texts + ["a" * 100_000, " " * 50_000, "字" * 30_000, "ab " * 30_000, "\n" * 9999 + "x"]


def random_ids(vocabulary, count, seed=3):
    rng = random.Random(seed)
    return [[rng.randrange(vocabulary) for _ in range(rng.randint(0, 12))] for _ in range(count)]


def _byte_level(pre, vocabulary, texts, normalizer=None, special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(special), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _sentence_piece(vocabulary, texts, normalizer, pre, decoder, **model):
    """Trains with a mark for spaces, then gives the model its bytes, as converted SentencePiece models have them."""
    special = ["<unk>", "<s>", "</s>"]
    trainee = Tokenizer(models.BPE(unk_token="<unk>"))
    trainee.normalizer = normalizer
    trainee.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never") if pre is None else pre
    ascii_texts = ["".join(c for c in t if ord(c) < 0x250 or c in "字가") for t in texts]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special + [f"<0x{b:02X}>" for b in range(256)], show_progress=False
    )
    trainee.train_from_iterator(ascii_texts, trainer)
    import json

    trained = json.loads(trainee.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(trained["vocab"], merges, unk_token="<unk>", **model))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    return tokenizer


def _bos(tokenizer, token, end=None):
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A" + (f" {end}" if end else ""),
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in (token, end) if t],
    )
    return tokenizer


def makers(vocabulary, texts):
    """Tokenizers by name, each with the pipeline of a family of models."""
    byte = pre_tokenizers.ByteLevel
    sequence = pre_tokenizers.Sequence

    def split(pattern, behavior="isolated", invert=False):
        return pre_tokenizers.Split(Regex(pattern), behavior, invert)

    def gpt4(numbers):
        return sequence([split(GPT4 % numbers), byte(add_prefix_space=False, use_regex=False)])

    def llama2():
        tokenizer = _sentence_piece(
            vocabulary, texts,
            normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None,
            decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
            fuse_unk=True, byte_fallback=True,
        )
        return _bos(tokenizer, "<s>")

    def mistral():
        tokenizer = _sentence_piece(
            vocabulary, texts, None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
            decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
            fuse_unk=True, byte_fallback=True,
        )
        tokenizer.add_special_tokens([AddedToken("[INST]", normalized=False), AddedToken("[/INST]", normalized=False)])
        return _bos(tokenizer, "<s>", "</s>")

    def gemma():
        tokenizer = _sentence_piece(
            vocabulary, texts, normalizers.Replace(" ", "\u2581"), pre_tokenizers.Split(" ", "merged_with_previous"),
            decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]),
            fuse_unk=True, byte_fallback=True,
        )
        return _bos(tokenizer, "<s>")

    def metaspace():
        return _sentence_piece(
            vocabulary, texts, None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True),
            decoders.Metaspace(prepend_scheme="always"),
        )

    def llama3():
        tokenizer = _byte_level(gpt4(r"\p{N}{1,3}"), vocabulary, texts, special=("<|begin_of_text|>", "<|end_of_text|>"), ignore_merges=True)
        return _bos(tokenizer, "<|begin_of_text|>")

    def added():
        tokenizer = _byte_level(
            byte(add_prefix_space=True), vocabulary, texts,
            normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()]),
        )
        tokenizer.add_tokens([
            AddedToken("<custom>", lstrip=True, rstrip=True, normalized=True), AddedToken("<single>", single_word=True),
            AddedToken("  ", normalized=False), AddedToken("<MASK>", lstrip=True, normalized=True),
            AddedToken("é", normalized=False),
        ])
        return tokenizer

    yield "smollm2", lambda: _byte_level(sequence([pre_tokenizers.Digits(True), byte(add_prefix_space=False)]), vocabulary, texts)
    yield "gpt2", lambda: _byte_level(byte(add_prefix_space=False), vocabulary, texts)
    yield "llama3", llama3
    yield "qwen2", lambda: _byte_level(gpt4(r"\p{N}"), vocabulary, texts, normalizers.NFC())
    yield "llama2", llama2
    yield "mistral", mistral
    yield "gemma", gemma
    yield "metaspace", metaspace
    yield "o200k", lambda: _byte_level(sequence([split(O200K), byte(add_prefix_space=False, use_regex=False)]), vocabulary, texts)
    yield "possessive", lambda: _byte_level(sequence([split(CL100K_POSSESSIVE), byte(add_prefix_space=False, use_regex=False)]), vocabulary, texts)
    yield "added", added
    yield "removed", lambda: _byte_level(sequence([split(r"\s+", "removed"), split(r"[A-Z]+|\d", "merged_with_next"), split(r"(?<=[a-z])_|-", "contiguous"), byte(add_prefix_space=True)]), vocabulary, texts)
    yield "inverted", lambda: _byte_level(sequence([split(GPT4 % r"\p{N}+", "removed", True), pre_tokenizers.Digits(False), split(r"x{2,3}?y?|(?:ab|a)+", "merged_with_previous", True), byte(add_prefix_space=False, use_regex=False)]), vocabulary, texts)
    yield "late", lambda: _byte_level(sequence([byte(add_prefix_space=False), pre_tokenizers.Digits(True), split(r"Ġ", "merged_with_next")]), vocabulary, texts)
    yield "decomposed", lambda: _byte_level(byte(add_prefix_space=False), vocabulary, texts, normalizers.NFD())
    yield from _encoders(vocabulary, texts)
    yield "whitespace", lambda: _unknown(pre_tokenizers.Whitespace(), vocabulary, texts, fuse=True)
    yield "bert", lambda: _unknown(pre_tokenizers.WhitespaceSplit(), vocabulary, texts, fuse=False)


def _word_piece(vocabulary, texts, pair_types=True, **normalizer):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False, limit_alphabet=1000)
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(t, tokenizer.token_to_id(t)) for t in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = (
        processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ends)
        if pair_types else processors.BertProcessing(*ends))
    return tokenizer


def charsmap(texts, rule="nmt_nfkc"):
    """The table of characters of a SentencePiece model."""
    from sentencepiece import sentencepiece_model_pb2

    plain = ["".join(c for c in text if c.isascii() and c.isprintable()) for text in texts]
    model = sentence_piece_model(plain, "unigram", 300, normalization_rule_name=rule)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    return proto.normalizer_spec.precompiled_charsmap


def sentence_piece_model(texts, kind, vocabulary, **options):
    """The bytes of a `tokenizer.model`."""
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in texts for line in text.splitlines() if "\0" not in line), model_writer=model,
        model_type=kind, vocab_size=vocabulary, hard_vocab_limit=False, minloglevel=2, num_threads=1, **options)
    return model.getvalue()


def _unigram(vocabulary, texts, special, unknown, normalizer, pre, ends):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=vocabulary, special_tokens=special, unk_token=unknown, show_progress=False)
    tokenizer.train_from_iterator(["".join(c for c in t if ord(c) < 0x600 or c in "字가") for t in texts], trainer)
    tokenizer.post_processor = ends(tokenizer)
    return tokenizer


def _template(single, pair, *tokens):
    return lambda tokenizer: processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(t, tokenizer.token_to_id(t)) for t in tokens])


def _xlm_roberta(vocabulary, texts):
    tokenizer = _unigram(
        vocabulary, texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<unk>", normalizers.Precompiled(charsmap(texts)),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]),
        _template("<s> $A </s>", "<s> $A </s> </s> $B </s>", "<s>", "</s>"))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return tokenizer


def _t5(vocabulary, texts):
    return _unigram(
        vocabulary, texts, ["<pad>", "</s>", "<unk>"] + [f"<extra_id_{i}>" for i in range(99, -1, -1)], "<unk>",
        normalizers.Sequence([normalizers.Precompiled(charsmap(texts)), normalizers.Strip(left=False, right=True),
                              normalizers.Replace(Regex(" {2,}"), "\u2581")]),
        pre_tokenizers.Metaspace(prepend_scheme="always"), _template("$A </s>", "$A </s> $B </s>", "</s>"))


def _roberta(vocabulary, texts, **processor):
    tokenizer = _byte_level(
        pre_tokenizers.ByteLevel(add_prefix_space=processor["add_prefix_space"]), vocabulary, texts,
        special=("<s>", "<pad>", "</s>", "<unk>"))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")), **processor)
    return tokenizer


def _encoders(vocabulary, texts):
    yield "wordpiece bert", lambda: _word_piece(vocabulary, texts)
    yield "wordpiece cased", lambda: _word_piece(vocabulary, texts, pair_types=False, lowercase=False)
    yield "wordpiece accents", lambda: _word_piece(vocabulary, texts, lowercase=False, strip_accents=True, clean_text=False)
    yield "wordpiece lowercase", lambda: _word_piece(vocabulary, texts, strip_accents=False, handle_chinese_chars=False)
    yield "unigram xlm-roberta", lambda: _xlm_roberta(vocabulary, texts)
    yield "unigram t5", lambda: _t5(vocabulary, texts)
    yield "roberta", lambda: _roberta(vocabulary, texts, add_prefix_space=False, trim_offsets=True)
    yield "roberta words", lambda: _roberta(vocabulary, texts, add_prefix_space=True, trim_offsets=True)
    yield "roberta untrimmed", lambda: _roberta(vocabulary, texts, add_prefix_space=True, trim_offsets=False)
    yield "opt", lambda: _opt(vocabulary, texts)
    yield "unigram forms", lambda: _unigram(
        vocabulary, texts, ["<unk>"], "<unk>",
        normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Lowercase(), normalizers.StripAccents()]),
        pre_tokenizers.Metaspace(prepend_scheme="first"), _template("$A", "$A $B"))
    yield "wordpiece forms", lambda: _forms(vocabulary, texts, normalizers.NFKD())
    yield "wordpiece composed", lambda: _forms(vocabulary, texts, normalizers.NFC())


def _forms(vocabulary, texts, normalizer):
    tokenizer = _word_piece(vocabulary, texts)
    tokenizer.normalizer = normalizer
    return tokenizer


def _opt(vocabulary, texts):
    tokenizer = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), vocabulary, texts, special=("<s>", "<pad>", "</s>", "<unk>"))
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=True, trim_offsets=True), _template("</s> $A", "</s> $A </s> $B", "</s>")(tokenizer)])
    return tokenizer


def _unknown(pre, vocabulary, texts, fuse):
    """Characters outside the vocabulary are unknown tokens; no decoder."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=fuse))
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["[UNK]"], show_progress=False, limit_alphabet=200)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def trained(folder, texts, vocabulary, only=""):
    """Trains the tokenizers whose name contains `only`; gives (name, folder)."""
    sample = [t[:2000] for t in texts[::7]]
    result = []
    for name, make in makers(vocabulary, sample):
        if only in name:
            target = folder / name
            target.mkdir(parents=True)
            make().save(str(target / "tokenizer.json"))
            result.append((name, target))
    return result
