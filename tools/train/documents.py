"""Documents with facts in long stretches of prose, and questions about them with their answers.

A document is a list of blocks, each a text that ends where a line ends, so that the blocks can be tokenized one by one:
the tokenizer cuts nothing across the end of a line that is followed by a word. Facts stand in lines of their own. Of the
questions some ask for what the document does not say; their answer is NOT_STATED.

Seeds: whoever draws a document names its seed, and the seed says what it is for.

    below 10^9          training
    10^9 to 2*10^9 - 1  documents that are shipped
    from 2*10^9         tests
"""
from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Iterator, Sequence

from records import Kind, Relation
import words

NOT_STATED = "not stated"
SHIPPED, TEST = 10**9, 2 * 10**9
NOT_STATED_SHARE = 0.2


def purpose(seed: int) -> str:
    return "training" if seed < SHIPPED else "shipped" if seed < TEST else "test"


@dataclass(frozen=True)
class Fact:
    relation: Relation
    subject: str
    value: str
    line: str


@dataclass(frozen=True)
class Question:
    text: str
    answer: str


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def near(draw: Random, relation: Relation, subject: str) -> str:
    """Another subject that shares a word with this one, as often as not."""
    other = relation.subject(draw)
    own, new = subject.split(" "), other.split(" ")
    if len(own) == len(new) > 1 and draw.random() < 0.6:
        at = draw.randrange(len(own))
        new[at] = own[at]
    return " ".join(new)


class Records:
    """The facts of one document; each pair of relation and subject once, and each value of a relation once."""

    def __init__(self, draw: Random, kind: Kind, count: int) -> None:
        self.draw, self.kind = draw, kind
        self.facts: list[Fact] = []
        self.asked: set[tuple[int, str]] = set()
        self.subjects: list[tuple[object, str]] = []
        for _ in range(count):
            self.add()

    def fresh_subject(self, relation: Relation) -> str:
        """New, or one that the document has spoken of, or one that resembles it."""
        known = [subject for draws, subject in self.subjects[-40:] if draws is relation.subject]
        chance = self.draw.random()
        if known and chance < 0.25:
            return self.draw.choice(known)
        if known and chance < 0.5:
            return near(self.draw, relation, self.draw.choice(known))
        return relation.subject(self.draw)

    def add(self) -> None:
        relation = self.draw.choice(self.kind.relations)
        number = self.kind.relations.index(relation)
        subject, value = self.fresh_subject(relation), relation.value(self.draw)
        if (number, subject) in self.asked or (relation.back and (number, value) in self.asked) or subject == value:
            return
        self.asked.add((number, subject))
        if relation.back:
            self.asked.add((number, value))
        self.subjects.append((relation.subject, subject))
        says = capital(self.draw.choice(relation.says).format(s=subject, v=value))
        stamp = self.kind.stamp(self.draw) if self.kind.stamp and self.draw.random() < 0.5 else ""
        self.facts.append(Fact(relation, subject, value, stamp + says))

    def question(self, fact: Fact) -> Question:
        relation = fact.relation
        if relation.back and self.draw.random() < 0.3:
            return Question(relation.back.format(v=fact.value), self.subject_as_answer(fact))
        return Question(self.draw.choice(relation.asks).format(s=fact.subject), fact.value)

    def subject_as_answer(self, fact: Fact) -> str:
        return f"the {fact.subject}" if fact.relation.subject is words.thing else fact.subject

    def question_without_answer(self) -> Question:
        """Asks for what no line says: of another subject, or of a known one something else."""
        while True:
            relation = self.draw.choice(self.kind.relations)
            known = [subject for draws, subject in self.subjects if draws is relation.subject]
            chance = self.draw.random()
            if known and chance < 0.4:
                subject = self.draw.choice(known)
            elif known and chance < 0.8:
                subject = near(self.draw, relation, self.draw.choice(known))
            else:
                subject = relation.subject(self.draw)
            if (self.kind.relations.index(relation), subject) not in self.asked:
                return Question(self.draw.choice(relation.asks).format(s=subject), NOT_STATED)

    def questions(self, count: int, not_stated: float = NOT_STATED_SHARE) -> list[Question]:
        facts = self.draw.sample(self.facts, min(count, len(self.facts)))
        return [self.question_without_answer() if self.draw.random() < not_stated else self.question(fact) for fact in facts]


def heading(draw: Random, kind: Kind) -> str:
    return f"{draw.choice(kind.titles)}\n{words.place(draw)}, {words.year(draw)}\n\n"


def entry_blocks(draw: Random, facts: Sequence[Fact]) -> Iterator[str]:
    """Lines of records, one to four to a block; what comes behind may follow in the same paragraph."""
    at = 0
    while at < len(facts):
        count = draw.choice((1, 1, 1, 2, 3, 4))
        yield "\n".join(fact.line for fact in facts[at : at + count]) + draw.choice(("\n", "\n\n", "\n\n", "\n\n"))
        at += count


def interleave(draw: Random, entries: Sequence[object], prose: Sequence[object]) -> list[object]:
    """The prose in its order, and before, between and behind it the entries in theirs, at random places."""
    places = sorted(draw.randint(0, len(prose)) for _ in entries)
    out: list[object] = []
    at = 0
    for place, entry in zip(places, entries):
        out += prose[at:place]
        out.append(entry)
        at = place
    return out + list(prose[at:])
