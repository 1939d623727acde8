"""Runs of the real `penstock run`: the model and documents that they share, the processes of one, what it wrote.

A Workplace is one build's command with a random model, a folder of documents and a place for sockets of its own, so
that what a run leaves behind is seen and other runs on the machine do not count. run() waits for the end; start() gives
a Running, whose stage processes can be found by name and sent signals.
"""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, TIMEOUT_S, Command, CommandError  # noqa: E402
from reference.tally import Tally  # noqa: E402

EXAMPLES = ROOT / "examples"
QUESTION = "What is told here?"
GONE_S = 2.0  # a run's processes must be gone so soon after their coordinator


@dataclass(frozen=True)
class Ended:
    """A run that is over: its exit status and what it said."""

    code: int
    out: str
    err: str

    def expect(self, code: int, *words: str) -> list[str]:
        """Complaints unless it ended with this status and said each of these on stderr."""
        found = [] if self.code == code else [f"exit status {self.code}, expected {code}"]
        found += [f"stderr does not say {word!r}" for word in words if word not in self.err]
        return found + [f"| {line}" for line in self.err.strip().splitlines()[-12:]] if found else []


@dataclass
class Running:
    """A run under way. The pids of its stages are remembered, so that they can be looked for after the end."""

    process: subprocess.Popen
    out: Path
    seen: set[int] = field(default_factory=set)

    def stages(self) -> dict[str, int]:
        """The pid of each stage that has its title, by name."""
        found = {}
        for pid in children(self.process.pid):
            self.seen.add(pid)
            name = stage_name(title(pid))
            if name:
                found[name] = pid
        return found

    def stage(self, name: str) -> int:
        wait_until(lambda: name in self.stages(), f"stage {name} stands")
        return self.stages()[name]

    def await_results(self, count: int) -> None:
        """Until so many results are there: the run is in the middle of its work."""

        def enough() -> bool:
            if self.process.poll() is not None:
                raise CommandError(f"the run ended before {count} results: {self.end().expect(-1)}")
            return len(lines(self.out / "results.jsonl")) >= count

        self.stages()
        wait_until(enough, f"{count} results are there")
        self.stages()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, within_s: float = TIMEOUT_S) -> Ended:
        try:
            out, err = self.process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise CommandError(f"no end after {within_s:g} s") from None
        return Ended(self.process.returncode, (out or b"").decode(errors="replace"), err.decode(errors="replace"))

    def kill(self) -> None:
        """For the ends of tests: nothing of the run stays."""
        pids = self.seen | set(children(self.process.pid))
        for pid in [self.process.pid, *filter(alive, pids)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def left(self, within_s: float = GONE_S) -> list[str]:
        """Complaints about stage processes that are still there so long after the end."""
        try:
            wait_until(lambda: not any(map(alive, self.seen)), "", within_s)
        except CommandError:
            return [f"still there {within_s:g} s after the end: pid {pid} {title(pid)}" for pid in self.seen if alive(pid)]
        return [] if self.seen else ["no stage process was ever seen"]


class Workplace:
    """What the runs of one script share. Arguments of shape go to `penstock model synth`; runs that name no pipeline of
    their own have a layers stage for each part of `cut`, without one those that the program chooses."""

    def __init__(
        self, build: Path, shape: Sequence[object], endless: bool = False, cut: Sequence[str] = ()
    ) -> None:
        self.command = Command(build)
        self.build = build
        self.folder = self.command.scratch
        self.runtime = self.folder / "rt"
        self.runtime.mkdir(mode=0o700)
        self.model = self.make_model("model", shape)
        self.usual = self.write_pipeline("usual.yaml", usual_text(cut)) if cut else None
        if endless:  # no token ends an answer: how long each is, is known
            edit_json(self.model / "tokenizer_config.json", lambda config: config.pop("eos_token"))

    def make_model(self, name: str, shape: Sequence[object]) -> Path:
        tokenizer = ("--tokenizer", EXAMPLES / "tokenizer/tokenizer.json", "--vocab", 4096)
        arguments = [self.command.binary, "model", "synth", self.folder / name, *tokenizer, *shape]
        made = subprocess.run(list(map(str, arguments)), capture_output=True, timeout=TIMEOUT_S)
        if made.returncode:
            raise CommandError(f"penstock model synth: {made.stderr.decode(errors='replace')}")
        return self.folder / name

    def write_documents(self, count: int, base_bytes: int, name: str = "docs") -> Path:
        """Pieces of a shipped text, of different lengths around base_bytes."""
        folder = self.folder / name
        folder.mkdir()
        text = (EXAMPLES / "documents/pride-and-prejudice-1-5.txt").read_text()
        for i in range(count):
            piece = text[997 * i :][: base_bytes * (2 + i % 3) // 3]
            (folder / f"part-{i}.txt").write_text(piece)
        return folder

    def start(self, inputs: Sequence[object], out: str, *options: object, pipeline: Optional[Path] = None,
              libexec: Optional[Path] = None, stdin: Optional[bytes] = None, question: Optional[str] = QUESTION,
              model: Optional[Path] = None) -> Running:  # fmt: skip
        """In the workplace's folder, so that names in results do not tell where that is."""
        first = [pipeline or self.usual] if pipeline or self.usual else []
        asked = [] if question is None else ["-q", question]
        words = [self.command.binary, "run", *first, *inputs, "-m", model or self.model, *asked, "-o", out, *options]
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)}
        if libexec:
            environment["PENSTOCK_LIBEXEC"] = str(libexec)
        process = subprocess.Popen(
            list(map(str, words)), cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        return Running(process, self.folder / out)

    def run(self, inputs: Sequence[object], out: str, *options: object, **more) -> Ended:
        return self.start(inputs, out, *options, **more).end()

    def write_pipeline(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def copy_model(self, name: str) -> Path:
        return Path(shutil.copytree(self.model, self.folder / name))

    def socket_folders(self) -> list[str]:
        return sorted(str(path) for path in (self.runtime / "penstock").glob("*"))

    def left(self) -> list[str]:
        return [f"a socket folder is left: {path}" for path in self.socket_folders()]


def usual_text(cut: Sequence[str]) -> str:
    layers = "".join(f"  - {{ kind: layers, layers: {part}, threads: 1 }}\n" for part in cut)
    return f"version: 1\nstages:\n  - {{ kind: tokenize }}\n{layers}  - {{ kind: head }}\n  - {{ kind: detokenize }}\n"


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            pass
    return found


def title(pid: int) -> str:
    """What `ps` shows of it; empty when it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def stage_name(words: str) -> str:
    """low, of "penstock-layers low: layers 0-3, 1 threads"; empty where the title is not set yet."""
    parts = words.split(" ")
    return parts[1].rstrip(":") if len(parts) > 1 and parts[0].startswith("penstock-") and parts[1] != "--name" else ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def anonymous_bytes(pid: int) -> int:
    """Resident memory that is no file; 0 when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 if sizes else 0


def peak_memory(running: Running, limit_s: float = TIMEOUT_S) -> dict[str, int]:
    """Follows a run to its end: the most anonymous memory that each stage, and "penstock" itself, was seen with. A
    sequence's cache grows until it ends, so that a stage's peak holds the whole sequence."""
    peaks: dict[str, int] = {}
    deadline = time.monotonic() + limit_s
    while running.process.poll() is None:
        if time.monotonic() > deadline:
            running.kill()
            raise CommandError(f"no end after {limit_s:g} s")
        for name, pid in {**running.stages(), "penstock": running.process.pid}.items():
            peaks[name] = max(peaks.get(name, 0), anonymous_bytes(pid))
        time.sleep(0.02)
    return peaks


def wait_until(true: Callable[[], bool], what: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise CommandError(f"not within {within_s:g} s: {what}")
        time.sleep(0.01)


def lines(path: Path) -> list[bytes]:
    """Whole lines only: the file may be growing."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in lines(path)]


def edit_json(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def answers(out: Path) -> dict[str, object]:
    """What must be byte-identical between two runs: the result and error lines, sorted, and every readable file."""
    found: dict[str, object] = {name: sorted(lines(out / name)) for name in ("results.jsonl", "errors.jsonl")}
    return found | {path.name: path.read_bytes() for path in sorted(out.glob("*.md"))}


def answer_differences(out: Path, expected: dict[str, object]) -> list[str]:
    actual = answers(out)
    names = sorted(actual.keys() | expected.keys())
    return [
        f"{out.name}/{name}: {'missing' if name not in actual else 'unexpected' if name not in expected else 'differs'}"
        for name in names
        if actual.get(name) != expected.get(name)
    ]


class Skip(Exception):
    """What this fact needs is not on this machine."""


def tool(name: str) -> str:
    path = shutil.which(name)
    if not path:
        raise Skip(f"{name} is not installed")
    return path


def differs(what: str, seen: object, expected: object) -> list[str]:
    return [] if seen == expected else [f"{what}: {seen!r}, expected {expected!r}"]


def record_all(tally: Tally, facts: Sequence[Callable[[], list[str]]], only: Optional[str] = None) -> None:
    """Runs each fact: a function that returns complaints, and whose name says what holds."""
    for fact in facts:
        name = fact.__name__
        if only and only not in name:
            continue
        try:
            tally.record(name, fact())
        except Skip as reason:
            tally.skip(name, str(reason))
        except CommandError as error:
            tally.record(name, [str(error)])
        except (LookupError, OSError, SyntaxError, ValueError) as error:  # what was to be read is not what was expected
            tally.record(name, [f"{type(error).__name__}: {error}"])


def facts_of(suite: object) -> Iterator[Callable[[], list[str]]]:
    """The public methods of a suite, in the order in which they stand: each is a fact."""
    for name in vars(type(suite)):
        if not name.startswith("_"):
            yield getattr(suite, name)
