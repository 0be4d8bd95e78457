#!/usr/bin/env python3
"""Writes Sources/Tokenization/UnicodeCategoryRuns.swift: the general category of every scalar, as the regular
expressions of the `tokenizers` package see it. The Swift standard library follows the Unicode version of its
toolchain, so a table of our own is what makes encoding the same everywhere.

usage: tokenization_unicode.py [REPOSITORY]          needs: tokenizers
"""

import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, pre_tokenizers

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


def runs(values):
    """Run lengths: a letter for the category, then the length unless it is 1."""
    text, start = [], 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[end] != values[start]:
            length = end - start
            text.append(LETTERS[values[start]] + (str(length) if length > 1 else ""))
            start = end
    return "".join(text)


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    text = runs(general_categories())
    lines = [text[i : i + 110] for i in range(0, len(text), 110)]
    out = [
        "// Made by Tools/golden/tokenization_unicode.py: do not edit.",
        "",
        "extension UnicodeTable {",
        "  /// The general categories of all scalars in order, as runs: a letter for the category (A is the first of",
        "  /// `Category`), then how many scalars have it (1 if no number follows).",
        f"  /// Source: the patterns of the tokenizers package, version {tokenizers.__version__}.",
        '  static let categoryRuns: StaticString = """',
        *[f"    {line}\\" for line in lines[:-1]],
        f"    {lines[-1]}",
        '    """',
        "}",
        "",
    ]
    (root / "Sources/Tokenization/UnicodeCategoryRuns.swift").write_text("\n".join(out))


main()
