"""Ordinary prose, cut into paragraphs: what stands between the facts.

Reads the texts that tools/tokenizer/corpus.py makes of Debian packages (tools/train/README.md says which, and their
licences). Three texts are held out whole: no model has been trained on them, and the documents that are shipped or
tested with have their prose from these alone.
"""
from __future__ import annotations

import re
from pathlib import Path

HELD_OUT = ("persuasion", "bible-held-out", "opticks-held-out")
SHORTEST, LONGEST = 40, 1200  # characters of a paragraph


def paragraphs_of(text: str) -> list[str]:
    """Paragraphs as they stand, with their line breaks, without headings and lone numbers."""
    found = [re.sub(r"(?m)^[ \t]+|[ \t]+$", "", part) for part in re.split(r"\n\s*\n", text)]
    return [re.sub(r"[ \t]{2,}", " ", part) for part in found if SHORTEST <= len(part) and not part.startswith("/")]


def split_long(paragraph: str) -> list[str]:
    """A long paragraph in pieces that end with a line."""
    pieces, lines, length = [], [], 0
    for line in paragraph.split("\n"):
        lines.append(line)
        length += len(line) + 1
        if length >= LONGEST:
            pieces.append("\n".join(lines))
            lines, length = [], 0
    return pieces + (["\n".join(lines)] if length >= SHORTEST else [])


def verses_as_paragraphs(text: str) -> str:
    """A chapter of scripture in paragraphs of four verses, without their numbers."""
    out, count = [], 0
    for line in text.split("\n"):
        found = re.match(r"\d+ (.*)$", line)
        if found and count % 4 == 0:
            out.append("")
        count += bool(found)
        out.append(found[1] if found else line)
    return "\n".join(out)


def sources(folder: Path) -> dict[str, list[str]]:
    """Paragraphs of every text, by its name. Of the long ones the last tenth is a text of its own, held out."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}
    if "bible" in texts:
        texts["bible"] = verses_as_paragraphs(texts["bible"])
    out = {}
    for name, text in texts.items():
        pieces = [piece for paragraph in paragraphs_of(text) for piece in split_long(paragraph)]
        cut = len(pieces) * 9 // 10
        if f"{name}-held-out" in HELD_OUT:
            out[name], out[f"{name}-held-out"] = pieces[:cut], pieces[cut:]
        else:
            out[name] = pieces
    return out


def training(folder: Path) -> list[list[str]]:
    return [pieces for name, pieces in sources(folder).items() if name not in HELD_OUT]


def held_out(folder: Path) -> list[list[str]]:
    return [pieces for name, pieces in sources(folder).items() if name in HELD_OUT]
