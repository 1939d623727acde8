#!/usr/bin/python3
"""`penstock run` as a person meets it: inputs, results, refusals, exit codes, and the same bytes whatever the layout.

Each method of Runs is a fact; --only WORD runs those whose names hold WORD.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import CommandError, build_folder  # noqa: E402
from e2e.runs import (  # noqa: E402
    QUESTION, Ended, Workplace, answer_differences, answers, facts_of, lines, record_all, records, title, wait_until,
)  # fmt: skip
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 65536)  # fmt: skip
SHORT = ("--set", "generation.max_tokens=24")
RESULT_KEYS = ["id", "custom_id", "response", "error"]


def pipeline_text(*layers: str, limits: str = "", threads: int = 1) -> str:
    parts = [f"  - {{ name: l{i}, kind: layers, layers: {part}, threads: {threads} }}\n" for i, part in enumerate(layers)]
    limits = f"limits: {{ {limits} }}\n" if limits else ""
    return (f"version: 1\n{limits}stages:\n  - {{ name: tok, kind: tokenize }}\n" + "".join(parts)
            + "  - { name: head, kind: head }\n  - { name: detok, kind: detokenize }\n")  # fmt: skip


def tensors_of(names: list[str], first: int, last: int) -> int:
    """How many tensors of a checkpoint a layers stage needs; the first one embeds."""
    layer = re.compile(r"model\.layers\.(\d+)\.")
    found = [match for match in map(layer.match, names) if match]
    return sum(first <= int(m[1]) <= last for m in found) + (first == 0)


class Runs:
    def __init__(self, build: Path) -> None:
        self._place = Workplace(build, SHAPE, cut=("0-1", "2-3"))
        self._docs = self._place.write_documents(5, 1800)
        self._names = [f"docs/part-{i}.txt" for i in range(5)]
        self._base = self._run("base", "docs")
        self._answers = answers(self._place.folder / "base")

    def _run(self, out: str, *inputs: object, options: tuple = (), **more) -> Ended:
        return self._place.run(inputs, out, *SHORT, *options, **more)

    def _out(self, name: str) -> Path:
        return self._place.folder / name

    def _same_as_base(self, out: str, ended: Ended) -> list[str]:
        return ended.expect(0) or answer_differences(self._out(out), self._answers)

    def _written(self, out: str) -> dict[Path, tuple[int, bytes]]:
        """Every file with its content and when it was written."""
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in self._out(out).iterdir() if path.is_file()}

    def _errors(self, out: str) -> dict[str, dict]:
        return {record["custom_id"]: record["error"] for record in records(self._out(out) / "errors.jsonl")}

    def a_folder_gives_one_result_for_each_document(self) -> list[str]:
        found = self._base.expect(0)
        ids = sorted(record["custom_id"] for record in records(self._out("base") / "results.jsonl"))
        expected = [f"{name}#1" for name in self._names]
        found += [] if ids == expected else [f"custom ids {ids}, expected {expected}"]
        return found + ([] if self._base.out == "" else [f"stdout holds {self._base.out[:100]!r}"])

    def a_result_line_is_that_of_the_openai_batch_api(self) -> list[str]:
        found = []
        for record in records(self._out("base") / "results.jsonl"):
            body = record["response"]["body"]
            usage, choice = body["usage"], body["choices"][0]
            found += [] if list(record) == RESULT_KEYS else [f"keys {list(record)}"]
            facts = {
                "id is batch_req_…": re.fullmatch(r"batch_req_[0-9a-f]{16}", record["id"]),
                "error is null": record["error"] is None,
                "status_code is 200": record["response"]["status_code"] == 200,
                "object": body["object"] == "chat.completion",
                "model": body["model"] == "model",
                "one choice, index 0": len(body["choices"]) == 1 and choice["index"] == 0,
                "role": choice["message"]["role"] == "assistant" and isinstance(choice["message"]["content"], str),
                "finish_reason": choice["finish_reason"] in ("stop", "length"),
                "prompt_tokens": usage["prompt_tokens"] > 100,
                "completion_tokens": 1 <= usage["completion_tokens"] <= 24,
                "length is max_tokens": choice["finish_reason"] == "stop" or usage["completion_tokens"] == 24,
                "total_tokens": usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"],
                "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"] == 0,
            }
            found += [f"{record['custom_id']}: {fact}" for fact, holds in facts.items() if not holds]
        ids = [record["id"] for record in records(self._out("base") / "results.jsonl")]
        return found + ([] if len(set(ids)) == 5 else ["ids are not unique"])

    def each_request_has_a_readable_file(self) -> list[str]:
        found = []
        for record in records(self._out("base") / "results.jsonl"):
            name = record["custom_id"].replace("/", "__").replace("#", ".") + ".md"
            path, content = self._out("base") / name, record["response"]["body"]["choices"][0]["message"]["content"]
            if not path.exists():
                found.append(f"{name} is missing")
            elif content not in path.read_text():
                found.append(f"{name} does not hold the answer")
        return found

    def the_summary_counts_what_was_done(self) -> list[str]:
        summary = json.loads((self._out("base") / "summary.json").read_text())
        usages = [r["response"]["body"]["usage"] for r in records(self._out("base") / "results.jsonl")]
        expected = {
            "requests": 5, "done": 5, "failed": 0, "left": 0,
            "prompt_tokens": sum(u["prompt_tokens"] for u in usages),
            "completion_tokens": sum(u["completion_tokens"] for u in usages),
        }  # fmt: skip
        return [f"{key} is {summary[key]}, expected {value}" for key, value in expected.items() if summary[key] != value]

    def each_stage_reads_its_own_tensors_only(self) -> list[str]:
        names = list(json.loads((self._place.model / "model.safetensors.index.json").read_text())["weight_map"])
        found, total = [], 0
        for stage in json.loads((self._out("base") / "summary.json").read_text())["stages"]:
            if stage["kind"] == "layers":
                first, last = map(int, stage["layers"].split("-"))
                expected = tensors_of(names, first, last)
            else:
                expected = 2 if stage["kind"] == "head" else 0  # the final norm and the head
            total += stage.get("tensors", 0)
            if stage.get("tensors", 0) != expected:
                found.append(f"{stage['name']} read {stage['tensors']} tensors, expected {expected}")
        return found + ([] if total == len(names) else [f"{total} tensors in all, the checkpoint has {len(names)}"])

    def files_are_read_in_any_order(self) -> list[str]:
        return self._same_as_base("order", self._run("order", *reversed(self._names)))

    def the_same_run_again_gives_the_same_bytes(self) -> list[str]:
        return self._same_as_base("again", self._run("again", "docs"))

    def standard_input_is_a_document(self) -> list[str]:
        text = (self._docs / "part-0.txt").read_bytes()
        ended = self._run("stdin", "-", stdin=text)
        found = ended.expect(0)
        if found:
            return found
        (record,) = records(self._out("stdin") / "results.jsonl")
        same = next(r for r in records(self._out("base") / "results.jsonl") if r["custom_id"] == "docs/part-0.txt#1")
        found += [] if record["custom_id"] == "stdin#1" else [f"custom_id {record['custom_id']}"]
        answer = record["response"]["body"]["choices"]
        return found + ([] if answer == same["response"]["body"]["choices"] else ["not the answer of the same text in a file"])

    def stdout_holds_result_lines_only(self) -> list[str]:
        ended = self._run("-", "docs")
        expected = self._answers["results.jsonl"]
        found = ended.expect(0)
        found += [] if sorted(ended.out.encode().split(b"\n")[:-1]) == expected else ["stdout is not the lines of results.jsonl"]
        return found + ([] if not self._out("-").exists() else ["a folder named - was made"])

    def the_stages_that_the_program_chooses_give_the_same_bytes(self) -> list[str]:
        chosen = self._place.write_pipeline("chosen.yaml", "version: 1\n")
        return self._same_as_base("chosen", self._run("chosen", "docs", pipeline=chosen))

    def one_stage_of_all_layers_gives_the_same_bytes(self) -> list[str]:
        pipeline = self._place.write_pipeline("one.yaml", pipeline_text("0-3", limits="batch_rows: 64, sequences: 3"))
        return self._same_as_base("one", self._run("one", "docs", pipeline=pipeline))

    def a_stage_for_each_layer_gives_the_same_bytes(self) -> list[str]:
        text = pipeline_text("0", "1", "2", "3", limits="batch_rows: 17, sequences: 5, window: 9", threads=2)
        return self._same_as_base("each", self._run("each", "docs", pipeline=self._place.write_pipeline("each.yaml", text)))

    def settings_of_the_pipeline_give_the_same_bytes(self) -> list[str]:
        found = []
        for i, settings in enumerate((
            ("limits.window=2",), ("limits.window=1", "limits.sequences=1"), ("limits.batch_rows=1000",),
            ("limits.sequences=2", "limits.batch_rows=7"), ("stages.layers-0-1.threads=3", "stages.head.threads=2"),
            ("stages.layers-2-3.device=cpu:plain",), ("limits.context=4096",),
        )):  # fmt: skip
            options = [word for setting in settings for word in ("--set", setting)]
            complaints = self._same_as_base(f"set-{i}", self._run(f"set-{i}", "docs", options=tuple(options)))
            found += [f"{' '.join(settings)}: {complaint}" for complaint in complaints]
        return found

    def bad_documents_fail_by_name_and_the_others_finish(self) -> list[str]:
        bad = self._place.folder / "bad"
        bad.mkdir()
        (bad / "empty.txt").touch()
        (bad / "latin.txt").write_bytes(b"caf\xe9 au lait")
        (bad / "picture.png").write_bytes(b"\x89PNG")
        (bad / "folder.txt").mkdir()
        (bad / "pipe.txt").mkdir()
        os.rmdir(bad / "pipe.txt")
        os.mkfifo(bad / "pipe.txt")
        (bad / "long.txt").write_text("word " * 6000)
        good = self._names[0]
        inputs = ["bad/missing.txt", "bad/empty.txt", "bad/latin.txt", "bad/picture.png", "bad/pipe.txt", "bad/long.txt", good]
        ended = self._run("bad-out", *inputs, options=("--set", "limits.context=4096"))
        found = ended.expect(3, "1 of 7 requests done, 6 failed")
        expected = {
            "missing": ("not_found", "No such file"), "empty": ("empty", "is empty"),
            "latin": ("invalid_utf8", "byte 3 (0xE9) is not UTF-8"), "pipe": ("unreadable", "not a regular file"),
            "long": ("context_length_exceeded", "more than the context of 4096"),
        }  # fmt: skip
        errors = self._errors("bad-out")
        named = {f"bad/{name}.txt#1": value for name, value in expected.items()}
        named["bad/picture.png#1"] = ("unsupported_kind", "no filter for .png in this version")
        found += [] if errors.keys() == named.keys() else [f"failures of {sorted(errors)}, expected {sorted(named)}"]
        for name, (code, words) in named.items():
            error = errors.get(name, {"code": None, "message": ""})
            if error["code"] != code or words not in error["message"]:
                found.append(f"{name}: {error}, expected {code}: {words}")
        done = [record["custom_id"] for record in records(self._out("bad-out") / "results.jsonl")]
        found += [] if done == [f"{good}#1"] else [f"results of {done}"]
        files = [path.name for path in self._out("bad-out").glob("*.md")]
        return found + ([] if len(files) == 1 else [f"readable files {files}"])

    def a_folder_named_like_a_document_is_a_folder(self) -> list[str]:
        inside = self._place.folder / "nested.txt" / "deep"
        inside.mkdir(parents=True)
        (inside / "note.md").write_text("A note.")
        (inside / "image.png").touch()
        found = self._run("nested", "nested.txt").expect(0)
        ids = [record["custom_id"] for record in records(self._out("nested") / "results.jsonl")]
        return found + ([] if ids == ["nested.txt/deep/note.md#1"] else [f"results of {ids}"])

    def inputs_without_any_document_are_refused(self) -> list[str]:
        (self._place.folder / "void").mkdir()
        return self._run("void-out", "void").expect(2, "nothing is asked: no document")

    def sampling_is_repeated_by_its_seed(self) -> list[str]:
        def sampled(out: str, seed: int) -> list[bytes]:
            options = ("--set", "generation.temperature=1", "--set", f"generation.seed={seed}")
            found.extend(self._run(out, "docs", options=options).expect(0))
            return sorted(lines(self._out(out) / "results.jsonl"))

        found: list[str] = []
        one, same, other = sampled("seed-a", 7), sampled("seed-b", 7), sampled("seed-c", 8)
        found += [] if one == same else ["the same seed gave other answers"]
        found += [] if not set(one) & set(other) else ["another seed gave an equal answer"]
        return found + ([] if not set(one) & set(self._answers["results.jsonl"]) else ["temperature 1 is temperature 0"])

    def an_unknown_option_is_usage(self) -> list[str]:
        found = self._run("usage", "docs", options=("--answrs", "3")).expect(2, "--answrs")
        found += self._run("usage", "docs", options=("--set", "limits.contxt=3")).expect(2, 'did you mean "context"?')
        return found + ([] if not self._out("usage").exists() else ["an output folder was made"])

    def a_missing_model_is_exit_6(self) -> list[str]:
        return self._run("no-model", "docs", model=Path("nowhere")).expect(6, "the model nowhere: No such file or directory")

    def a_cut_shard_is_exit_6_with_its_name(self) -> list[str]:
        model = self._place.copy_model("cut-model")
        shard = next(model.glob("*.safetensors"))
        os.truncate(shard, shard.stat().st_size - 100)
        return self._run("cut", "docs", model=model).expect(6, shard.name) + self._place.left()

    def a_tensor_that_is_not_there_is_exit_6_with_its_name(self) -> list[str]:
        model = self._place.copy_model("lost-model")
        shard = next(model.glob("*.safetensors"))
        name = b"model.layers.3.post_attention_layernorm.weight"
        content = shard.read_bytes()
        if content.count(name) != 1:
            return [f"{name.decode()} is not once in the shard: the test is wrong"]
        shard.write_bytes(content.replace(name, name.replace(b"weight", b"wait__")))
        return self._run("lost", "docs", model=model).expect(6, name.decode()) + self._place.left()

    def a_second_coordinator_is_told_who_is_there(self) -> list[str]:
        long = ("--set", "generation.max_tokens=400")
        first = self._place.start(["docs"], "shared", *long)
        first.stage("head")
        found = self._place.run(["docs"], "shared", *long).expect(73, f"in use by another coordinator (pid {first.process.pid})")
        return found + first.end().expect(0)

    def a_finished_directory_is_left_as_it_is(self) -> list[str]:
        before = self._written("base")
        ended = self._run("base", "docs")
        found = ended.expect(0, "5 of 5 requests done")
        found += [] if before == self._written("base") else ["a file was written again"]
        return found + ([] if "pid" not in ended.err else ["stages were started for nothing"])

    def more_documents_join_a_finished_directory(self) -> list[str]:
        found = self._run("grown", *self._names[:2]).expect(0)
        return found + self._same_as_base("grown", self._run("grown", "docs"))

    def another_question_is_refused(self) -> list[str]:
        ended = self._run("base", "docs", question="Who is it?")
        return ended.expect(2, "holds the results of another run", QUESTION, "Who is it?") + answer_differences(
            self._out("base"), self._answers
        )

    def a_restart_key_is_not_in_this_version(self) -> list[str]:
        text = pipeline_text("0-3").replace("stages:\n", "restart: { max: 5 }\nstages:\n")
        ended = self._run("restart", "docs", pipeline=self._place.write_pipeline("restart.yaml", text))
        return ended.expect(2, "restart.yaml:2:1: restart: not in this version")

    def process_titles_say_kind_name_and_layers(self) -> list[str]:
        running = self._place.start(["docs"], "titles", "--set", "generation.max_tokens=400")
        wait_until(lambda: len(running.stages()) == 5, "five stages have their titles")
        seen = sorted(title(pid) for pid in running.stages().values())
        found = running.end().expect(0)
        expected = [
            "penstock-detokenize detokenize", "penstock-head head", "penstock-layers layers-0-1: layers 0-1, 1 threads",
            "penstock-layers layers-2-3: layers 2-3, 1 threads", "penstock-tokenize tokenize",
        ]  # fmt: skip
        return found + ([] if seen == expected else [f"titles {seen}, expected {expected}"]) + running.left()

    def the_directory_holds_nothing_but_results(self) -> list[str]:
        names = sorted(path.name for path in self._out("base").iterdir())
        expected = sorted([".penstock", "errors.jsonl", "results.jsonl", "summary.json", *(
            f"docs__part-{i}.txt.1.md" for i in range(5))])  # fmt: skip
        return ([] if names == expected else [f"{names}, expected {expected}"]) + self._place.left()


def main() -> int:
    parser = argparse.ArgumentParser(description="penstock run end to end.")
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", metavar="WORD", help="only facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    try:
        runs = Runs(build_folder(options.build))
    except CommandError as error:
        tally.record("the_command_is_built", [str(error)])
        return tally.finish()
    record_all(tally, list(facts_of(runs)), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
