#!/usr/bin/python3
"""What the command shows about pipelines and about itself, read by the tools that it is meant for.

Drawings: Graphviz and an XML parser, and a small grammar of Mermaid's flowcharts, as Mermaid itself is a browser's. The
model's folder has a name full of what each of these languages could take for its own.
"""
from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import TIMEOUT_S, Command, CommandError, build_folder  # noqa: E402
from e2e.runs import facts_of  # noqa: E402
from reference.tally import Tally  # noqa: E402

HOSTILE = 'm "]; end %% <b>&lt; \\n #quot; \'$(x) -->|\x1b[2J\u202e'
STAGES = ["tokenize", "layers-0-1", "layers-2-3", "head", "detokenize"]
LINKS = [
    ("in", "c", "files"), ("c", "s0", "text"), ("s0", "c", "token ids"), ("c", "s1", "token ids"),
    ("s1", "s2", "activations"), ("s2", "s3", "wanted rows"), ("s3", "c", "answers"), ("c", "s4", "token ids"),
    ("s4", "c", "text"), ("c", "out", "files"),
]  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"
# Mermaid, as far as a flowchart needs it: every label is quoted, and holds no quote and no character of its syntax.
MERMAID_LABEL = r'"(?:[A-Za-z0-9 .,/\u0080-\U0010ffff-]|<br/>|#\d+;)*"'
MERMAID = [
    re.compile(r"flowchart LR"),
    re.compile(rf"  subgraph pipeline \[{MERMAID_LABEL}\]"),
    re.compile(rf"    (?P<id>[a-z]+\d*)(?:\[{MERMAID_LABEL}\]|\(\[{MERMAID_LABEL}\]\))"),
    re.compile(r'    (?P<a>[a-z]+\d*) -->\|"(?P<carries>[a-z ]+)"\| (?P<b>[a-z]+\d*)'),
    re.compile(r"  end"),
]


class Skip(Exception):
    """A tool that this fact needs is not on this machine."""


def differs(what: str, seen: object, expected: object) -> list[str]:
    return [] if seen == expected else [f"{what}: {seen!r}, expected {expected!r}"]


def tool(name: str) -> str:
    path = shutil.which(name)
    if not path:
        raise Skip(f"{name} is not installed")
    return path


class Seeing:
    def __init__(self, command: Command) -> None:
        self._command, self._binary = command, command.binary
        self._folder = command.scratch
        self._model = self._folder / HOSTILE
        shape = "--layers 4 --hidden 16 --heads 2 --head-dim 8 --kv-heads 1 --rotary-dim 4 --inner 8 --experts 2 --vocab 64"
        self._say("model", "synth", str(self._model), *shape.split())
        stages = "".join(f"  - {{ kind: layers, layers: {layers} }}\n" for layers in ("0-1", "2-3"))
        (self._folder / "p.yaml").write_text(
            "version: 1\nstages:\n  - { kind: tokenize }\n" + stages + "  - { kind: head }\n  - { kind: detokenize }\n"
        )

    def _run(self, *words: str, stdin: Optional[str] = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(self._binary), *words], capture_output=True, text=True, timeout=TIMEOUT_S, cwd=self._folder,
                              stdin=None if stdin else subprocess.DEVNULL, input=stdin)  # fmt: skip

    def _say(self, *words: str) -> str:
        done = self._run(*words)
        if done.returncode:
            raise CommandError(f"penstock {' '.join(words)}: exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _graph(self, *words: str) -> str:
        return self._say("graph", "p.yaml", "-m", str(self._model), *words)

    def _report(self, *words: str) -> object:
        """What --json gives: one JSON value and nothing besides."""
        return json.loads(self._say(*words, "--json"))

    def a_graph_in_dot_is_read_by_graphviz(self) -> list[str]:
        done = subprocess.run([tool("dot"), "-Tjson"], input=self._graph("--format", "dot"), capture_output=True, text=True)
        if done.returncode or done.stderr:
            return [f"dot: {done.stderr}"]
        graph = json.loads(done.stdout)
        names = [node["name"] for node in graph["objects"]]
        links = [(names[edge["tail"]], names[edge["head"]], edge["label"]) for edge in graph["edges"]]
        labels = [node["label"].partition("\\n")[0] for node in graph["objects"] if node["name"].startswith("s")]
        found = differs("links", sorted(links), sorted(LINKS)) + differs("stages", labels, STAGES)
        svg = subprocess.run([tool("dot"), "-Tsvg"], input=self._graph("--format", "dot"), capture_output=True, text=True).stdout
        shown = "".join(ElementTree.fromstring(svg).itertext())
        wanted = HOSTILE.replace("\x1b", " ")
        return found + ([] if wanted in shown else [f"the model's name is not shown as it is: {shown[:200]!r}"])

    def a_graph_in_svg_is_xml_with_a_box_for_each_process(self) -> list[str]:
        root = ElementTree.fromstring(self._graph("--format", "svg"))
        texts = ["".join(text.itertext()) for text in root.iter(SVG + "text")]
        found = differs("boxes", len(list(root.iter(SVG + "rect"))), len(STAGES) + 4)
        found += [f"{name} is not in it" for name in STAGES if name not in texts]
        wanted = f"model {self._model}".replace("\x1b", "\ufffd")
        found += [] if wanted in texts else [f"the model's name is not shown as it is: {texts[0]!r}"]
        width = int(root.get("width"))
        right = max(int(box.get("x")) + int(box.get("width")) for box in root.iter(SVG + "rect"))
        found += differs("elements that could act", [e.tag for e in root.iter() if "script" in e.tag or "image" in e.tag], [])
        return found + ([] if right <= width else [f"a box ends at {right}, the picture at {width}"])

    def a_graph_in_svg_keeps_to_its_columns(self) -> list[str]:
        widths = [int(ElementTree.fromstring(self._graph("-f", "svg", "--columns", str(c))).get("width")) for c in (60, 400)]
        return [] if widths[0] <= 480 + 8 and 1000 < widths[1] <= 3208 else [f"widths {widths}"]

    def a_graph_in_mermaid_follows_its_grammar(self) -> list[str]:
        found, links, ids = [], [], []
        for line in self._graph("--format", "mermaid").splitlines():
            match = next((m for rule in MERMAID if (m := rule.fullmatch(line))), None)
            if not match:
                found.append(f"not in the grammar: {line!r}")
            elif "carries" in match.groupdict():
                links.append(match.group("a", "b", "carries"))
            elif "id" in match.groupdict():
                ids.append(match["id"])
        return found + differs("links", links, LINKS) + differs("nodes", ids, ["in", "c", "s0", "s1", "s2", "s3", "s4", "out"])

    def a_graph_in_json_has_nodes_and_links(self) -> list[str]:
        graph = self._report("graph", "p.yaml", "-m", str(self._model))
        links = [(link["from"], link["to"], link["carries"]) for link in graph["links"]]
        found = differs("links", links, LINKS) + differs("model", graph["model"], str(self._model))
        found += differs("stages", [node["name"] for node in graph["nodes"] if node["id"].startswith("s")], STAGES)
        found += differs("its other name", json.loads(self._graph("--format", "json")), graph)
        layers = [(node["first_layer"], node["last_layer"]) for node in graph["nodes"] if node["kind"] == "layers"]
        return found + differs("layers", layers, [(0, 1), (2, 3)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD or build/release)")
    parser.add_argument("--only", help="facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    for fact in facts_of(Seeing(Command(build_folder(options.build)))):
        if options.only and options.only not in fact.__name__:
            continue
        try:
            tally.record(fact.__name__, fact())
        except Skip as reason:
            tally.skip(fact.__name__, str(reason))
        except (CommandError, ValueError, ElementTree.ParseError) as error:
            tally.record(fact.__name__, [f"{type(error).__name__}: {error}"])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
