#!/usr/bin/python3
"""Request files and questions, end to end: OpenAI batch lines in and out, documents × questions, several answers.

Each method of Requests is a fact; --only WORD runs those whose names hold WORD.
"""
from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, CommandError, build_folder  # noqa: E402
from e2e.runs import (  # noqa: E402
    Ended, Skip, Workplace, answer_differences, answers, facts_of, lines, record_all, records,
    wait_until,
)  # fmt: skip
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 65536)  # fmt: skip
SHORT = ("--set", "generation.max_tokens=12")
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
NIAH = ROOT.parent / "shared/data/mr-niah"


def line(custom_id: str, url: str = CHAT, **body: object) -> dict:
    if url == CHAT:
        body.setdefault("messages", [{"role": "user", "content": f"What is {custom_id}?"}])
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def body_of(record: dict) -> dict:
    return record["response"]["body"]


def contents(record: dict) -> list[str]:
    return [choice["message"]["content"] for choice in body_of(record)["choices"]]


class Requests:
    def __init__(self, build: Path) -> None:
        self._place = Workplace(build, SHAPE, endless=True)
        self._docs = self._place.write_documents(3, 900)

    def _out(self, name: str) -> Path:
        return self._place.folder / name

    def _run(self, out: str, *inputs: object, options: tuple = (), question=None, **more) -> Ended:
        return self._place.run(inputs, out, *SHORT, *options, question=question, **more)

    def _write(self, name: str, *rows: object) -> str:
        """A file of lines: objects as JSON, texts as they are."""
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        (self._place.folder / name).write_text(text)
        return name

    def _results(self, out: str) -> dict[str, dict]:
        return {record["custom_id"]: record for record in records(self._out(out) / "results.jsonl")}

    def _errors(self, out: str) -> dict[str, dict]:
        return {record["custom_id"]: record["error"] for record in records(self._out(out) / "errors.jsonl")}

    def a_chat_line_is_answered_as_the_text_of_its_prompt(self) -> list[str]:
        prompt = ("<begin_of_document><beginning_of_sentence>user name=user\nWhat is a?<end_of_sentence>\n"
                  "<beginning_of_sentence>ai name=assistant\n")  # fmt: skip
        name = self._write("pair.jsonl", line("a"), line("b", TEXT, prompt=prompt))
        found = self._run("pair", name).expect(0)
        results = self._results("pair")
        chat, text = body_of(results["a"]), body_of(results["b"])
        found += [] if chat["object"] == "chat.completion" and text["object"] == "text_completion" else ["objects"]
        found += [] if chat["choices"][0]["message"]["content"] == text["choices"][0]["text"] else ["texts differ"]
        return found + ([] if chat["usage"] == text["usage"] else ["usage differs"])

    def special_tokens_are_tokens_in_requests_and_letters_in_documents(self) -> list[str]:
        text = "<end_of_sentence>\n\nWho?"
        (self._place.folder / "special.txt").write_text("<end_of_sentence>")
        name = self._write("special.jsonl", line("markup", TEXT, prompt=text))
        found = self._run("special", name, "special.txt", question="Who?").expect(0)
        tokens = {key: body_of(r)["usage"]["prompt_tokens"] for key, r in self._results("special").items()}
        return found + ([] if tokens["special.txt#1"] > tokens["markup"] + 3 else [f"prompt tokens {tokens}"])

    def token_ids_are_a_prompt_as_their_text_is(self) -> list[str]:
        text = "The water came down the penstock."
        tokens = subprocess.run([self._place.command.binary, "tokenize", "-m", self._place.model, "-"],
                                input=text.encode(), capture_output=True)  # fmt: skip
        ids = json.loads(tokens.stdout)
        name = self._write("ids.jsonl", line("ids", TEXT, prompt=ids), line("text", TEXT, prompt=text))
        found = self._run("ids", name).expect(0)
        results = self._results("ids")
        same = body_of(results["ids"])["choices"] == body_of(results["text"])["choices"]
        return found + ([] if same else ["the answers differ"])

    def one_bad_line_costs_one_error_line(self) -> list[str]:
        rows = [line("good"), "{", line("penalty", presence_penalty=1.5), line("good"), "",
                line("long", TEXT, prompt="water " * 3000), line("far", TEXT, prompt=[1, 4096])]
        name = self._write("bad.jsonl", *rows)
        found = self._run("bad", name, options=("--set", "limits.context=2048")).expect(3)
        expected = {"bad.jsonl:2": "invalid_json", "penalty": "unsupported_field", "bad.jsonl:4": "duplicate_custom_id",
                    "long": "context_length_exceeded", "far": "invalid_request"}
        codes = {custom_id: error["code"] for custom_id, error in self._errors("bad").items()}
        found += [] if codes == expected else [f"codes {codes}, expected {expected}"]
        return found + ([] if list(self._results("bad")) == ["good"] else [f"results {list(self._results('bad'))}"])

    def a_file_of_bad_lines_only_is_answered_with_errors(self) -> list[str]:
        name = self._write("worst.jsonl", "[]", line("", messages=[]))
        found = self._run("worst", name).expect(3)
        return found + ([] if len(self._errors("worst")) == 2 else [f"errors {self._errors('worst')}"])

    def an_interrupt_is_heard_among_very_many_bad_lines(self) -> list[str]:
        rows = ["{"] * 1500 + [line("good")]
        name = self._write("lines.jsonl", *rows)
        running = self._place.start([name], "lines", *SHORT, question=None)
        wait_until(lambda: len(lines(self._out("lines") / "errors.jsonl")) >= 20, "20 lines failed")
        running.signal(signal.SIGTERM)
        found = running.end().expect(75, "the same command goes on")
        ended = len(lines(self._out("lines") / "errors.jsonl"))
        found += [] if ended < 1500 else ["all bad lines were done before the signal was looked at"]
        found += self._run("lines", name).expect(3, "1 of 1501 requests done, 1500 failed")
        return found + ([] if len(self._errors("lines")) == 1500 else ["not each bad line has a record"])

    def an_answer_does_not_depend_on_what_runs_beside_it(self) -> list[str]:
        asked = [line(f"r{i}", temperature=1, top_p=0.9, top_k=50, seed=i, n=2) for i in range(6)]
        found = self._run("all", self._write("all.jsonl", *asked)).expect(0)
        found += self._run("few", self._write("few.jsonl", asked[4], asked[1]),
                           options=("--set", "limits.sequences=1", "--set", "limits.batch_rows=16")).expect(0)
        all_results, few = self._results("all"), self._results("few")
        return found + [f"{name} differs" for name in few if contents(few[name]) != contents(all_results[name])]

    def several_answers_differ_and_the_first_is_that_of_one(self) -> list[str]:
        found = self._run("four", self._write("four.jsonl", line("a", n=4, temperature=1, seed=5))).expect(0)
        found += self._run("one", self._write("one.jsonl", line("a", n=1, temperature=1, seed=5))).expect(0)
        four, one = contents(self._results("four")["a"]), contents(self._results("one")["a"])
        usage = body_of(self._results("four")["a"])["usage"]
        found += [] if four[0] == one[0] else ["the first answer is not that of n=1"]
        found += [] if len(set(four)) == 4 else [f"answers are alike: {four}"]
        return found + ([] if usage["completion_tokens"] == 48 else [f"usage {usage}"])

    def what_a_line_says_goes_before_the_pipeline(self) -> list[str]:
        name = self._write("say.jsonl", line("three", max_tokens=3), line("more"))
        found = self._run("say", name).expect(0)
        counts = {custom_id: body_of(r)["usage"]["completion_tokens"] for custom_id, r in self._results("say").items()}
        return found + ([] if counts == {"three": 3, "more": 12} else [f"tokens {counts}"])

    def every_question_is_asked_of_every_document(self) -> list[str]:
        name = self._write("questions.txt", "Who?", "", "Where?")
        found = self._run("asked", "docs", options=("--questions", name)).expect(0)
        found += self._run("where", "docs", question="Where?").expect(0)
        asked, where = self._results("asked"), self._results("where")
        expected = sorted(f"docs/part-{d}.txt#{q}" for d in range(3) for q in (1, 2))
        found += [] if sorted(asked) == expected else [f"custom ids {sorted(asked)}"]
        return found + [f"{name} is not the answer to -q" for name in where
                        if contents(asked[name.replace("#1", "#2")]) != contents(where[name])]  # fmt: skip

    def a_question_may_be_of_one_document_and_have_an_id(self) -> list[str]:
        name = self._write("one.questions", {"id": "who", "question": "Who?", "document": "part-1.txt"},
                           {"question": "Where?"})
        found = self._run("named", "docs", options=("--questions", name)).expect(0)
        expected = ["docs/part-0.txt#2", "docs/part-1.txt#2", "docs/part-1.txt#who", "docs/part-2.txt#2"]
        names = sorted(self._results("named"))
        return found + ([] if names == expected else [f"custom ids {names}"])

    def true_answers_are_counted(self) -> list[str]:
        found = self._run("guess", "docs/part-0.txt", question="Who?").expect(0)
        truth = contents(self._results("guess")["docs/part-0.txt#1"])[0].strip() or "?"
        name = self._write("truth.questions", {"question": "Who?", "answer": f" {truth}\n"},
                           {"question": "Where?", "answer": "nowhere at all"})
        ended = self._run("truth", "docs/part-0.txt", options=("--questions", name))
        found += ended.expect(0, "1 of 2 answers are the true ones (50.0 %)")
        summary = json.loads((self._out("truth") / "summary.json").read_text())
        return found + ([] if summary["exact_match"] == {"right": 1, "of": 2} else [f"{summary['exact_match']}"])

    def true_answers_of_an_earlier_run_are_counted(self) -> list[str]:
        found = self._run("again", "docs/part-0.txt", "docs/part-1.txt", question="Who?").expect(0)
        truth = contents(self._results("again")["docs/part-1.txt#1"])[0]
        name = self._write("again.questions", {"question": "Who?", "answer": truth})
        found += self._run("again", "docs", options=("--questions", name)).expect(0, "1 of 3 answers are the true ones")
        found += self._run("again", "docs", options=("--questions", name)).expect(0, "1 of 3 answers are the true ones")
        summary = json.loads((self._out("again") / "summary.json").read_text())
        return found + ([] if summary["exact_match"] == {"right": 1, "of": 3} else [f"{summary['exact_match']}"])

    def blocks_of_questions_may_have_several_lines(self) -> list[str]:
        name = self._write("blocks.txt", "Who?", "And why?", "---", "Where?")
        found = self._run("blocks", "docs/part-0.txt", options=("--questions", name)).expect(0)
        found += self._run("block", "docs/part-0.txt", question="Who?\nAnd why?").expect(0)
        same = contents(self._results("blocks")["docs/part-0.txt#1"]) == contents(self._results("block")["docs/part-0.txt#1"])
        return found + ([] if same and len(self._results("blocks")) == 2 else ["the first block is not one question"])

    def a_prompt_file_is_what_the_model_reads(self) -> list[str]:
        (self._place.folder / "prompt.txt").write_text("\ufeffQ: {question} {x}\nD: {document}\n")
        found = self._run("prompted", "docs/part-0.txt", question="Who {document}?", options=("--prompt", "prompt.txt")).expect(0)
        text = (self._docs / "part-0.txt").read_text()
        found += self._run("typed", self._write("typed.jsonl", line("t", TEXT, prompt=f"Q: Who {{document}}? {{x}}\nD: {text}\n"))).expect(0)
        prompted = contents(self._results("prompted")["docs/part-0.txt#1"])[0]
        typed = body_of(self._results("typed")["t"])["choices"][0]["text"]
        return found + ([] if prompted == typed else ["the answers differ"])

    def answers_to_a_document_are_files(self) -> list[str]:
        found = self._run("files", "docs/part-0.txt", question="Who?", options=("-n", 2)).expect(0)
        names = sorted(path.name for path in self._out("files").glob("*.md"))
        expected = ["docs__part-0.txt.1.1.md", "docs__part-0.txt.1.2.md"]
        return found + ([] if names == expected else [f"files {names}"])

    def a_killed_run_of_requests_goes_on_to_the_same_results(self) -> list[str]:
        rows = [line(f"k{i}", TEXT, prompt=f"water {i} " * 40, max_tokens=60, n=1 + i % 2, temperature=1) for i in range(12)]
        name = self._write("kill.jsonl", *rows)
        found = self._run("whole", name).expect(0)
        running = self._place.start([name], "killed", *SHORT, question=None)
        running.await_results(3)
        running.kill()
        found += self._run("killed", name).expect(0)
        return found + answer_differences(self._out("killed"), answers(self._out("whole")))

    def a_drained_run_of_several_answers_goes_on_to_the_same_results(self) -> list[str]:
        rows = [line(f"d{i}", TEXT, prompt=f"water {i} " * 9, max_tokens=300, n=5, temperature=1) for i in range(8)]
        name, options = self._write("drain.jsonl", *rows), ("--set", "limits.sequences=3")
        found = self._run("undrained", name, options=options).expect(0)
        running = self._place.start([name], "drained", *SHORT, *options, question=None)
        running.await_results(2)
        running.signal(signal.SIGTERM)
        found += running.end().expect(75, "the same command goes on")
        found += self._run("drained", name, options=options).expect(0)
        return found + answer_differences(self._out("drained"), answers(self._out("undrained")))

    def documents_without_a_question_are_refused(self) -> list[str]:
        return self._run("none", "docs").expect(2, "a question is needed: -q TEXT or --questions FILE")

    def a_question_of_a_missing_document_is_refused(self) -> list[str]:
        name = self._write("missing.questions", {"question": "Who?", "document": "part-9.txt"})
        return self._run("missing", "docs", options=("--questions", name)).expect(2, "part-9.txt, which is not among")

    def two_ways_to_ask_are_refused(self) -> list[str]:
        name = self._write("q.txt", "Who?")
        return self._run("two", "docs", question="Who?", options=("--questions", name)).expect(2, "-q and --questions")

    def other_questions_are_another_run(self) -> list[str]:
        first, second = self._write("first.txt", "Who?", "Where?"), self._write("second.txt", "Who?", "When?")
        found = self._run("other", "docs", options=("--questions", first)).expect(0)
        return found + self._run("other", "docs", options=("--questions", second)).expect(2, "of another run")

    def conversations_of_thousands_of_tokens_run_through(self) -> list[str]:
        source = NIAH / "english-2048.jsonl"
        if not source.exists():
            raise Skip(f"{source} is absent")
        made = subprocess.run([ROOT / "tools/niah_requests.py", source, "--max-tokens", "8"], capture_output=True)
        (self._place.folder / "niah.jsonl").write_bytes(made.stdout)
        found = self._run("niah", "niah.jsonl").expect(0)
        tokens = [body_of(record)["usage"]["prompt_tokens"] for record in self._results("niah").values()]
        found += [] if len(tokens) == 30 else [f"{len(tokens)} results"]
        return found + ([] if tokens and min(tokens) > 1500 else [f"prompt tokens {tokens}"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Request files and questions end to end.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    try:
        requests = Requests(build_folder(options.build))
    except CommandError as error:
        tally.record("the_command_is_built", [str(error)])
        return tally.finish()
    record_all(tally, list(facts_of(requests)), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
