#!/usr/bin/python3
"""Makes the training texts of the shipped tokenizer, and the older ones of examples/documents, from Debian packages.

    mkdir corpus && cd corpus
    apt-get download r-cran-janeaustenr bible-kjv bible-kjv-text golang-1.19-src
    for package in *.deb; do dpkg -x "$package" root; done
    ../tools/tokenizer/corpus.py root . ../examples/documents

writes the six novels of Jane Austen, the King James Bible and Newton's Opticks as NAME.txt to the second folder, and the
excerpts of them that are shipped to the third. All of these texts are in the public domain (examples/documents/README.md).
Runs the package's own program `bible` to read its compressed data. Needs nothing but Python."""
import bz2
import lzma
import pathlib
import re
import struct
import subprocess
import sys
import textwrap
import zlib


class RReader:
    """As much of R's serialization (XDR, versions 2 and 3) as a table of character vectors needs."""

    def __init__(self, data):
        assert data[:2] == b"X\n", "not an XDR serialization"
        self.data, self.at, self.symbols = data, 2, []
        version, _, _ = self.integers(3)
        if version == 3:  # the name of an encoding
            (count,) = self.integers(1)
            self.at += count

    def integers(self, count):
        values = struct.unpack_from(f">{count}i", self.data, self.at)
        self.at += 4 * count
        return values

    def item(self):
        (flags,) = self.integers(1)
        kind, has_attributes, has_tag = flags & 255, flags >> 9 & 1, flags >> 10 & 1
        if kind == 254:  # the empty list
            return None
        if kind == 255:  # a symbol seen before
            return self.symbols[(flags >> 8) - 1]
        if kind == 1:  # a new symbol
            self.symbols.append(self.item())
            return self.symbols[-1]
        if kind == 2:  # a list of pairs: attributes
            if has_attributes:
                self.item()
            tag = self.item() if has_tag else None
            value = self.item()
            return [(tag, value)] + (self.item() or [])
        value = self.vector(kind)
        return (value, dict(self.item())) if has_attributes else value

    def vector(self, kind):
        (count,) = self.integers(1)
        if kind == 9:  # one string
            if count < 0:
                return None
            self.at += count
            return self.data[self.at - count : self.at].decode("utf-8")
        if kind in (10, 13):
            return list(self.integers(count))
        if kind in (16, 19):
            return [self.item() for _ in range(count)]
        raise ValueError(f"R object of kind {kind}")


def unpack_chunk(chunk):
    """A chunk of an R lazy-load database: four bytes of length, then a letter for anything but zlib."""
    if chunk[4:5] == b"2":
        return bz2.decompress(chunk[5:])
    if chunk[4:5] == b"Z":
        return lzma.decompress(chunk[5:], format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}])
    return zlib.decompress(chunk[4:])


def novels(root):
    """(name, lines) of each novel in the package janeaustenr."""
    data = root / "usr/lib/R/site-library/janeaustenr/data"
    places, names = RReader(zlib.decompress((data / "Rdata.rdx").read_bytes(), 47)).item()[0][0]
    database = (data / "Rdata.rdb").read_bytes()
    for name, (offset, length) in zip(names["names"], places):
        lines = RReader(unpack_chunk(database[offset : offset + length])).item()
        yield name, lines


def bible(root, title, verses):
    """A book of the Bible, one paragraph for each verse."""
    folder = (root / "usr/lib").resolve()
    command = [str((root / "usr/bin/bible").resolve()), "-p", ".", "-d", "bible.data", "-f", verses]
    output = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    lines, chapter = [title.upper(), ""], None
    for line in output.stdout.splitlines():
        found = re.match(r"\w+?(\d+):(\d+) (.*)$", line.strip())
        if not found:
            continue
        if found[1] != chapter:
            chapter = found[1]
            lines += ["", f"Chapter {chapter}", ""]
        lines.append(textwrap.fill(f"{found[2]} {found[3]}", 78))
    return lines


def write(path, lines):
    text = "\n".join(line.rstrip() for line in lines)
    path.write_text(re.sub(r"\n{4,}", "\n\n\n", text).strip("\n") + "\n", encoding="utf-8")


def main():
    root, corpus, documents = map(pathlib.Path, sys.argv[1:4])
    texts = dict(novels(root))
    for name, lines in texts.items():
        write(corpus / f"{name}.txt", lines)
    write(corpus / "bible.txt", bible(root, "The Holy Bible", "gen1:1-rev22:21"))
    opticks = (root / "usr/share/go-1.19/src/testdata/Isaac.Newton-Opticks.txt").read_text(encoding="utf-8").split("\n")
    write(corpus / "opticks.txt", opticks[opticks.index("OPTICKS:") :])

    lines = texts["prideprejudice"]
    write(documents / "pride-and-prejudice-1-5.txt", lines[: lines.index("Chapter 6")])
    lines = texts["persuasion"]
    write(documents / "persuasion-1-7.txt", lines[: lines.index("Chapter 8")])
    write(documents / "genesis-1-11.txt", bible(root, "The First Book of Moses, called Genesis", "gen1:1-11:32"))
    write(documents / "ruth.txt", bible(root, "The Book of Ruth", "ruth1:1-4:22"))
    first = next(i for i, line in enumerate(opticks) if line.startswith("_Query_ 1."))
    end = next(i for i, line in enumerate(opticks) if line.startswith("_Qu._ 25."))
    title = ["OPTICKS", "", "by Sir Isaac Newton (fourth edition, 1730)", "", "", "The Third Book: Queries 1 to 24", ""]
    queries = [line for line in opticks[first:end] if not line.startswith("[Sidenote:")]
    write(documents / "opticks-queries-1-24.txt", title + queries)


main()
