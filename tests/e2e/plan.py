#!/usr/bin/python3
"""`penstock plan` and `penstock doctor`: what they say, beside what processes really take and what is published.

The memory that a plan states for each stage is compared with the anonymous memory of the real process after a run that
filled what it states: within MARGIN of it and BASE_BYTES (an empty stage process: libraries, stacks, ZeroMQ); what weights and
read buffers take while loading may be more. Weights are compared to the byte with what stages say they read. Facts of the
full model are told of a config.json of its shape, and of its published metadata, which is not part of this project: these
are skipped where the folder (PENSTOCK_SHARED_DATA, else ../shared/data) is absent.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, CommandError, build_folder  # noqa: E402
from e2e.runs import Workplace, peak_memory  # noqa: E402
from reference.tally import Tally  # noqa: E402

FULL_MODEL = Path(os.environ.get("PENSTOCK_SHARED_DATA", ROOT.parent / "shared" / "data")) / "minimax-m1"
MIB = 1 << 20
# Wide enough that what is counted stands out of what any process takes.
SHAPE = ("--layers", 4, "--softmax-every", 2, "--hidden", 512, "--heads", 8, "--head-dim", 64, "--kv-heads", 8,
         "--rotary-dim", 32, "--inner", 1024, "--experts", 8, "--positions", 65536)  # fmt: skip
MARGIN = 0.10
BASE_BYTES = 6 * MIB
READ_BYTES = 32 * MIB  # of the reader, as far as there is something to read; loader/reader.h
PIPELINE = """version: 1
limits: { batch_rows: 2048, sequences: 1, context: CONTEXT, window: 3 }
stages:
  - { name: tokenize, kind: tokenize }
  - { name: low, kind: layers, layers: 0-0, threads: 1 }
  - { name: high, kind: layers, layers: 1-3, threads: 1 }
  - { name: head, kind: head, threads: 1 }
  - { name: detokenize, kind: detokenize }
"""


class Plan:
    def __init__(self, build: Path) -> None:
        self._place = Workplace(build, SHAPE, endless=True)
        self._environment = {**os.environ, "XDG_CACHE_HOME": str(self._place.folder / "cache")}

    def _call(self, code: int, *words: object) -> tuple[str, str]:
        done = subprocess.run([str(self._place.command.binary), *map(str, words)], env=self._environment,
                              capture_output=True, timeout=300, cwd=self._place.folder)  # fmt: skip
        if done.returncode != code:
            raise CommandError(f"penstock {' '.join(map(str, words))}: exit status {done.returncode}, expected {code}: "
                               + done.stderr.decode())  # fmt: skip
        return done.stdout.decode(), done.stderr.decode()

    def _plan(self, *words: object, code: int = 0) -> dict:
        return json.loads(self._call(code, "plan", "--json", *words)[0])

    def what_stages_take_is_what_the_plan_says(self) -> list[str]:
        """One document that fills the context but for a block, so that cache and tails are full."""
        tokens = 6000
        text = (ROOT / "examples/documents/pride-and-prejudice-1-5.txt").read_text()
        (self._place.folder / "long.txt").write_text(text[:21600])
        probe = self._place.run(["long.txt"], "probe", "--set", "generation.max_tokens=1", "--set", f"limits.context={2 * tokens}")
        if probe.expect(0):
            return probe.expect(0)
        prompt = json.loads((self._place.folder / "probe/results.jsonl").read_text())["response"]["body"]["usage"]["prompt_tokens"]
        pipeline = self._place.write_pipeline("memory.yaml", PIPELINE.replace("CONTEXT", str(prompt + 8)))
        plan = self._plan(pipeline, "-m", self._place.model)
        running = self._place.start(["long.txt"], "memory", "--set", "generation.max_tokens=8", pipeline=pipeline)
        peaks = peak_memory(running)
        found = running.end().expect(0)
        summary = {s["name"]: s for s in json.loads((self._place.folder / "memory/summary.json").read_text())["stages"]}
        for stage in plan["stages"]:
            name, said = stage["name"], stage["bytes"]
            if stage["kind"] not in ("layers", "head"):
                continue
            seen = peaks.get(name, 0)
            print(f"     {name}: {seen / MIB:.1f} MiB seen, {said / MIB:.1f} MiB said", flush=True)
            most = max(said, stage["weight_bytes"] + min(READ_BYTES, stage["weight_bytes"]))
            if not said * (1 - MARGIN) <= seen <= most * (1 + MARGIN) + BASE_BYTES:
                found.append(f"{name}: {seen} bytes of anonymous memory, the plan says {said}")
            if not 0 <= stage["weight_bytes"] - summary[name]["weight_bytes"] <= 0.01 * stage["weight_bytes"]:
                found.append(f"{name}: {summary[name]['weight_bytes']} bytes read, the plan says {stage['weight_bytes']} resident")
        read = sum(s.get("weight_bytes", 0) for s in summary.values())
        return found + ([] if read == plan["model"]["bytes"] else [f"stages read {read} bytes, the model has {plan['model']['bytes']}"])

    def without_a_file_the_plan_is_of_what_check_prints(self) -> list[str]:
        printed, said = self._call(0, "check", "--print", "-m", self._place.model)
        plan = self._plan("-m", self._place.model)
        found = [f"{s['name']} is not in {printed}" for s in plan["stages"] if f'name: "{s["name"]}"' not in printed]
        found += [] if f"batch_rows: {plan['limits']['batch_rows']}," in printed else [f"another batch_rows: {printed}"]
        found += [] if plan["chosen"] and plan["speeds"] == "built-in ratios" else [f"chosen by {plan['speeds']}"]
        return found + ([] if "chosen by built-in ratios" in said else [f"check does not say by what: {said}"])

    def what_does_not_fit_ends_with_4_and_says_by_how_much(self) -> list[str]:
        pipeline = self._place.write_pipeline("huge.yaml", PIPELINE.replace("batch_rows: 2048", "batch_rows: 65536")
                                              .replace("sequences: 1,", "sequences: 4096,").replace("CONTEXT", "128"))  # fmt: skip
        out, err = self._call(0, "plan", pipeline, "-m", self._place.model)
        found = [] if "fits  " in out else [out]
        huge = self._place.make_model("huge", ("--layers", 1, "--hidden", 8, "--inner", 8, "--experts", 1, "--experts-per-token", 1))
        config = json.loads((huge / "config.json").read_text()) | {"num_hidden_layers": 1000, "attn_type_list": [0] * 1000}
        bare = self._place.folder / "bare"
        bare.mkdir()
        config |= {"hidden_size": 65536, "intermediate_size": 65536, "num_local_experts": 64}
        (bare / "config.json").write_text(json.dumps(config))
        out, err = self._call(4, "plan", "-m", bare)
        found += [] if "fits NOT" in out and "too much" in out else [f"no such line in {out}"]
        found += [] if "does not fit: " in err and "GiB too much" in err else [f"stderr: {err}"]
        return found + ([] if "types assumed" in out else [f"does not say that types are assumed: {out}"])

    def a_price_is_per_million_tokens(self) -> list[str]:
        plan = self._plan("-m", self._place.model, "--price", "3.6")
        work, price = plan["workload"], plan["price"]
        expected = 3.6 / 3600 * 1e6 * work["prefill_seconds"] / work["documents"] / work["prompt_tokens"]
        return [] if abs(price["prefill_million"] / expected - 1) < 0.01 else [f"{price}, expected {expected}"]

    def doctor_measures_and_the_plan_uses_it(self) -> list[str]:
        out, err = self._call(0, "doctor", "--json", "--folder", self._place.folder)
        answer = json.loads(out)
        seen = {f["what"] for f in answer["findings"]}
        wanted = {"cores", "instruction sets", "kernels", "multiply-adds in registers, GFLOP/s", "io_uring", "NUMA nodes",
                  "plain reading of memory, GB/s", "transparent huge pages", "memory that may be locked", "open files",
                  "clock source", "reading weights", "folder of results", "folder of sockets", "CUDA driver", "NCCL"}  # fmt: skip
        found = [f"nothing about {what}" for what in wanted - seen]
        found += [f"{f}" for f in answer["findings"] if f["verdict"] not in ("ok", "slower", "missing")]
        found += [f"no advice: {f}" for f in answer["findings"] if f["verdict"] != "ok" and not f["advice"]]
        found += [f"{key}: {pair}" for key, pair in answer["speeds"].items() if not all(v > 0 for v in pair)]
        plan = self._plan("-m", self._place.model)
        found += [] if plan["speeds"].startswith("what penstock doctor measured") else [f"the plan's speeds are {plan['speeds']}"]
        left = [p.name for p in self._place.folder.iterdir() if p.name.startswith(".penstock-doctor")]
        return found + [f"left behind: {name}" for name in left]

    def doctor_reads_the_models_own_disk(self) -> list[str]:
        out, _ = self._call(0, "doctor", "-m", self._place.model, "--folder", self._place.folder, "--no-save")
        return [] if f"from {self._place.model}" in out else [out]

    def without_its_program_doctor_says_so_and_goes_on(self) -> list[str]:
        self._environment["PENSTOCK_LIBEXEC"] = str(self._place.folder / "nowhere")
        try:
            out, err = self._call(0, "doctor", "--folder", self._place.folder)
        finally:
            del self._environment["PENSTOCK_LIBEXEC"]
        return [] if "missing  kernels" in out and "nowhere/penstock-probe" in out and not err else [out, err]

    def the_published_index_gives_parameters_bytes_and_state(self) -> list[str]:
        if not FULL_MODEL.is_dir():
            raise Skipped(f"{FULL_MODEL} is not there")
        plan = self._plan("-m", FULL_MODEL, code=4)
        return wrong_size(plan) + ([] if "index" in plan["model"]["known_by"] else [plan["model"]["known_by"]])

    def the_published_shape_gives_parameters_bytes_and_state(self) -> list[str]:
        plan = self._plan("-m", self._published(), code=4)
        return wrong_size(plan) + ([] if "assumed" in plan["model"]["known_by"] else [plan["model"]["known_by"]])

    def of_the_full_model_a_person_reads_the_same_with_its_mode(self) -> list[str]:
        out, _ = self._call(4, "plan", "-m", self._published(), "--flops")
        wanted = ("456,089,655,296 parameters, 912,210,767,872 bytes", "280.0 MiB of boundary state", "80.0 KiB of KV cache a token",
                  "activations, state and cache in float32", "activations: bf16 (not in this version): tail 140.0 MiB, KV cache 40.0 KiB",
                  "64 K", "less than 50 % at 64K", "naive", "absorbed")  # fmt: skip
        return [f"not said: {words}" for words in wanted if words not in out]

    def long_answers_cost_what_the_shapes_say(self) -> list[str]:
        plan = self._plan("-m", self._published(), "--flops", code=4)
        table = {row["tokens"]: row for row in plan["generation"]}
        found = [] if sorted(table) == [32768, 65536, 102400, 131072] else [f"lengths {sorted(table)}"]
        parts = {n: (r["flops"] / r["deepseek_r1_naive_flops"], r["flops"] / r["deepseek_r1_absorbed_flops"]) for n, r in table.items()}
        naive, absorbed = parts[65536]
        found += [] if naive < 0.5 and absorbed < 0.5 else [f"at 64K {naive:.3f} and {absorbed:.3f}: the claim is below 0.5"]
        naive, absorbed = parts[102400]
        found += [] if absorbed < 0.25 < naive else [f"at 100K {absorbed:.3f} to {naive:.3f}: 0.25 does not lie between"]
        # docs/model.md, section 8: decode(t) = 94.7e9 + 327,680 t, summed over the answer
        expected = 102400 * 94.7e9 + 327_680 * 102400 * 102399 / 2
        return found + ([] if abs(table[102400]["flops"] / expected - 1) < 1e-3 else [f"{table[102400]['flops']}, expected {expected}"])

    def _published(self) -> Path:
        """A config.json of MiniMax-M1's shape (docs/model.md, section 1) and nothing else."""
        folder = self._place.folder / "published"
        if not folder.exists():
            folder.mkdir()
            config = json.loads((self._place.model / "config.json").read_text()) | {
                "hidden_size": 6144, "num_hidden_layers": 80, "num_attention_heads": 64, "head_dim": 128, "num_key_value_heads": 8,
                "rotary_dim": 64, "attn_type_list": ([0] * 7 + [1]) * 10, "intermediate_size": 9216, "num_local_experts": 32,
                "vocab_size": 200064, "max_position_embeddings": 10240000,
            }  # fmt: skip
            (folder / "config.json").write_text(json.dumps(config))
        return folder


class Skipped(Exception):
    pass


def wrong_size(plan: dict) -> list[str]:
    """Whatever differs from what docs/model.md says of the full model."""
    f32, bf16 = plan["document"]
    seen = {
        "parameters": plan["model"]["parameters"], "bytes": plan["model"]["bytes"], "modes": (f32["activations"], bf16["activations"]),
        "in this version": (f32["in_this_version"], bf16["in_this_version"]),
        "state": f32["boundary_state_bytes"], "tails": (f32["tail_bytes"], bf16["tail_bytes"]),
        "kv": (f32["kv_token_bytes"], bf16["kv_token_bytes"]), "fits": plan["fits"],
    }  # fmt: skip
    expected = {
        "parameters": 456_089_655_296, "bytes": 912_210_767_872, "modes": ("f32", "bf16"), "in this version": (True, False),
        "state": 280 * MIB, "tails": (280 * MIB, 140 * MIB), "kv": (80 << 10, 40 << 10), "fits": False,
    }  # fmt: skip
    return [f"{key}: {seen[key]}, expected {expected[key]}" for key in expected if seen[key] != expected[key]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD, else build/release)")
    parser.add_argument("--only", help="facts whose names contain this")
    options, tally = parser.parse_args(), Tally()
    suite = Plan(build_folder(options.build))
    for name in [name for name in vars(Plan) if not name.startswith("_")]:
        if options.only and options.only not in name:
            continue
        try:
            tally.record(name, getattr(suite, name)())
        except Skipped as reason:
            tally.skip(name, str(reason))
        except CommandError as error:
            tally.record(name, [str(error)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
