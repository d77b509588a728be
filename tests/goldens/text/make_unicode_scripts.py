#!/usr/bin/env python3
"""Prints src/text/tokens/unicode_script_table.inc, or with --golden unicode_scripts.json.

The scripts are those of Unicode 9.0, as Hugging Face's `tokenizers` (which this asks) knows them.

    make_unicode_scripts.py            rows of {first, last, script}
    make_unicode_scripts.py --golden   [{"text": …, "pieces": [[begin, end] in bytes, …]}, …]
"""
import json
import random
import sys

from tokenizers import pre_tokenizers

SPLITTER = pre_tokenizers.UnicodeScripts()
CHARACTERS = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]


def has_script(character):
    """Characters that go with any script begin no piece, so alone they give none."""
    return bool(SPLITTER.pre_tokenize_str(character))


def same(left, right):
    return len(SPLITTER.pre_tokenize_str(left + right)) == 1


def runs():
    """[first, last] of characters of one script, side by side."""
    found, previous = [], None
    for character in CHARACTERS:
        if not has_script(character):
            previous = None
            continue
        if previous is not None and same(previous, character):
            found[-1][1] = character
        else:
            found.append([character, character])
        previous = character
    return found


def table():
    first_of_script = []
    for first, last in runs():
        known = (i for i, other in enumerate(first_of_script) if same(other, first))
        script = next(known, len(first_of_script))
        if script == len(first_of_script):
            first_of_script.append(first)
        yield f"{{0x{ord(first):X}, 0x{ord(last):X}, {script + 1}}}"


def golden():
    source = random.Random(9)
    all_runs = runs()
    for _ in range(300):
        text = ""
        for _ in range(source.randint(1, 6)):
            first, last = map(ord, source.choice(all_runs[:60] if source.random() < 0.5 else all_runs))
            text += "".join(chr(source.randint(first, last)) for _ in range(source.randint(1, 3)))
            text += source.choice(["", "", " ", "  ", "\u30fc", "a", source.choice(CHARACTERS)])
        pieces = []
        for _, (begin, end) in SPLITTER.pre_tokenize_str(text):
            pieces.append([len(text[:begin].encode()), len(text[:end].encode())])
        yield {"text": text, "pieces": pieces}


def main():
    if "--golden" in sys.argv[1:]:
        print("[" + ",\n".join(json.dumps(row) for row in golden()) + "]")
        return
    print("// {first, last, script} by `first`; tests/goldens/text/make_unicode_scripts.py prints it.")
    line = "   "
    for row in table():
        if len(line) + len(row) > 98:
            print(line)
            line = "   "
        line += f" {row},"
    print(line)


if __name__ == "__main__":
    main()
