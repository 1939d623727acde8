"""What a record can say: for each kind of document its relations, each with ways to state and to ask it.

A relation holds between a subject {s} and a value {v}. In one document a pair (relation, subject) has one value, so
each question has one answer. Where a statement can be asked from both ends, the second end is `back`.
"""
from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Callable, Optional

import words

Draw = Callable[[Random], str]


@dataclass(frozen=True)
class Relation:
    subject: Draw
    value: Draw
    says: tuple[str, ...]  # each holds {s} and {v}
    asks: tuple[str, ...]  # each holds {s}; answered by {v}
    back: Optional[str] = None  # holds {v}; answered by {s}


@dataclass(frozen=True)
class Kind:
    name: str
    titles: tuple[str, ...]
    stamp: Optional[Draw]  # what may stand before an entry
    relations: tuple[Relation, ...]


def a_date(draw: Random) -> str:
    return words.date(draw) + ". "


def an_hour(draw: Random) -> str:
    return words.hour(draw) + "  "


def an_item(draw: Random) -> str:
    return f"Item {draw.randint(1, 60)}. "


INSPECTION = Kind("inspection", (
    "INSPECTION LOG", "REPORT OF THE YEARLY INSPECTION", "THE ENGINEER'S LOG", "SURVEY OF THE WORKS",
), an_hour, (
    Relation(words.thing, words.serial,
             ("The serial number of the {s} is {v}.", "The {s} bears the serial number {v}.",
              "Plate of the {s} cleaned and read: serial number {v}."),
             ("What is the serial number of the {s}?", "Which serial number does the {s} bear?")),
    Relation(words.thing, lambda draw: words.number(draw) + " bar",
             ("The gauge on the {s} stood at {v}.", "Pressure at the {s} was {v}, and steady.", "At the {s} we read {v}."),
             ("What was the pressure at the {s}?", "At what pressure did the gauge on the {s} stand?")),
    Relation(words.thing, words.person,
             ("The {s} was examined by {v}.", "{v} examined the {s} and found nothing to remark.", "Examined the {s} ({v})."),
             ("Who examined the {s}?", "By whom was the {s} examined?")),
    Relation(words.thing, words.date,
             ("The {s} was last oiled on {v}.", "Grease on the {s} is dry; it was last oiled on {v}."),
             ("When was the {s} last oiled?", "On what day was the {s} last oiled?")),
    Relation(words.thing, words.place,
             ("A spare for the {s} is kept at {v}.", "The spare part of the {s} lies at {v} and must be fetched."),
             ("Where is the spare for the {s} kept?", "Where does the spare of the {s} lie?")),
    Relation(words.thing, lambda draw: words.number(draw) + " mm",
             ("Wear of the {s}: {v}.", "The {s} is worn by {v}, which is allowed."),
             ("How much is the {s} worn?", "What is the wear of the {s}?")),
))
MINUTES = Kind("minutes", (
    "MINUTES OF THE MEETING", "MINUTES OF THE PARISH COUNCIL", "MINUTES OF THE HARBOUR BOARD", "PROCEEDINGS OF THE SOCIETY",
), an_item, (
    Relation(words.thing, words.person,
             ("It was proposed by {v} that the {s} be repaired.", "{v} proposed that the {s} be repaired, and it was carried."),
             ("Who proposed that the {s} be repaired?", "Who proposed the repair of the {s}?")),
    Relation(words.thing, words.amount,
             ("The sum of {v} was voted for the {s}.", "For the {s} the meeting voted {v}.", "Voted: {v} for the {s}."),
             ("What sum was voted for the {s}?", "How much was voted for the {s}?")),
    Relation(words.thing, words.person,
             ("{v} was given charge of the {s}.", "Charge of the {s} was given to {v}."),
             ("Who was given charge of the {s}?", "To whom was charge of the {s} given?")),
    Relation(words.thing, words.place,
             ("The committee for the {s} will meet at {v}.", "It was agreed that the committee for the {s} meet at {v}."),
             ("Where will the committee for the {s} meet?", "At what place does the committee for the {s} meet?")),
    Relation(words.person, words.number,
             ("{s} was elected with {v} votes.", "There were {v} votes for {s}."),
             ("How many votes did {s} receive?", "With how many votes was {s} elected?")),
    Relation(words.person, words.code,
             ("The petition of {s} was filed as {v}.", "Filed as {v}: the petition of {s}."),
             ("Under what number was the petition of {s} filed?", "As what was the petition of {s} filed?"),
             "Whose petition was filed as {v}?"),
))
LEDGER = Kind("ledger", (
    "LEDGER", "THE STEWARD'S ACCOUNTS", "DAY BOOK", "BOOK OF PAYMENTS AND RECEIPTS",
), a_date, (
    Relation(words.person, words.amount,
             ("Paid to {s} {v}.", "Paid {v} to {s}, by his own hand.", "To {s}, in full of all demands, {v}."),
             ("How much was paid to {s}?", "What sum was paid to {s}?")),
    Relation(words.person, words.amount,
             ("Received of {s} {v}.", "Received {v} of {s}, being rent.", "By cash of {s}, {v}."),
             ("How much was received of {s}?", "What sum was received of {s}?")),
    Relation(words.thing, words.code,
             ("Voucher {v} is for the {s}.", "For work on the {s} see voucher {v}."),
             ("Which voucher is for the {s}?", "What is the voucher for the {s}?"), "What is voucher {v} for?"),
    Relation(words.person, words.cargo,
             ("Bought of {s}: {v}.", "{s} delivered {v}.", "Came from {s} {v}."),
             ("What was bought of {s}?", "What did {s} deliver?")),
    Relation(words.person, words.amount,
             ("{s} still owes {v}.", "Owing by {s} at the quarter: {v}."),
             ("How much does {s} still owe?", "What is owing by {s}?")),
    Relation(words.person, words.serial,
             ("The account of {s} is number {v}.", "Opened account number {v} for {s}."),
             ("What is the account number of {s}?", "Which number has the account of {s}?"), "Whose account is number {v}?"),
))
LETTERS = Kind("letters", (
    "LETTERS", "FROM A FAMILY'S LETTERS", "CORRESPONDENCE", "LETTERS TO MY SISTER",
), None, (
    Relation(words.person, words.place,
             ("{s} now lives at {v}.", "You will remember {s}, who lives at {v} these days.",
              "They tell me that {s} has gone to live at {v}."),
             ("Where does {s} live?", "At what place does {s} live now?")),
    Relation(words.person, words.person,
             ("{s} is to marry {v} in the spring.", "It is settled that {s} shall marry {v}.", "{s} is engaged to {v}."),
             ("Whom is {s} to marry?", "To whom is {s} engaged?")),
    Relation(words.person, words.amount,
             ("I have sent {s} {v}.", "By this post I sent {v} to {s}."),
             ("How much did I send to {s}?", "What sum was sent to {s}?")),
    Relation(words.person, words.date,
             ("{s} will arrive on {v}.", "We look for {s} on {v}."),
             ("When will {s} arrive?", "On what day will {s} arrive?")),
    Relation(words.person, words.year,
             ("{s} was born in {v}.", "In the family Bible {s} is entered as born in {v}."),
             ("In what year was {s} born?", "When was {s} born?")),
    Relation(words.person, words.place,
             ("{s} went to school at {v}.", "As a child {s} was sent to school at {v}."),
             ("Where did {s} go to school?", "At what place was {s} sent to school?")),
))
REGISTER = Kind("register", (
    "REGISTER OF SHIPPING", "THE HARBOUR MASTER'S LOG", "REGISTER OF THE ARCHIVE", "CATALOGUE AND REGISTER",
), a_date, (
    Relation(words.ship, words.person,
             ("The master of {s} is {v}.", "{s} came in under {v}."),
             ("Who is the master of {s}?", "Under whom did {s} come in?")),
    Relation(words.ship, words.place,
             ("{s} sailed for {v}.", "{s} cleared for {v} with the tide.", "Bound for {v}: {s}."),
             ("Where is {s} bound for?", "For what place did {s} sail?")),
    Relation(words.ship, words.cargo,
             ("{s} carries {v}.", "Aboard {s} there are {v}."),
             ("What does {s} carry?", "What is aboard {s}?")),
    Relation(words.ship, words.hour,
             ("{s} made fast at {v}.", "At {v} {s} made fast."),
             ("At what hour did {s} make fast?", "When did {s} make fast?")),
    Relation(words.person, words.code,
             ("Box {v} holds the papers of {s}.", "The papers of {s} are in box {v}."),
             ("Which box holds the papers of {s}?", "In what box are the papers of {s}?"), "Whose papers are in box {v}?"),
    Relation(words.person, words.code,
             ("Berth {v} was let to {s}.", "{s} has taken berth {v}."),
             ("Which berth was let to {s}?", "What berth has {s} taken?"), "To whom was berth {v} let?"),
))
KINDS = (INSPECTION, MINUTES, LEDGER, LETTERS, REGISTER)
