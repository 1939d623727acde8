"""Runs the real command `penstock logits` over generated pipeline files, and reads what it wrote.

A Layout is a pipeline: which layers stages there are, with how many threads and on which device. Command.logits()
runs one real pipeline, every time a fresh one, and returns one Trace for each sequence. Whatever goes wrong
(the exit status, a missing tensor, a wrong shape) is a CommandError that says so; nothing is skipped.
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from reference import minimax, safetensors_io  # noqa: E402

TIMEOUT_S = 300


class CommandError(Exception):
    """The command failed, or its output is not what it promises."""


@dataclass(frozen=True)
class LayersStage:
    first: int
    last: int  # inclusive
    threads: int = 1
    device: Optional[str] = None  # None leaves the choice to the program


@dataclass(frozen=True)
class Layout:
    stages: tuple[LayersStage, ...]
    head_device: Optional[str] = None
    head_threads: Optional[int] = None
    window: Optional[int] = None
    sequences: Optional[int] = None

    def yaml(self) -> str:
        lines = ["version: 1"]
        limits = {"window": self.window, "sequences": self.sequences}
        if any(limits.values()):
            lines.append("limits: { " + ", ".join(f"{k}: {v}" for k, v in limits.items() if v) + " }")
        lines.append("stages:")
        for stage in self.stages:
            part = {"name": f"layers-{stage.first}", "kind": "layers", "layers": f"{stage.first}-{stage.last}"}
            lines.append(_stage_line({**part, "threads": stage.threads, "device": stage.device}))
        lines.append(_stage_line({"name": "head", "kind": "head", "threads": self.head_threads, "device": self.head_device}))
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        stages = (f"{s.first}-{s.last}x{s.threads}{'@' + s.device if s.device else ''}" for s in self.stages)
        head = f"head{'x%d' % self.head_threads if self.head_threads else ''}{'@' + self.head_device if self.head_device else ''}"
        limits = "".join(f" {k} {v}" for k, v in (("window", self.window), ("sequences", self.sequences)) if v)
        return " | ".join([*stages, head]) + limits


def _stage_line(keys: dict[str, object]) -> str:
    values = (f'{k}: "{v}"' if k == "device" else f"{k}: {v}" for k, v in keys.items() if v is not None)
    return "  - { " + ", ".join(values) + " }"


def cut(layers: int, stages: int) -> Layout:
    """The layers in near-equal contiguous parts."""
    edges = [layers * i // stages for i in range(stages + 1)]
    return Layout(tuple(LayersStage(a, b - 1) for a, b in zip(edges, edges[1:])))


@dataclass(frozen=True)
class Options:
    """The flags of one run; None leaves a flag out."""

    batch_rows: Optional[int] = None
    decode_from: Optional[int] = None
    greedy: Optional[int] = None
    internals: bool = True
    last_only: bool = False
    settings: tuple[str, ...] = ()  # --set path=value

    def arguments(self) -> list[str]:
        out: list[str] = []
        for flag, value in (("--batch-rows", self.batch_rows), ("--decode-from", self.decode_from), ("--greedy", self.greedy)):
            out += [flag, str(value)] if value is not None else []
        out += ["--internals"] if self.internals else []
        out += ["--positions", "last"] if self.last_only else []
        for setting in self.settings:
            out += ["--set", setting]
        return out


@dataclass
class Results:
    traces: list[minimax.Trace]
    greedy: list[np.ndarray] = field(default_factory=list)  # when asked for


def build_folder(given: Optional[Path]) -> Path:
    """--build, else PENSTOCK_BUILD, else build/release of this checkout."""
    return Path(given or os.environ.get("PENSTOCK_BUILD") or ROOT / "build" / "release").resolve()


class Command:
    """One build's command. Files of its runs lie in a temporary folder that goes with the object."""

    def __init__(self, build: Path) -> None:
        self.binary = build / "bin" / "penstock"
        if not os.access(self.binary, os.X_OK):
            raise CommandError(f"{self.binary} is not there: build it, or name a build folder by --build or PENSTOCK_BUILD")
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-test-")
        self.scratch = Path(self._folder.name)

    def logits(
        self, model: Path, sequences: Sequence[np.ndarray], layout: Optional[Layout] = None, options: Options = Options(),
        shaped: Optional[Path] = None,
    ) -> Results:  # fmt: skip
        """Runs one pipeline over all sequences. Without a layout the command makes its own. `shaped`: a model of this
        one's shape, where its own config.json is in a dialect that the reference does not read."""
        ids, out = self.scratch / "ids.json", self.scratch / "out.safetensors"
        ids.write_text(json.dumps([[int(token) for token in sequence] for sequence in sequences]))
        out.unlink(missing_ok=True)
        arguments = [str(self.binary), "logits", "--model", str(model), "--ids", str(ids), "--out", str(out)]
        if layout is not None:
            pipeline = self.scratch / "pipeline.yaml"
            pipeline.write_text(layout.yaml())
            arguments += ["--pipeline", str(pipeline)]
        run_to_end(arguments + options.arguments())
        if not out.exists():
            raise CommandError(f"exit status 0, but {out.name} was not written")
        return _results(safetensors_io.read(out), minimax.read_config((shaped or model) / "config.json"), sequences, options)


def run_to_end(arguments: list[str]) -> None:
    """Runs a command in a process group of its own, so that on a timeout nothing of it stays behind."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        text, _ = process.communicate(timeout=TIMEOUT_S)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise CommandError(f"no end after {TIMEOUT_S} s: {_words(arguments, text)}") from None
    if process.returncode != 0:
        raise CommandError(f"exit status {process.returncode}: {_words(arguments, text)}")


def _words(arguments: list[str], text: bytes) -> str:
    tail = text.decode(errors="replace").strip().splitlines()[-8:]
    return " ".join(arguments) + "".join("\n       | " + line for line in tail)


def _tensor(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...], numpy_type: type) -> np.ndarray:
    if name not in tensors:
        raise CommandError(f"{name} is missing from the output")
    array = tensors[name]
    if array.shape != shape or array.dtype != np.dtype(numpy_type):
        raise CommandError(f"{name} is {array.dtype} {list(array.shape)}, expected {np.dtype(numpy_type)} {list(shape)}")
    return array


def _results(
    tensors: dict[str, np.ndarray], config: minimax.Config, sequences: Sequence[np.ndarray], options: Options
) -> Results:
    results = Results([])
    for i, ids in enumerate(sequences):
        rows = 1 if options.last_only else len(ids)
        trace = minimax.Trace(_tensor(tensors, f"logits.{i}", (rows, config.vocab), np.float32))
        if options.internals:
            _read_internals(trace, tensors, i, config, len(ids))
        results.traces.append(trace)
        if options.greedy is not None:
            results.greedy.append(_tensor(tensors, f"greedy.{i}", (options.greedy,), np.int32))
    return results


def _read_internals(trace: minimax.Trace, tensors: dict[str, np.ndarray], i: int, c: minimax.Config, n: int) -> None:
    routes, square = (c.layers, n, c.experts_per_token), (c.heads, c.head_dim, c.head_dim)
    trace.hidden = _tensor(tensors, f"hidden.{i}", (c.layers, n, c.hidden), np.float32)
    trace.router_ids = _tensor(tensors, f"router_ids.{i}", routes, np.int32)
    trace.router_weights = _tensor(tensors, f"router_weights.{i}", routes, np.float32)
    for layer, kind in enumerate(c.kinds):
        if kind == minimax.LIGHTNING:
            trace.states[layer] = _tensor(tensors, f"state.{i}.{layer}", square, np.float32)


def parts(trace: minimax.Trace) -> Iterator[tuple[str, np.ndarray]]:
    """Everything that a trace holds, by name, in a fixed order."""
    for name in ("logits", "hidden", "router_ids", "router_weights"):
        if getattr(trace, name) is not None:
            yield name, getattr(trace, name)
    for layer in sorted(trace.states):
        yield f"state of layer {layer}", trace.states[layer]


def canonical(array: np.ndarray) -> np.ndarray:
    """The bits of a float32 or int32 array as uint32, every NaN the same one: NaN bits are not promised."""
    bits = np.ascontiguousarray(array).view(np.uint32).copy()
    if array.dtype == np.float32:
        bits[np.isnan(array)] = 0x7FC00000
    return bits


def bit_differences(actual: minimax.Trace, expected: minimax.Trace) -> list[str]:
    """Says where two traces differ in any bit."""
    found = []
    wanted = dict(parts(expected))
    for name, array in parts(actual):
        a, b = canonical(array), canonical(wanted.pop(name, np.zeros(0, array.dtype)))
        if a.shape != b.shape:
            found.append(f"{name}: shape {list(a.shape)}, expected {list(b.shape)}")
        elif not np.array_equal(a, b):
            first = tuple(int(i) for i in np.argwhere(a != b)[0])
            found.append(f"{name}: {np.count_nonzero(a != b)} of {a.size} values differ, the first at {list(first)}")
    return found + [f"{name}: missing" for name in wanted]
