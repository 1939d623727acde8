#!/usr/bin/env python3
"""make_goldens.py TOKENIZER_CONFIG.json > tests/golden/chat/m1.jsonl

Renders conversations with the chat template of a tokenizer_config.json (MiniMax-M1's, as published) through jinja2, set
up as `transformers` sets it up (trim_blocks, lstrip_blocks, tojson = json.dumps without ASCII escapes). A line for each:
{"name", "messages", "tools", "prompt"}. The conversations are in the form that the template works with: content in
parts, one text part for user and system. The same seed gives the same file. Needs jinja2."""

import json
import random
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

SEED = 20261124
RANDOM_CASES = 120
WORDS = ["valve", "Strömung", "水車", "penstock\n", "  two  spaces", "{{ not a template }}", "<think>", "\"quoted\"",
         "back\\slash", "tab\there", "🌊", "\u00a0", "</tools>", "line\r\nend", "'", "a" * 300]


def text(content):
    return [{"type": "text", "text": content}]


NAMED = [
    ("one question", [("user", "Where does the water go?")], None),
    ("a system's word", [("system", "You are a helpful assistant."), ("user", "Hello")], None),
    ("an empty system's word", [("system", ""), ("user", "Hello")], None),
    ("several systems, late ones too", [("system", "One. "), ("user", "a"), ("system", "Two."), ("user", "b")], None),
    ("an empty question", [("user", "")], None),
    ("turns", [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")], None),
    ("the last word is the assistant's", [("user", "a"), ("assistant", "b")], None),
    ("no tools", [("user", "a")], []),
    ("tools", [("user", "a")], [
        {"type": "function", "function": {"name": "open_gate", "description": "Opens a gate — slowly",
                                          "parameters": {"type": "object", "properties": {"gate": {"type": "integer"}},
                                                         "required": ["gate"]}}},
        {"name": "flow", "limits": [0.1, 1e22, 1.0, 1e-7, 123456789.125, 1e16, 5e-324, -0.0, 0.0001], "on": True,
         "off": False, "none": None, "empty": {}, "list": [], "big": 9223372036854775807, "z": 1, "a": "ä\u0001\u007f"},
    ]),
]


def message(role, content):
    if role == "tool":
        return {"role": role, "content": [{"name": "flow", "type": "text", "text": part} for part in content]}
    return {"role": role, "content": [part for one in content for part in text(one)] if isinstance(content, list)
            else text(content)}


def cases():
    for name, messages, tools in NAMED:
        yield name, [message(role, content) for role, content in messages], tools
    yield "assistant in parts", [message("user", "a"), message("assistant", ["b", "", "c\n"]), message("user", "d")], None
    yield "results of tools", [message("user", "a"), message("assistant", "b"), message("tool", ["1", "2"])], None
    draw = random.Random(SEED)
    for case in range(RANDOM_CASES):
        messages = []
        for _ in range(draw.randint(1, 7)):
            role = draw.choice(["system", "user", "user", "assistant", "tool"])
            some = lambda: " ".join(draw.choices(WORDS, k=draw.randint(0, 6)))
            messages.append(message(role, [some() for _ in range(draw.randint(1, 3))]
                                    if role in ("assistant", "tool") else some()))
        tools = None
        if draw.random() < 0.3:
            tools = [{"name": draw.choice(WORDS), "number": draw.uniform(-1, 1) * 10 ** draw.randint(-20, 20)}
                     for _ in range(draw.randint(1, 3))]
        yield f"random {case}", messages, tools


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        source = json.load(file)["chat_template"]
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                               extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(source)
    for name, messages, tools in cases():
        prompt = template.render(messages=messages, tools=tools, add_generation_prompt=True)
        print(json.dumps({"name": name, "messages": messages, "tools": tools, "prompt": prompt}, ensure_ascii=False))


if __name__ == "__main__":
    main()
