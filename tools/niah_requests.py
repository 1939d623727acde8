#!/usr/bin/python3
"""niah_requests.py CONVERSATIONS.jsonl > requests.jsonl

Makes a request file for `penstock run` of the multi-round needle-in-a-haystack conversations of the MiniMax-01
repository: lines of {"messages", "label", "length_class"}. Each conversation is one chat completion; its custom_id says
length class and line. --max-tokens N bounds the answers."""

import argparse
import json
import sys


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations")
    parser.add_argument("--max-tokens", type=int, default=512)
    options = parser.parse_args()
    with open(options.conversations, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            conversation = json.loads(line)
            body = {"model": "MiniMax-M1", "messages": conversation["messages"], "max_tokens": options.max_tokens}
            request = {"custom_id": f"niah-{conversation['length_class']}-{number}", "method": "POST",
                       "url": "/v1/chat/completions", "body": body}
            print(json.dumps(request, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
