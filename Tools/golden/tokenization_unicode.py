#!/usr/bin/env python3
"""Writes Sources/Tokenization/Unicode/UnicodeRuns.swift: the general category of every scalar, as the regular expressions of
the `tokenizers` package see it, and what its normalizers do with it (they know an older Unicode). The Swift standard
library follows the Unicode version of its toolchain, so tables of our own are what makes encoding the same everywhere.

usage: tokenization_unicode.py [REPOSITORY]          needs: tokenizers
"""

import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs Cn".split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"


def general_categories():
    """A category index per scalar; surrogates are no scalars, the rest is unassigned unless a category claims it."""
    found = [CATEGORIES.index("Cn")] * 0x110000
    for code in range(0xD800, 0xE000):
        found[code] = CATEGORIES.index("Cs")
    for index, name in enumerate(CATEGORIES[:-2]):
        remover = pre_tokenizers.Split(Regex(rf"\p{{{name}}}"), "removed")
        for code in range(0x110000):
            if not 0xD800 <= code < 0xE000 and not remover.pre_tokenize_str(chr(code)):
                found[code] = index
    return found


def normalization_classes():
    """0: no normalizer touches the scalar or what stands around it. 1: it may be part of something composed, or has a
    decomposition. 2: composing may change it or join it to what stands before."""
    forms = {name: getattr(normalizers, name)().normalize_str for name in ("NFC", "NFD", "NFKD")}
    classes = [0] * 0x110000
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        scalar = chr(code)
        parts = forms["NFD"](scalar)
        if parts != scalar:
            for index, part in enumerate(parts):
                classes[ord(part)] = max(classes[ord(part)], 2 if index else 1)
            classes[code] = max(classes[code], 1)
        if forms["NFKD"](scalar) != scalar:
            classes[code] = max(classes[code], 1)
            for part in forms["NFKD"](scalar):
                classes[ord(part)] = max(classes[ord(part)], 1)
        # A scalar with a combining class changes places with a mark of a greater one before it, or a lesser one after.
        moves = any(forms["NFD"](text) != text for text in (f"a\u0315{scalar}", f"a{scalar}\u0334"))
        if forms["NFC"](scalar) != scalar or (parts == scalar and moves):
            classes[code] = 2
    return classes


def runs(values):
    """Run lengths: a letter for the category, then the length unless it is 1."""
    text, start = [], 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[end] != values[start]:
            length = end - start
            text.append(LETTERS[values[start]] + (str(length) if length > 1 else ""))
            start = end
    return "".join(text)


def constant(name, comment, values):
    text = runs(values)
    lines = [text[i : i + 110] for i in range(0, len(text), 110)]
    return [
        *[f"  /// {line}" for line in comment],
        f'  static let {name}: StaticString = """',
        *[f"    {line}\\" for line in lines[:-1]],
        f"    {lines[-1]}",
        '    """',
    ]


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    out = [
        "// Made by Tools/golden/tokenization_unicode.py: do not edit.",
        "",
        "/// Properties of all scalars in order, as runs: a letter for the value (A is 0), then how many scalars have it",
        "/// (1 if no number follows).",
        f"/// Source: the tokenizers package, version {tokenizers.__version__}.",
        "enum UnicodeRuns {",
        *constant("categories", ["Values of `UnicodeTable.Category`."], general_categories()),
        "",
        *constant("normalization", ["Values of `UnicodeEntry.Normalization`."], normalization_classes()),
        "}",
        "",
    ]
    (root / "Sources/Tokenization/Unicode/UnicodeRuns.swift").write_text("\n".join(out))


main()
