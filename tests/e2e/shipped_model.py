#!/usr/bin/python3
"""The trained model in examples/model through the real processes.

Its logits on shipped documents are those of the training code, which are stored in tests/golden/shipped with the ids of
Hugging Face's `tokenizers`, and those of the float64 reference; and the shipped questions are answered as the model's
card says, right to the letter or wrong.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, Command, CommandError, Options, build_folder, run_to_end  # noqa: E402
from reference import minimax, safetensors_io  # noqa: E402
from reference.tally import Tally  # noqa: E402

MODEL, DOCUMENTS, GOLDEN = ROOT / "examples/model", ROOT / "examples/documents", ROOT / "tests/golden/shipped"
LIMIT = 1e-4  # of the largest logit: float32 against float32 in another order of additions
TIE, TIES_MOST = 1e-5, 5  # in logits of the router, float32 and float64 differ by up to 1e-6
REPOSITORY_BYTES = 32_000_000
ASKED_BYTES = 7_000  # the documents of 1K and 2K tokens; the longer ones take their time in ./quickstart


def questions() -> list[dict]:
    return [json.loads(line) for line in (DOCUMENTS / "questions.jsonl").read_text().splitlines()]


def recorded() -> dict[str, str]:
    """What the model answers, by the question's id."""
    lines = (GOLDEN / "answers.jsonl").read_text().splitlines()
    return {row["id"]: row["answer"] for row in map(json.loads, lines)}


def label_of(question: dict) -> str:
    return question["document"].partition(".")[0].replace("-", "_")


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual.astype(np.float64) - expected).max() / np.abs(expected).max())


def within(found: float) -> list[str]:
    return [] if found <= LIMIT else [f"largest difference {found:.2g} of the largest logit, expected at most {LIMIT:g}"]


def reference_difference(logits: np.ndarray, reference: minimax.Trace) -> tuple[float, int]:
    """Over the rows whose choice of experts no rounding can turn; and how many rows are not of that kind."""
    clear = reference.router_margins.min(axis=0) > TIE
    return difference(logits[clear], reference.logits[clear]), int((~clear).sum())


def too_many(ties: int) -> list[str]:
    return [] if ties <= TIES_MOST else [f"{ties} rows at a tie of the router, expected at most {TIES_MOST}"]


def tokenized(command: Command, text: str) -> list[int]:
    done = subprocess.run([str(command.binary), "tokenize", "-m", str(MODEL), "-"], input=text.encode(), capture_output=True)
    if done.returncode:
        raise CommandError(f"tokenize: {done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def check_logits(tally: Tally, command: Command) -> None:
    expected = safetensors_io.read(GOLDEN / "expected.safetensors")
    asked = {q["id"]: q for q in questions()}
    names = sorted(name[: -len(".ids")] for name in expected if name.endswith(".ids"))
    results = command.logits(MODEL, [expected[name + ".ids"] for name in names], None, Options(internals=False))
    reference = minimax.Model(MODEL)
    for number, (name, trace) in enumerate(zip(names, results.traces)):
        label = label_of(asked[name])
        ids = expected[name + ".ids"]
        text = (DOCUMENTS / asked[name]["document"]).read_text(encoding="utf-8") + "\n\n" + asked[name]["question"]
        same = tokenized(command, text) == ids.tolist()
        tally.record(f"{label}_is_tokenized_as_in_training", [] if same else ["other ids than those of `tokenizers`"])
        worst = difference(trace.logits[expected[name + ".positions"]], expected[name + ".logits"])
        tally.record(f"{label}_has_the_logits_of_the_training_code", within(worst), f"largest difference {worst:.2g}")
        if number == 0:
            worst, ties = reference_difference(trace.logits, reference.forward(ids))
            note = f"largest difference {worst:.2g}; {ties} of {len(ids)} rows left out, whose router stands at a tie"
            tally.record(f"{label}_has_the_logits_of_the_float64_reference", within(worst) + too_many(ties), note)


def answers(command: Command, asked: list[dict]) -> dict[str, dict]:
    """The choice that answers each question, by the question's id: one run for all."""
    out, file = command.scratch / "out", command.scratch / "questions.jsonl"
    file.write_text("".join(json.dumps(question) + "\n" for question in asked))
    documents = sorted({str(DOCUMENTS / question["document"]) for question in asked})
    run_to_end([str(command.binary), "run", *documents, "-m", str(MODEL), "--questions", str(file), "-o", str(out),
                "--set", "generation.max_tokens=48"])  # fmt: skip
    lines = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    return {line["custom_id"].rpartition("#")[2]: line["response"]["body"]["choices"][0] for line in lines}


def misquoted(question: dict, choice: dict) -> list[str]:
    """Complaints about the quote: the bytes at its offsets are a line of the document, and hold the answer."""
    text = (DOCUMENTS / question["document"]).read_bytes()
    quote, content = choice.get("quote"), choice["message"]["content"].encode()
    if quote is None:
        return [f"{content!r} stands in the document, but has no quote"] if content in text else []
    there = text[quote["begin"] : quote["end"]]
    whole = text[quote["begin"] - 1 : quote["begin"]] in (b"", b"\n") and text[quote["end"] : quote["end"] + 1] == b"\n"
    return [] if whole and there == quote["line"].encode() and content in there else [f"quoted {quote}, there is {there!r}"]


def check_answers(tally: Tally, command: Command) -> None:
    known, quotes, quoted = recorded(), [], 0
    asked = [q for q in questions() if (DOCUMENTS / q["document"]).stat().st_size <= ASKED_BYTES]
    choices = answers(command, asked)
    for question in asked:
        choice = choices[question["id"]]
        got = choice["message"]["content"]
        complaints = [] if got == known[question["id"]] else [f"{got!r}, expected {known[question['id']]!r}"]
        quotes += misquoted(question, choice)
        quoted += "quote" in choice
        right = "right" if got == question["answer"] else f"wrong, true is {question['answer']!r}"
        tally.record(f"answered_as_recorded_{label_of(question)}_{question['id']}", complaints, right)
    complaints = quotes or ([] if quoted else ["nothing was quoted"])
    tally.record("answers_are_quoted_from_where_they_stand", complaints, f"{quoted} quotes")


def check_files(tally: Tally) -> None:
    size = sum(path.stat().st_size for path in MODEL.iterdir())
    tally.record("the_checkpoint_is_small", [] if size <= REPOSITORY_BYTES else [f"{size:,} bytes"], f"{size:,} bytes")
    missing = {q["id"] for q in questions()} ^ set(recorded())
    tally.record("every_shipped_question_has_a_recorded_answer", [f"only on one side: {sorted(missing)}"] if missing else [])


def main() -> int:
    parser = argparse.ArgumentParser(description="The trained model through the real command.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    options = parser.parse_args()
    tally = Tally()
    check_files(tally)
    try:
        command = Command(build_folder(options.build))
        check_logits(tally, command)
        check_answers(tally, command)
    except CommandError as error:
        tally.record("the_command_runs", [str(error)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
