#!/usr/bin/env python3
"""Writes Sources/Tokenization/Unicode/UnicodeRuns.swift: the general category of every scalar, as the regular expressions of
the `tokenizers` package see it, and what its normalizers do with it (they know an older Unicode). Beside it go
CanonicalDecompositions.swift, CompatibilityDecompositions.swift and UnicodeExceptions.swift: what those normalizers take
scalars apart into, combining classes, and the scalars about which BERT's steps are of another mind than the categories.
The Swift standard library follows the Unicode version of its toolchain, so tables of our own are what makes encoding the
same everywhere.

usage: tokenization_unicode.py [REPOSITORY]          needs: tokenizers
"""

import sys
import unicodedata
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


def scalars():
    return (code for code in range(0x110000) if not 0xD800 <= code < 0xE000)


def decompositions(form, but=()):
    """`gap:part,part` in hexadecimal for every scalar that `form` takes apart, the gap being the distance from the scalar
    before; letters of Hangul, which follow a rule, are left out, and so is what `but` does the same way."""
    apart = getattr(normalizers, form)().normalize_str
    others = [getattr(normalizers, name)().normalize_str for name in but]
    entries, previous = [], 0
    for code in scalars():
        parts = apart(chr(code))
        if parts == chr(code) or 0xAC00 <= code < 0xD7A4 or any(other(chr(code)) == parts for other in others):
            continue
        gap = code - previous
        entries.append((f"{gap:X}" if gap > 1 else "") + ":" + ",".join(f"{ord(p):X}" for p in parts))
        previous = code
    return " ".join(entries)


def compositions():
    """`first,second,composed` of every pair that composing joins."""
    compose, apart = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    pairs = []
    for code in scalars():
        parts = apart(chr(code))
        if len(parts) > 1 and not 0xAC00 <= code < 0xD7A4 and compose(parts) == chr(code):
            first = compose(parts[:-1])
            assert len(first) == 1 and compose(first + parts[-1]) == chr(code), hex(code)
            pairs.append(f"{ord(first):X},{ord(parts[-1]):X},{code:X}")
    return " ".join(pairs)


def combining_classes():
    """`first-last:class` of the scalars that normalizers put into order."""
    apart = normalizers.NFD().normalize_str
    classes = []
    for code in scalars():
        moves = any(apart(text) != text for text in (f"a\u0315{chr(code)}", f"a{chr(code)}\u0334"))
        if moves and apart(chr(code)) == chr(code):
            value = unicodedata.combining(chr(code))
            assert value, hex(code)
            if classes and classes[-1][1] == code - 1 and classes[-1][2] == value:
                classes[-1][1] = code
            else:
                classes.append([code, code, value])
    return " ".join((f"{a:X}-{b:X}" if b > a else f"{a:X}") + f":{c}" for a, b, c in classes)


def ranges(codes):
    result = []
    for code in codes:
        if result and result[-1][1] == code - 1:
            result[-1][1] = code
        else:
            result.append([code, code])
    return " ".join(f"{a:X}-{b:X}" if b > a else f"{a:X}" for a, b in result)


def exceptions(categories):
    """Scalars that are punctuation, control characters or marks for one of both alone: BERT's steps or the categories."""
    punctuation = pre_tokenizers.Punctuation("removed")
    clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    accents = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    marks = normalizers.StripAccents()
    ascii_symbols = set(map(ord, "$+<=>^`|~"))
    found = {"punctuation": [], "controls": [], "accents": [], "marks": []}
    for code in scalars():
        name = CATEGORIES[categories[code]]
        is_punctuation = not punctuation.pre_tokenize_str(chr(code))
        if is_punctuation != (name[0] == "P" or code in ascii_symbols):
            found["punctuation"].append(code)
        is_control = clean.normalize_str(chr(code)) == ""
        if is_control != (name in ("Cc", "Cf", "Co") and code not in (9, 10, 13) or code == 0xFFFD):
            found["controls"].append(code)
        # What is taken apart first shows by its parts.
        if normalizers.NFD().normalize_str(chr(code)) == chr(code):
            if (accents.normalize_str(chr(code)) == "") != (name == "Mn"):
                found["accents"].append(code)
            if (marks.normalize_str(chr(code)) == "") != (name[0] == "M"):
                found["marks"].append(code)
    return {name: ranges(codes) for name, codes in found.items()}


def literal(name, comment, text):
    lines = [text[i : i + 110] for i in range(0, len(text), 110)] or [""]
    return [
        *[f"  /// {line}" for line in comment],
        f'  static let {name}: StaticString = """',
        *[f"    {line}\\" for line in lines[:-1]],
        f"    {lines[-1]}",
        '    """',
    ]


def write(root, name, comment, *literals):
    out = [
        "// Made by Tools/golden/tokenization_unicode.py: do not edit.",
        "",
        *[f"/// {line}" for line in comment],
        f"/// Source: the tokenizers package, version {tokenizers.__version__}.",
        f"enum {name} {{",
    ]
    for index, text in enumerate(literals):
        out += ([""] if index else []) + text
    (root / f"Sources/Tokenization/Unicode/{name}.swift").write_text("\n".join([*out, "}", ""]))


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    categories = general_categories()
    write(
        root, "CanonicalDecompositions", ["What scalars are taken apart into and put together from, in hexadecimal."],
        literal("parts", ["`gap:part,part` by scalar; a gap of 1 is not written."], decompositions("NFD")),
        literal("pairs", ["`first,second,composed`"], compositions()),
        literal("classes", ["Canonical combining classes: `first-last:class`, the class in decimal."], combining_classes()),
    )
    write(
        root, "CompatibilityDecompositions", ["What else scalars are taken apart into for compatibility."],
        literal("parts", ["`gap:part,part` by scalar, in hexadecimal; a gap of 1 is not written."], decompositions("NFKD", ["NFD"])),
    )
    found = exceptions(categories)
    write(
        root, "UnicodeExceptions", ["Scalars that BERT's steps judge otherwise than the categories do: `first-last`."],
        *[literal(name, [], text) for name, text in found.items()],
    )
    out = [
        "// Made by Tools/golden/tokenization_unicode.py: do not edit.",
        "",
        "/// Properties of all scalars in order, as runs: a letter for the value (A is 0), then how many scalars have it",
        "/// (1 if no number follows).",
        f"/// Source: the tokenizers package, version {tokenizers.__version__}.",
        "enum UnicodeRuns {",
        *constant("categories", ["Values of `UnicodeTable.Category`."], categories),
        "",
        *constant("normalization", ["Values of `UnicodeEntry.Normalization`."], normalization_classes()),
        "}",
        "",
    ]
    (root / "Sources/Tokenization/Unicode/UnicodeRuns.swift").write_text("\n".join(out))


main()
