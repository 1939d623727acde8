#!/usr/bin/env python3
"""Makes stages/tokenizer/character_ranges.c: which class each character has for Hugging Face's `tokenizers`.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tools/tokenizer/make_characters.py        # from the root of the checkout

The library is asked about every code point through its own regular expressions, so the table has the version of Unicode
that the library has, whichever Python runs this."""
import pathlib

from tokenizers import Regex, pre_tokenizers

OUT = pathlib.Path("stages/tokenizer/character_ranges.c")
CLASSES = [  # the value of each in character.h, its name, what belongs to it
    (0x01, "upper", r"[\p{Lu}\p{Lt}]"), (0x02, "lower", r"\p{Ll}"), (0x04, "letter", r"[\p{Lm}\p{Lo}]"),
    (0x08, "mark", r"\p{M}"), (0x10, "number", r"\p{N}"), (0x20, "space", r"[^\S\r\n]"), (0x40, "newline", r"[\r\n]"),
]
HEAD = """/* Made by tools/tokenizer/make_characters.py from `tokenizers` 0.23.3, never edited: each number is the first code point
 * of a run of one class, times 256, plus the class.
 * %s. */
#include "stages/tokenizer/character.h"

const uint32_t pk_character_ranges[] = {
"""


def class_of_each():
    everything = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF)
    classes = [0] * 0x110000
    for value, _, pattern in CLASSES:
        split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
        for piece, _ in split.pre_tokenize_str(everything):
            for character in piece:
                assert classes[ord(character)] == 0, f"U+{ord(character):04X} has two classes"
                classes[ord(character)] = value
    return classes


def main():
    classes = class_of_each()
    starts = [code for code in range(len(classes)) if code == 0 or classes[code] != classes[code - 1]]
    counts = ", ".join(f"{classes.count(value)} {name}" for value, name, _ in CLASSES)
    numbers = [f"0x{code << 8 | classes[code]:X}," for code in starts]
    lines, line = [], "   "
    for number in numbers:
        if len(line) + 1 + len(number) > 120:
            lines.append(line)
            line = "   "
        line += " " + number
    text = HEAD % counts + "\n".join(lines + [line]) + "\n};\n"
    text += "const size_t pk_character_range_count = sizeof pk_character_ranges / sizeof *pk_character_ranges;\n"
    OUT.write_text(text, encoding="utf-8")
    print(f"{OUT}: {len(starts)} runs; {counts}")


if __name__ == "__main__":
    main()
