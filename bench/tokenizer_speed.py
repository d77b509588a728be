#!/usr/bin/env python3
"""Encoding speed on one thread beside Hugging Face `tokenizers`, in one run.

    python3 bench/tokenizer_speed.py build/release/bin/tokenizer_speed [TOKENIZER_JSON ...]

Makes 10 MB of mixed English, Chinese and code, encodes it with both, checks that the ids are the
same, and prints the speeds and their ratio (above 1: Tutti is faster). Then the worst inputs:
10 MB of one letter, of spaces, of emoji, for which the time at 5 MB shows whether it is linear.
Needs the PyPI package `tokenizers`. Without names, the demo model's and a Llama 3 style tokenizer
are measured.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # noqa: E402  (the environment must be set first)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEGABYTE = 1_000_000
ENGLISH = (
    "the of and to in is that it was for on are with as his they be at one have this from or had by "
    "hot but some what there we can out other were all your when up use word how said an each she "
    "which do their time if will way about many then them would write like so these her long make "
    "thing see him two has look more day could go come did my sound no most number who over know "
    "water than call first people may down side been now find any new work part take get place made "
    "scheduler throughput attention tokenizer deterministic quantisation bandwidth"
).split()
CHINESE = (
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过"
    "家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从"
)


def english(rng):
    words = [rng.choice(ENGLISH) for _ in range(rng.randint(5, 18))]
    if rng.random() < 0.2:
        words.insert(rng.randrange(len(words)), str(rng.randint(0, 99999)))
    if rng.random() < 0.2:
        words.insert(rng.randrange(len(words)), "doesn't")
    made_up = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 11)))
    words.insert(rng.randrange(len(words)), made_up)
    return " ".join(words).capitalize() + rng.choice([". ", "? ", "! ", ".\n", ".\n\n"])


def chinese(rng):
    return "".join(rng.choice(CHINESE) for _ in range(rng.randint(6, 40))) + rng.choice("。，！？")


def code(rng):
    name = "_".join(rng.choice(ENGLISH) for _ in range(rng.randint(1, 3)))
    indent = "    " * rng.randint(0, 4)
    return rng.choice(
        [
            f"{indent}def {name}(self, x: int = {rng.randint(0, 999)}) -> str:\n",
            f"{indent}for (int i = 0; i < {name}.size(); ++i) {{ sum += {name}[i] * 0x{rng.getrandbits(16):x}; }}\n",
            f"{indent}// {' '.join(rng.choice(ENGLISH) for _ in range(6))}\n",
            f"{indent}return {{\"{name}\": {rng.random():.4f}, \"ok\": true}};\n\n",
        ]
    )


def mixed_text(size):
    rng = random.Random(5)
    parts, length = [], 0
    while length < size:
        kind = rng.choice([english, chinese, code])
        part = "".join(kind(rng) for _ in range(rng.randint(3, 12)))
        parts.append(part)
        length += len(part.encode())
    return "".join(parts)


def measure_tutti(binary, tokenizer_json, text, runs):
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        command = [binary, tokenizer_json, file.name, str(runs)]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def measure_hugging_face(tokenizer_json, text, runs):
    tokenizer = tokenizers.Tokenizer.from_file(tokenizer_json)
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        ids = tokenizer.encode(text).ids
        best = min(best, time.perf_counter() - start)
    checksum = 0
    for token in ids:
        checksum = (checksum * 31 + token) % 2**64
    return {"seconds": best, "tokens": len(ids), "checksum": checksum}


def main():
    binary = sys.argv[1]
    paths = sys.argv[2:] or [
        os.path.join(ROOT, "models/demo/tokenizer.json"),
        os.path.join(ROOT, "tests/goldens/text/tokenizers/bpe-llama3/tokenizer.json"),
    ]
    text = mixed_text(10 * MEGABYTE)
    megabytes = len(text.encode()) / MEGABYTE
    is_slower = False
    for path in paths:
        ours = measure_tutti(binary, path, text, 3)
        theirs = measure_hugging_face(path, text, 2)
        same = ours["checksum"] == theirs["checksum"] and ours["tokens"] == theirs["tokens"]
        ratio = theirs["seconds"] / ours["seconds"]
        is_slower |= ratio < 1 or not same
        print(
            f"{os.path.relpath(path, ROOT)}: Tutti {megabytes / ours['seconds']:.1f} MB/s, "
            f"tokenizers {tokenizers.__version__} {megabytes / theirs['seconds']:.1f} MB/s, "
            f"ratio {ratio:.2f}, {ours['tokens']} tokens, ids {'equal' if same else 'DIFFER'}"
        )
        for name, unit in [("'a'", "a"), ("spaces", " "), ("emoji", "\U0001f600"), ("newlines", "\n")]:
            count = 10 * MEGABYTE // len(unit.encode())
            half = measure_tutti(binary, path, unit * (count // 2), 1)["seconds"]
            whole = measure_tutti(binary, path, unit * count, 1)["seconds"]
            print(f"  10 MB of {name}: {whole:.2f} s, {whole / half:.2f} times the time of 5 MB")
    return 1 if is_slower else 0


if __name__ == "__main__":
    sys.exit(main())
