"""Batches for training: rows of token ids, and which of their places are learned from.

A row is a document, then questions with their answers, in exactly the form in which `penstock run` asks: the document,
a blank line, the question; the answer follows at once and ends with END. Or it is a passage of random tokens that
repeats itself, which teaches looking back. Everything is drawn from (seed, number of the batch), so that any number of
workers gives the same batches.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Iterator, Optional, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer

import documents
import prose
from documents import Question, Records
from records import KINDS
from tokens import END

# Share of the run, lengths of the rows that are drawn from then on, share of rows that only repeat themselves.
CURRICULUM = (
    (0.00, (128,), 0.9),
    (0.02, (256,), 0.5),
    (0.10, (256, 512, 512, 1024), 0.25),
    (0.25, (512, 1024, 2048), 0.15),
    (0.45, (512, 1024, 2048, 4096), 0.15),
    (0.65, (512, 1024, 2048, 4096, 8192), 0.10),
    (0.85, (1024, 2048, 4096, 8192, 32768), 0.10),
)
LM_PLACES = 8192  # places of a batch where the next token of the text itself is learned
REPEAT_PLACES = 4096


def question_count(draw: Random, length: int) -> int:
    return draw.randint(max(1, min(16, length // 128)), max(2, min(160, length // 32)))


class Prose:
    """Tokenized paragraphs of several texts; a document takes neighbouring ones of one text."""

    def __init__(self, texts: Sequence[Sequence[str]], tokenizer: Tokenizer) -> None:
        self.texts = texts
        self.ids = [[np.array(e.ids, np.int32) for e in tokenizer.encode_batch([p + "\n\n" for p in text])] for text in texts]
        self.weights = [sum(len(piece) for piece in text) for text in self.ids]

    def take(self, draw: Random, tokens: int) -> list[tuple[np.ndarray, str]]:
        """Paragraphs with `tokens` tokens or a little more in all; at the end of a text it goes on at its beginning."""
        number = draw.choices(range(len(self.texts)), self.weights)[0]
        ids, text = self.ids[number], self.texts[number]
        at, out, count = draw.randrange(len(ids)), [], 0
        while count < tokens:
            out.append((ids[at], text[at] + "\n\n"))
            count += len(ids[at])
            at = (at + 1) % len(ids)
        return out


class Writer:
    def __init__(self, tokenizer: Tokenizer, prose_of: Prose) -> None:
        self.tokenizer, self.prose = tokenizer, prose_of
        self.blank = self.encode(["\n\n"])[0]

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(e.ids, np.int32) for e in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def document(self, draw: Random, tokens: int, entries: Sequence[str], head: str) -> np.ndarray:
        """Ids of heading, entries and as much prose as fills `tokens` exactly, up to the blank line before the question."""
        blocks = list(zip(self.encode([head, *entries]), [head, *entries]))
        budget = tokens - sum(len(ids) for ids, _ in blocks)
        pieces = self.prose.take(draw, budget + 4) if budget > 0 else []
        order = blocks[:1] + documents.interleave(draw, blocks[1:], pieces)
        # Most files end with a line; then the blank line is the third of three.
        last = order[-1][1].rstrip("\n") + ("\n\n\n" if draw.random() < 0.8 else "\n\n")
        ids = [*(ids for ids, _ in order[:-1]), self.encode([last])[0]]
        excess = max(0, sum(map(len, ids)) - tokens)
        shortened = {id(piece) for piece in pieces[:-1]}  # from the front: the prose begins in the middle of a paragraph
        for number, block in enumerate(order[:-1]):
            if id(block) in shortened:
                cut = min(excess, len(ids[number]))
                ids[number] = ids[number][cut:]
                excess -= cut
        return np.concatenate(ids)

    def row(self, draw: Random, length: int, questions: Optional[int] = None) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Ids [length], and for each answer where it begins and ends (END included)."""
        while True:
            kind = draw.choice(KINDS)
            count = questions or question_count(draw, length)
            most = max(3, min(400, (length - 24 * count) // 24))
            facts = int(math.exp(draw.uniform(math.log(max(2, min(count // 2, most // 2))), math.log(most))))
            records = Records(draw, kind, facts)
            asked = records.questions(count) or [records.question_without_answer()]
            tails = self.tails(asked)
            entries = list(documents.entry_blocks(draw, records.facts))
            head = documents.heading(draw, kind)
            space = length - sum(len(ids) for ids, _ in tails)
            if space < 16:
                continue
            ids = self.document(draw, space, entries, head)
            if len(ids) != space:
                continue  # its facts alone were too long
            return self.join(ids, tails)

    def tails(self, asked: Sequence[Question]) -> list[tuple[np.ndarray, int]]:
        """Ids of each question with its answer, the later ones behind a blank line; and how long the answer is."""
        texts = self.encode([part for q in asked for part in (q.text, q.answer)])
        out = []
        for number, (question, answer) in enumerate(zip(texts[::2], texts[1::2])):
            parts = [question, answer, np.array([END], np.int32)]
            out.append((np.concatenate([self.blank, *parts] if number else parts), len(answer) + 1))
        return out

    def join(self, ids: np.ndarray, tails: Sequence[tuple[np.ndarray, int]]) -> tuple[np.ndarray, list[tuple[int, int]]]:
        at, answers = len(ids), []
        for tail, answer in tails:
            at += len(tail)
            answers.append((at - answer, at))
        return np.concatenate([ids, *(tail for tail, _ in tails)]), answers


def repeated(draw: np.random.Generator, length: int) -> tuple[np.ndarray, int]:
    """Random tokens that repeat with a period, and the period."""
    period = int(np.exp(draw.uniform(np.log(8), np.log(max(9, length // 2)))))
    passage = draw.integers(0, END - 3, period).astype(np.int32)
    return np.resize(passage, length), period


@dataclass
class Batch:
    ids: torch.Tensor  # [rows, length] int64
    answers: torch.Tensor  # flat places whose next token belongs to an answer
    first: torch.Tensor  # for each of `answers` whether it is of the row's first question
    starts: torch.Tensor  # for each of `answers` whether it is the answer's first token
    texts: torch.Tensor  # flat places of documents
    repeats: torch.Tensor  # flat places of repeated passages


def batch(writer: Writer, seed: int, number: int, length: int, tokens: int, repeating: float) -> Batch:
    draw, random = Random(seed * 1_000_003 + number), np.random.default_rng([seed, number])
    rows, answers, first, starts, texts, repeats = [], [], [], [], [], []
    for row in range(tokens // length):
        base = row * length
        if random.random() < repeating:
            ids, period = repeated(random, length)
            repeats.append(base + np.arange(period, length - 1))
        else:
            ids, spans = writer.row(draw, length)
            answers += [np.arange(base + begin - 1, base + end - 1) for begin, end in spans]
            first += [np.full(end - begin, not number) for number, (begin, end) in enumerate(spans)]
            starts += [np.arange(end - begin) == 0 for begin, end in spans]
            texts.append(base + np.arange(spans[0][0] - 1))
        rows.append(ids)
    together = lambda parts, most: torch.from_numpy(sample(random, parts, most))
    return Batch(torch.from_numpy(np.stack(rows)).long(), together(answers, None), together(first, None).bool(),
                 together(starts, None).bool(), together(texts, LM_PLACES * tokens // 65536), together(repeats, REPEAT_PLACES * tokens // 65536))


def sample(random: np.random.Generator, parts: Sequence[np.ndarray], most: Optional[int]) -> np.ndarray:
    whole = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return whole if most is None or len(whole) <= most else np.sort(random.choice(whole, most, replace=False))


class Stream(torch.utils.data.IterableDataset):
    """The batches of a run, in order."""

    def __init__(self, tokenizer: Path, corpus: Path, seed: int, steps: range, total: int, tokens: int, longest: int) -> None:
        self.paths, self.seed, self.steps, self.total = (tokenizer, corpus), seed, steps, total
        self.tokens, self.longest = tokens, longest

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        tokenizer = Tokenizer.from_file(str(self.paths[0]))
        writer = Writer(tokenizer, Prose(prose.training(self.paths[1]), tokenizer))
        for number in self.steps[info.id if info else 0 :: info.num_workers if info else 1]:
            _, lengths, repeating = [part for part in CURRICULUM if part[0] <= number / self.total][-1]
            length = min(Random(self.seed + number).choice(lengths), self.longest)
            yield batch(writer, self.seed, number, length, self.tokens, repeating)
