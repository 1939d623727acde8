#!/usr/bin/python3
"""The page of `penstock run --report`: what is on it, that names cannot break out of it, that it needs nothing else.

It is read with an HTML parser and, where Chromium is installed, opened there without a network: no error on the console,
the timeline drawn, its buttons alive, a picture in light and in dark.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from e2e.command import TIMEOUT_S, CommandError, build_folder  # noqa: E402
from e2e.runs import EXAMPLES, Workplace, differs, facts_of, record_all, records, tool  # noqa: E402
from e2e.seeing import keys_of, told_keys  # noqa: E402
from reference.tally import Tally  # noqa: E402

SHAPE = ("--layers", 4, "--softmax-every", 4, "--hidden", 64, "--heads", 4, "--head-dim", 16, "--kv-heads", 2,
         "--rotary-dim", 8, "--inner", 64, "--experts", 4, "--positions", 65536)  # fmt: skip
SHORT = ("--set", "generation.max_tokens=12")
STAGES = ["tokenize", "layers-0-1", "layers-2-3", "head", "detokenize"]
HOSTILE = ["<script>alert(1)<:script>.txt", "\"><img src=x onerror=alert(1)>.txt", "--><!--@facts-->&lt;'.txt", "\u202egpj.txt"]
BATCHES = 30000  # more than the page draws one by one


class Page(HTMLParser):
    """The tables by id, as rows of cells; the scripts; every attribute that could load something."""

    VOID = ("meta", "input", "br", "hr", "img", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.scripts: list[tuple[dict, str]] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._table = self._cell = self._script = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list) -> None:
        values = dict(attributes)
        self.tags.append(tag)
        self.loads += [f"{tag} {name}={value}" for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        self.loads += [f"{tag} {name}" for name, _ in attributes if name.startswith("on")]
        if tag == "table":
            self._table = self.tables.setdefault(values.get("id", ""), [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table:
            self._table[-1].append("")
            self._cell = True
        elif tag == "script":
            self._script = values

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = None
        if tag in ("td", "tr"):
            self._cell = None
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts.append((self._script, data))
        elif self._table and self._cell:
            self._table[-1][-1] += data
        self.text += data

    def timeline(self) -> dict:
        texts = [text for attributes, text in self.scripts if attributes.get("id") == "timeline-data"]
        return json.loads("".join(texts))


class Reports:
    def __init__(self, build: Path) -> None:
        self._place = Workplace(build, SHAPE)
        self._binary = self._place.command.binary
        self._folder = self._place.folder
        docs = self._folder / "docs"
        docs.mkdir()
        for i, name in enumerate(HOSTILE):
            (docs / name).write_text(f"Text {i}. " + (EXAMPLES / "documents/ruth.txt").read_text()[: 600 * (i + 1)])
        (docs / "bad.txt").write_bytes(b"bad \xff")
        self._names = sorted(f"docs/{name}#1" for name in [*HOSTILE, "bad.txt"])
        pipeline = "".join(f"  - {{ kind: layers, layers: {layers} }}\n" for layers in ("0-1", "2-3"))
        self._pipeline = self._place.write_pipeline(
            "p.yaml", f"version: 1\nstages:\n  - {{ kind: tokenize }}\n{pipeline}  - {{ kind: head }}\n  - {{ kind: detokenize }}\n"
        )
        self._ended = self._run("out", "--report", "out/report.html")
        self._html = (self._folder / "out/report.html").read_text() if self._ended.code == 3 else ""
        self._page = Page(self._html)

    def _run(self, out: str, *options: object):
        return self._place.run(["docs"], out, *SHORT, *options, pipeline=self._pipeline)

    def _report(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(self._binary), "report", *words], cwd=self._folder, capture_output=True, text=True, timeout=TIMEOUT_S)

    def a_run_writes_its_page_and_says_so(self) -> list[str]:
        found = self._ended.expect(3, "penstock: the report is out/report.html")
        left = [path.name for path in (self._folder / "out").iterdir() if "trace" in path.name]
        return found + differs("files left beside it", left, [])

    def the_page_has_every_request_by_its_name(self) -> list[str]:
        head, *rows = self._page.tables["requests"]
        found = differs("names", sorted(row[0] for row in rows), self._names)
        found += differs("the failed one, first", rows[0][:2], ["docs/bad.txt#1", "invalid_utf8"])
        usage = {r["custom_id"]: r["response"]["body"]["usage"] for r in records(self._folder / "out/results.jsonl")}
        for row in rows[1:]:
            tokens = [str(usage[row[0]][key]) for key in ("prompt_tokens", "completion_tokens")]
            found += differs(f"tokens of {row[0]}", [cell.replace(",", "") for cell in row[2:4]], tokens)
        return found

    def the_page_has_every_stage_with_its_figures(self) -> list[str]:
        summary = json.loads((self._folder / "out/summary.json").read_text())
        head, *rows = self._page.tables["stages"]
        found = differs("stages", [row[0] for row in rows], STAGES)
        for row, stage in zip(rows, summary["stages"]):
            told = [row[7].replace(",", ""), row[9], row[10]]
            found += differs(f"batches, busy, wait of {row[0]}", told,
                             [str(stage["batches"]), f"{stage['busy_seconds']:.3f}", f"{stage['wait_seconds']:.3f}"])  # fmt: skip
        found += [f"{key} is not on it" for key in ("model_digest", "numeric_mode", "model", "question") if summary[key] not in self._page.text]
        return found

    def the_page_has_the_graph_and_the_timeline(self) -> list[str]:
        timeline = self._page.timeline()
        found = differs("rows", [row["name"] for row in timeline["rows"]], STAGES)
        summary = json.loads((self._folder / "out/summary.json").read_text())
        found += differs("batches", [row["batches"] for row in timeline["rows"]], [s["batches"] for s in summary["stages"]])
        found += differs("slices", len(timeline["slices"]), sum(row["batches"] for row in timeline["rows"]))
        found += differs("pictures", self._page.tags.count("svg"), 1)
        return found + [f"{name} is not in the graph" for name in STAGES if f">{name}</text>" not in self._html]

    def names_do_not_break_out_of_the_page(self) -> list[str]:
        """As many elements of each kind as a page of harmless names has: the tags that a name brings are text."""
        found = differs("elements that load", self._page.loads, [])
        found += differs("pictures, frames, links", [t for t in self._page.tags if t in ("img", "iframe", "a", "link", "object")], [])
        return found + differs("scripts", self._page.tags.count("script"), 2)

    def the_page_asks_nobody_for_anything(self) -> list[str]:
        urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<)]*", self._html))
        found = differs("addresses", urls, {"http://www.w3.org/2000/svg"})
        found += differs("url() or @import of the style", re.findall(r"url\(|@import", self._html), [])
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', self._html)
        return found + differs("what may load", policy and policy[1].split(";")[0], "default-src 'none'")

    def the_same_page_is_made_later_from_what_the_run_left(self) -> list[str]:
        done = self._report("--run", "out", "-o", "later.html")
        later = Page((self._folder / "later.html").read_text())
        found = differs("exit", (done.returncode, done.stdout), (0, ""))
        found += differs("tables", later.tables, self._page.tables)
        return found + ([] if "No timeline was kept" in later.text else ["it does not say that the timeline is missing"])

    def a_run_that_breaks_has_its_page_too(self) -> list[str]:
        running = self._place.start(["docs"], "broken", *SHORT, "--set", "limits.sequences=1", "--report", "broken.html",
                                    "--set", "generation.max_tokens=300", pipeline=self._pipeline)  # fmt: skip
        running.await_results(1)
        os.kill(running.stage("layers-2-3"), signal.SIGKILL)
        found = running.end().expect(5, "the report is broken.html")
        page = Page((self._folder / "broken.html").read_text())
        found += differs("rows of its timeline", [row["name"] for row in page.timeline()["rows"]], STAGES)
        return found + ([] if "has not come to its end" in page.text else ["it does not say that the run broke"])

    def a_run_prints_its_summary_in_json(self) -> list[str]:
        ended = self._run("json", "--json")
        summary = json.loads(ended.out)
        found = ended.expect(3) + differs("its file", json.loads((self._folder / "json/summary.json").read_text()), summary)
        found += differs("its keys", sorted(keys_of(summary)), sorted(told_keys("run") - {"summary"}))
        again = self._run("json", "--json")
        return found + differs("again, with nothing to do", json.loads(again.out), summary)

    def without_an_output_directory_both_are_refused(self) -> list[str]:
        found = self._run("-", "--report", "x.html").expect(2, "--report is made of what stands in the output directory, found -o -")
        return found + self._run("-", "--json").expect(2, "--json is made of what stands in the output directory, found -o -")

    def a_page_that_cannot_be_written_is_said_before_the_run(self) -> list[str]:
        found = self._run("unstarted", "--report", "docs/bad.txt/x.html").expect(2, "--report docs/bad.txt/x.html: ")
        return found + differs("a run", (self._folder / "unstarted").exists(), False)

    def what_is_no_run_is_refused(self) -> list[str]:
        (self._folder / "empty").mkdir()
        done = self._report("--run", "empty", "-o", "x.html")
        words = "penstock: empty: holds no run: expected results.jsonl, errors.jsonl or summary.json there\n"
        found = differs("refusal", (done.returncode, done.stderr, done.stdout), (2, words, ""))
        return found + differs("a page", (self._folder / "x.html").exists(), False)

    def a_page_that_cannot_be_written_leaves_the_old_one(self) -> list[str]:
        done = self._report("--run", "out", "-o", "nowhere/x.html")
        return differs("exit", done.returncode, 74) + ([] if "nowhere" in done.stderr else [done.stderr])

    def damaged_results_are_named_by_line(self) -> list[str]:
        copy = Path(shutil.copytree(self._folder / "out", self._folder / "damaged"))
        lines = (copy / "results.jsonl").read_bytes().splitlines(keepends=True)
        (copy / "results.jsonl").write_bytes(b"".join(lines) + b'{"torn": ')
        found = differs("a torn last line", self._report("--run", "damaged", "-o", "x1.html").returncode, 0)
        (copy / "results.jsonl").write_bytes(lines[0] + b"{]\n")
        done = self._report("--run", "damaged", "-o", "x2.html")
        return found + ([] if done.returncode == 74 and "results.jsonl: line 2: " in done.stderr else [f"{done.returncode}: {done.stderr}"])

    def a_file_that_is_no_timeline_is_usage(self) -> list[str]:
        done = self._report("--run", "out", "--trace", "out/.penstock/pipeline.yaml", "-o", "x3.html")
        found = differs("exit", done.returncode, 2) + differs("a page", (self._folder / "x3.html").exists(), False)
        return found + ([] if "pipeline.yaml: line 1: " in done.stderr else [done.stderr])

    def an_answer_of_any_bytes_is_shown(self) -> list[str]:
        copy = Path(shutil.copytree(self._folder / "out", self._folder / "odd"))
        record = records(copy / "results.jsonl")[0]
        record["response"]["body"]["choices"][0]["message"]["content"] = 'a\0b\\u0000 </script><!-- \x1b[2J \ud83d\ude00'.encode(
            "utf-16", "surrogatepass").decode("utf-16")  # fmt: skip
        (copy / "results.jsonl").write_text(json.dumps(record) + "\n")
        done = self._report("--run", "odd", "-o", "odd.html")
        if done.returncode:
            return [done.stderr]
        row = Page((self._folder / "odd.html").read_text()).tables["requests"][-1]
        return differs("the answer", row[4], "a\ufffdb\\u0000 </script><!-- \ufffd[2J \U0001f600")

    def _write_long_timeline(self) -> Path:
        path = self._folder / "long.json"
        rows = ['{"name": "process_name", "ph": "M", "pid": 7, "args": {"name": "low </script><b>"}}']
        rows += [f'{{"name": "batch", "cat": "layers", "ph": "X", "ts": {i * 1000}.000, "dur": {250 if i < BATCHES // 2 else 1000}.000, '
                 f'"pid": 7, "tid": 7, "args": {{"batch": {i + 1}, "rows": 512}}}}' for i in range(BATCHES)]  # fmt: skip
        path.write_text("[\n" + ",\n".join(rows) + "\n]\n")
        return path

    def too_many_batches_are_drawn_as_sums(self) -> list[str]:
        done = self._report("--run", "out", "--trace", str(self._write_long_timeline()), "-o", "long.html")
        if done.returncode:
            return [done.stderr]
        timeline = Page((self._folder / "long.html").read_text()).timeline()
        bins = timeline["bins"][0]
        halves = [set(bins[: len(bins) // 2 - 1]), set(bins[len(bins) // 2 + 1 : -1])]
        found = differs("batches", timeline["batches"], BATCHES) + differs("name", timeline["rows"][0]["name"], "low </script><b>")
        size = (self._folder / "long.html").stat().st_size
        found += [] if all(20 <= b <= 30 for b in halves[0]) and halves[1] <= {99, 100} else [f"how busy: {halves}"]
        return found + ([] if size < 200_000 else [f"the page has {size} bytes"])

    def _open(self, name: str, *flags: str, script: str = "") -> tuple[str, list[str]]:
        """The page as Chromium has it after its script, and what stands on the console."""
        path = self._folder / name
        if script:
            path = self._folder / f"with-script-{Path(name).name}"
            path.write_text((self._folder / name).read_text().replace("</body>", f"<script>{script}</script></body>"))
        profile = self._folder / "chromium"
        done = subprocess.run(
            [tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,1600", *flags, "--dump-dom", path.as_uri()],
            capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
        if done.returncode:
            raise CommandError(f"chromium: exit status {done.returncode}: {done.stderr[-500:]}")
        return done.stdout, re.findall(r"CONSOLE.*", done.stderr)

    def chromium_shows_the_page_without_an_error(self) -> list[str]:
        dom, said = self._open("out/report.html")
        page = Page(dom)
        drawn = re.search(r'data-drawn="(\d+)"', dom)
        found = differs("console", said, []) + differs("tables", page.tables, self._page.tables)
        found += differs("slices drawn", drawn and int(drawn[1]), len(self._page.timeline()["slices"]))
        return found + [f"{name} has no row in the timeline" for name in STAGES if f">{name} <small>" not in dom]

    def chromium_draws_a_long_timeline(self) -> list[str]:
        self._report("--run", "out", "--trace", str(self._write_long_timeline()), "-o", "long.html")
        dom, said = self._open("long.html")
        drawn = re.search(r'data-drawn="(\d+)"', dom)
        return differs("console", said, []) + ([] if drawn and int(drawn[1]) > 1000 else [f"drawn: {drawn and drawn[1]}"])

    def the_buttons_zoom_and_the_filter_filters(self) -> list[str]:
        script = """
            const canvas = document.querySelector("canvas"), count = () => +canvas.dataset.drawn, seen = [count()];
            for (let i = 0; i < 6; i++) document.getElementById("in").click();
            seen.push(count());
            document.getElementById("all").click();
            seen.push(count());
            const area = canvas.getBoundingClientRect();
            let tip = "";
            for (let x = area.left; x < area.right && !tip; x += 1) {
              canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: area.top + 22 + 26 + 13 }));
              tip = document.getElementById("tip").textContent;
            }
            const find = document.getElementById("find");
            find.value = "INVALID";
            find.oninput();
            document.body.dataset.seen = seen.join(" ");
            document.body.dataset.tip = tip;
            document.body.dataset.shown = document.querySelectorAll("#requests tbody tr:not([hidden])").length;"""
        dom, said = self._open("out/report.html", script=script)
        whole, near, again = map(int, re.search(r'data-seen="([\d ]+)"', dom)[1].split())
        found = differs("console", said, []) + differs("rows with the word", re.search(r'data-shown="(\d+)"', dom)[1], "1")
        found += [] if near < whole == again else [f"drawn: {whole}, near {near}, all again {again}"]
        return found + ([] if re.search(r'data-tip="layers-0-1: batch \d+\n[\d,]+ rows, ', dom) else ["no words under the pointer"])

    def light_and_dark_are_two_pictures(self) -> list[str]:
        sums = []
        for name, scheme in (("light", 1), ("dark", 0)):
            picture = self._folder / f"{name}.png"
            self._open("out/report.html", f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
            sums.append(picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size)
        return [] if all(sums) and sums[0] != sums[1] else [f"pictures of {sums} bytes"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=Path, help="build folder (default: PENSTOCK_BUILD or build/release)")
    parser.add_argument("--only", help="facts whose name holds this")
    options = parser.parse_args()
    tally = Tally()
    record_all(tally, list(facts_of(Reports(build_folder(options.build)))), options.only)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
