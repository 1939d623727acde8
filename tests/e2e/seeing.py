#!/usr/bin/python3
"""What the command shows about pipelines and about itself, read by the tools that it is meant for.

Drawings: Graphviz and an XML parser, and a small grammar of Mermaid's flowcharts, as Mermaid itself is a browser's. The
model's folder has a name full of what each of these languages could take for its own.
"""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Optional
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import ROOT, TIMEOUT_S, Command, CommandError, build_folder  # noqa: E402
from e2e.runs import differs, facts_of, record_all, tool  # noqa: E402
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


def keys_of(value: object) -> set[str]:
    """Of a JSON value and all that is in it."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set(value if isinstance(value, dict) else ()).union(*map(keys_of, inside))


def told_keys(command: str) -> set[str]:
    """Those that docs/operations.md tells of what a command prints with --json."""
    text = (ROOT / "docs" / "operations.md").read_text()
    row = re.search(rf"^\| `penstock {command} --json` \|(.*)\|$", text, re.MULTILINE)
    return set(re.findall(r"`([a-z_]+)`", row[1])) if row else set()


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
                              **({"input": stdin} if stdin else {"stdin": subprocess.DEVNULL}))  # fmt: skip

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

    def stages_are_listed_in_the_order_of_a_document(self) -> list[str]:
        kinds = self._report("stages")
        found = differs("kinds", [kind["kind"] for kind in kinds], ["tokenize", "layers", "head", "detokenize"])
        text = self._say("stages").splitlines()
        found += differs("text", [line.split(maxsplit=1) for line in text], [[kind["kind"], kind["about"]] for kind in kinds])
        libexec = self._binary.parents[1] / "libexec" / "penstock"
        return found + [f"{kind['process']} is no program" for kind in kinds if not (libexec / kind["process"]).exists()]

    def _keys(self, subject: str) -> list[dict]:
        return self._report("inspect", subject)["keys"]

    def inspect_tells_every_key_that_a_pipeline_file_may_have(self) -> list[str]:
        """The reader's own list, out of its refusal of a key that nobody has."""
        found = []
        for subject, text in (("pipeline", "zzzz: 1"), ("limits", "limits: { zzzz: 1 }"), ("generation", "generation: { zzzz: 1 }")):
            refusal = self._run("check", "-", "-m", str(self._model), stdin=f"version: 1\n{text}\n").stderr
            listed = re.split(", | or ", refusal.strip().partition("expected ")[2].partition(";")[0])
            found += differs(subject, [key["name"] for key in self._keys(subject)], listed)
        return found

    def inspect_tells_a_stage_only_the_keys_that_it_takes(self) -> list[str]:
        values = {"layers": "0-3", "threads": "1", "device": "cpu", "io": "auto", "name": "x"}
        found = []
        for kind in ("tokenize", "layers", "head", "detokenize"):
            told = {key["name"] for key in self._keys(kind)} - {"kind"}
            for key in values:
                text = f"version: 1\nstages: [{{ kind: {kind}, {key}: {values[key]} }}]\n"
                refusal = self._run("check", "-", "-m", str(self._model), stdin=text).stderr
                found += differs(f"{key} of {kind} is told", key in told, f"a {kind} stage has no {key}" not in refusal)
        return found

    def inspect_tells_the_defaults_that_check_fills_in(self) -> list[str]:
        printed = self._say("check", "-m", str(self._model), "--print")
        found = []
        for subject in ("limits", "generation"):
            for key in self._keys(subject):
                value = re.search(rf"^{subject}: .*\b{key['name']}: ([\d.]+)", printed, re.MULTILINE)[1]
                if key["default"].isdigit():
                    found += differs(f"{subject}.{key['name']}", key["default"], value)
        return found

    def inspect_says_in_text_what_it_says_in_json(self) -> list[str]:
        found = []
        for subject in ("pipeline", "limits", "tokenize", "layers", "head"):
            text = self._say("inspect", subject)
            found += [f"{subject}: no {word!r}" for key in self._keys(subject) for word in key.values() if word and word not in text]
        return found

    def the_document_of_the_pipeline_file_has_the_same_keys(self) -> list[str]:
        text = (ROOT / "docs" / "pipeline-file.md").read_text()
        told = set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE))
        keys = {key["name"] for key in self._keys("pipeline")} - {"limits", "generation"}
        keys |= {f"{map}.{key['name']}" for map in ("limits", "generation") for key in self._keys(map)}
        keys |= {key["name"] for key in self._keys("layers")}
        return differs("keys of the document", sorted(told), sorted(keys))

    def a_wrong_name_is_answered_with_the_nearest_right_one(self) -> list[str]:
        model = ("-m", str(self._model))
        slips = {
            "check?": ("chekc",), "model synth?": ("model", "snyth"), "layers?": ("inspect", "layesr"), "svg?": ("graph", "-f", "svgg"),
            "--format?": ("graph", "--fromat", "svg"), "bf16?": ("model", "synth", "x", "--dtype", "bf61"),
            '"limits"?': ("check", *model, "--set", "limit.window=2"), '"window"?': ("check", *model, "--set", "limits.windwo=2"),
            '"layers-2-3"?': ("check", "p.yaml", *model, "--set", "stages.layers-2-33.threads=1"),
            '"cpu:avx2"?': ("check", "p.yaml", *model, "--set", "stages.head.device=cpu:axv2"),
            '"pread"?': ("check", "p.yaml", *model, "--set", "stages.head.io=prread"),
        }  # fmt: skip
        found = []
        for right, words in slips.items():
            done = self._run(*words)
            said = done.stderr.strip()
            if done.returncode != 2 or done.stdout or not said.endswith(f"did you mean {right}"):
                found.append(f"{' '.join(words)}: exit {done.returncode}, {said!r}, expected … did you mean {right}")
        done = subprocess.run([str(ROOT / "check"), "unti"], capture_output=True, text=True)
        return found + differs("check unti", done.stderr, "check: there is no suite unti; did you mean unit?\n")

    def check_tells_its_verdict_in_json(self) -> list[str]:
        verdict = self._report("check", "p.yaml", "-m", str(self._model))
        expected = {"good": True, "error": None, "source": "p.yaml", "model": str(self._model), "stages": 5, "layers": 4}
        found = differs("a good one", verdict, expected)
        done = self._run("check", "p.yaml", "-m", str(self._model), "--set", "limits.window=0", "--json")
        error = '--set limits.window: expected a whole number from 1 to 4096, found "0"'
        found += differs("a bad one", json.loads(done.stdout), {"good": False, "error": error, "source": "p.yaml"})
        return found + differs("its exit code and words", (done.returncode, done.stderr), (2, f"penstock: {error}\n"))

    def the_keys_of_json_are_those_of_the_document(self) -> list[str]:
        model = ("-m", str(self._model))
        bad = json.loads(self._run("check", *model, "--set", "limits.window=0", "--json").stdout)
        values = {
            "check": [self._report("check", *model), bad], "graph": self._report("graph", *model), "stages": self._report("stages"),
            "inspect": [self._report("inspect", subject) for subject in ("limits", "layers")],
        }  # fmt: skip
        return [line for command, value in values.items() for line in differs(command, sorted(keys_of(value)), sorted(told_keys(command)))]

    def _commands(self) -> dict[str, str]:
        """Every command with its help."""
        names = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  +\S", self._say("--help"), re.MULTILINE)
        return {name: self._say(*name.split(), "--help") for name in names}

    def _options(self, said: str) -> list[str]:
        return re.findall(r"^  (?:-\w, |    )(--[a-z-]+)", said, re.MULTILINE)

    def the_manual_page_is_read_without_a_warning(self) -> list[str]:
        page = self._say("manual")
        done = subprocess.run([tool("groff"), "-ww", "-man", "-Tutf8", "-P-cbou"], input=page, capture_output=True, text=True)
        shown = re.sub(r"\s+", " ", done.stdout.replace("\u2010", "-"))
        found = differs("groff", (done.returncode, done.stderr), (0, ""))
        for name, said in self._commands().items():
            found += [] if f"penstock {name}" in shown else [f"no {name}"]
            found += [f"{name}: no {option}" for option in self._options(said) if not re.search(rf"{option}\b", shown)]
        return found + [f"not in it: {word}" for word in ("EXIT STATUS", "75 drained before the end") if word not in shown]

    def the_manual_page_passes_mandoc(self) -> list[str]:
        done = subprocess.run([tool("mandoc"), "-Tlint", "-Werror"], input=self._say("manual"), capture_output=True, text=True)
        return differs("mandoc", (done.returncode, done.stdout), (0, ""))

    def _complete(self, *words: str) -> list[str]:
        """What bash offers for the last word, which may be begun."""
        (self._folder / "penstock.bash").write_text(self._say("completion", "bash"))
        quoted = " ".join("'" + word + "'" for word in words)
        before = words[-2] if len(words) > 1 else "penstock"
        script = (f"source penstock.bash; COMP_WORDS=(penstock {quoted}); COMP_CWORD={len(words)}; "
                  f"_penstock penstock '{words[-1]}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"")  # fmt: skip
        done = subprocess.run(["bash", "--norc", "-c", script], cwd=self._folder, capture_output=True, text=True)
        if done.returncode or done.stderr:
            raise CommandError(f"bash: {done.stderr}")
        return [word for word in done.stdout.splitlines() if word]

    def bash_completes_commands_options_words_and_paths(self) -> list[str]:
        (self._folder / "papers of mine").mkdir(exist_ok=True)
        (self._folder / "papers.txt").touch()
        expected = {
            ("gr",): ["graph"], ("model", "sy"): ["synth"], ("graph", "--fo"): ["--for", "--format"],
            ("graph", "--format", "m"): ["mermaid"], ("graph", "-f", "s"): ["svg"], ("graph", "--format", "=", "d"): ["dot"],
            ("graph", "--format", "="): ["text", "dot", "mermaid", "svg", "json"],
            ("inspect", "la"): ["layers"], ("completion", ""): ["bash", "zsh", "fish"],
            ("model", "synth", "--dtype", "bf"): ["bf16"], ("run", "pap"): ["papers of mine", "papers.txt"],
            ("run", "-m", "pap"): ["papers of mine"], ("run", "-q", ""): [], ("stages", "x"): [], ("nonsense", "x"): [],
        }  # fmt: skip
        return [line for words, offered in expected.items() for line in differs(" ".join(words), sorted(self._complete(*words)), sorted(offered))]

    def bash_knows_every_command_and_option(self) -> list[str]:
        found = []
        for name, said in self._commands().items():
            found += [] if name.split()[-1] in self._complete(*name.split()[:-1], "") else [f"no {name}"]
            found += differs(f"options of {name}", sorted(self._complete(*name.split(), "--")), sorted({"--help", *self._options(said)}))
        return found

    def fish_completes_too(self) -> list[str]:
        (self._folder / "penstock.fish").write_text(self._say("completion", "fish"))
        found = []
        for line, offered in (("gr", "graph"), ("graph --format m", "mermaid"), ("model sy", "synth"), ("inspect la", "layers"),
                              ("graph --asc", "--ascii")):  # fmt: skip
            script = f"source penstock.fish; complete -C 'penstock {line}'"
            done = subprocess.run([tool("fish"), "--no-config", "-c", script], cwd=self._folder, capture_output=True, text=True,
                                  env={"HOME": str(self._folder), "PATH": "/usr/bin:/bin", "TERM": "dumb"})  # fmt: skip
            found += differs(line, ([word.partition("\t")[0] for word in done.stdout.splitlines()], done.stderr), ([offered], ""))
        return found

    def zsh_completes_with_the_script_of_bash(self) -> list[str]:
        (self._folder / "_penstock").write_text(self._say("completion", "zsh"))
        script = "autoload -U +X compinit && compinit -D -u; source ./_penstock; print -r -- $_comps[penstock]"
        done = subprocess.run([tool("zsh"), "-f", "-c", script], cwd=self._folder, capture_output=True, text=True)
        return differs("zsh", (done.stdout, done.stderr), ("_bash_complete -F _penstock\n", ""))

    def they_are_installed_where_they_are_looked_for(self) -> list[str]:
        build, prefix = self._binary.parents[1], self._folder / "installed"
        done = subprocess.run(["cmake", "--install", str(build), "--prefix", str(prefix)], capture_output=True, text=True)
        if done.returncode:
            return [done.stderr]
        made = {"share/man/man1/penstock.1": ("manual",), "share/bash-completion/completions/penstock": ("completion", "bash"),
                "share/zsh/site-functions/_penstock": ("completion", "zsh"),
                "share/fish/vendor_completions.d/penstock.fish": ("completion", "fish")}  # fmt: skip
        found = [line for path, words in made.items() for line in differs(path, (prefix / path).read_text() == self._say(*words), True)]
        again = subprocess.run([str(prefix / "bin/penstock"), "--version"], capture_output=True, text=True)
        return found + differs("the installed command", again.stdout, self._say("--version"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD or build/release)")
    parser.add_argument("--only", help="facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    record_all(tally, list(facts_of(Seeing(Command(build_folder(options.build))))), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
