#!/usr/bin/env python3
"""Tutti beside llama.cpp and ik_llama.cpp on the same file, in alternation.

    bench/peers.py MODEL.gguf --peer llama.cpp=FOLDER [--peer ik=FOLDER] [--rounds 5]
                   [--tutti "--isa avx2"] [--save FILE.json] [--json]

FOLDER holds the peer's `llama-bench` and `llama-batched-bench`, built by you (CMake's Release,
GGML_NATIVE=ON). Each runs with its best settings: as many threads as `tutti bench` uses, flash
attention, and `-rtr 1` (weights repacked at load) where the binary knows it. Every round runs
`tutti bench` and then each peer; a ratio is Tutti's tokens/s over a peer's of the same round, so
that a machine whose speed drifts does not decide. "best" is the fastest peer of each case and
round. With --save the rounds are added to those of the file, so a long measurement can be cut
into parts.

Decoding starts after prompts of 8 tokens; the figure is that of all streams together.
"""

import argparse
import json
import pathlib
import re
import shlex
import statistics
import subprocess
import sys

PROMPT = 512
PREFILL = f"prefill {PROMPT}"
SHORT_PROMPT = 8


def decode_case(streams: int) -> str:
    return f"decode x {streams}"


def parse_batched_bench(text: str) -> dict[str, float]:
    """The table of llama-batched-bench: | PP | TG | B | N_KV | T_PP | S_PP | T_TG | S_TG | ..."""
    rates = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 10 and cells[0].isdigit():
            rates[decode_case(int(cells[2]))] = float(cells[7])
    if not rates:
        raise ValueError(f"no table of llama-batched-bench in its output:\n{text[-2000:]}")
    return rates


def parse_llama_bench(text: str) -> dict[str, float]:
    """`llama-bench -o json`: a list of tests, among what the log writes before and after it."""
    begin = re.search(r"^\[\s*$", text, re.MULTILINE)
    if not begin:
        raise ValueError(f"no JSON of llama-bench in its output:\n{text[-2000:]}")
    tests, _ = json.JSONDecoder().raw_decode(text, begin.start())
    return {f"prefill {test['n_prompt']}": test["avg_ts"] for test in tests
            if test["n_prompt"] > 0 and test["n_gen"] == 0}


def parse_tutti_bench(text: str) -> dict[str, float]:
    result = json.loads(text)
    rates = {f"prefill {result['prompt']}": result["prefill_tokens_per_second"]}
    for row in result["decode"]:
        rates[decode_case(row["batch"])] = row["decode_tokens_per_second"]
    return rates


def shares_of_limits(text: str) -> dict[str, float]:
    """What `tutti bench` says of the same run: prefill of the multiply loop, decode of the read
    sweep."""
    result = json.loads(text)
    shares = {f"prefill {result['prompt']}": result["prefill_share_of_multiply_loop"]}
    for row in result["decode"]:
        shares[decode_case(row["batch"])] = row["share_of_read_sweep"]
    return shares


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def summarise(rounds: list[dict]) -> dict:
    """{case: {"tutti": spread, "share_of_limit": spread, "peers": {name: spread},
    "ratio": {name or "best": spread}}}; spreads over the rounds that have the case."""
    summary = {}
    for case in rounds[0]["tutti"]:
        having = [r for r in rounds if case in r["tutti"]]
        entry = {"tutti": spread([r["tutti"][case] for r in having]),
                 "share_of_limit": spread([r["share_of_limit"][case] for r in having]),
                 "peers": {}, "ratio": {}}
        names = [name for name in rounds[0]["peers"]
                 if all(case in r["peers"].get(name, {}) for r in having)]
        for name in names:
            entry["peers"][name] = spread([r["peers"][name][case] for r in having])
            entry["ratio"][name] = spread(
                [r["tutti"][case] / r["peers"][name][case] for r in having])
        if names:
            entry["ratio"]["best"] = spread(
                [r["tutti"][case] / max(r["peers"][name][case] for name in names)
                 for r in having])
        summary[case] = entry
    return summary


class Tutti:
    def __init__(self, binary: str, model: str, arguments: list[str], streams: list[int],
                 generate: int):
        self.command = [binary, "bench", model, "--json", "--prompt", str(PROMPT), "--generate",
                        str(generate), "--batch", ",".join(map(str, streams)), *arguments]

    def run(self) -> str:
        return checked_output(self.command)[0]


class Peer:
    """A llama.cpp or a fork of it."""

    def __init__(self, folder: str, model: str, streams: list[int], generate: int):
        self.folder, self.model = pathlib.Path(folder), model
        self.streams, self.generate = streams, generate
        help_text = subprocess.run([self.folder / "llama-bench", "--help"], capture_output=True,
                                   text=True).stdout
        self.repacks_at_load = "--run-time-repack" in help_text

    def run(self, threads: int) -> dict[str, float]:
        common = ["-m", self.model, "-t", str(threads)]
        prefill = [self.folder / "llama-bench", *common, "-fa", "1", "-p", str(PROMPT), "-n", "0",
                   "-r", "1", "-o", "json", *(["-rtr", "1"] if self.repacks_at_load else [])]
        context = max(self.streams) * (SHORT_PROMPT + self.generate)
        decode = [self.folder / "llama-batched-bench", *common, "-fa", "on", "-c",
                  str(max(context, 512)), "-npp", str(SHORT_PROMPT), "-ntg", str(self.generate),
                  "-npl", ",".join(map(str, self.streams)),
                  *(["-rtr"] if self.repacks_at_load else [])]
        return (parse_llama_bench(checked_output(prefill)[0])
                | parse_batched_bench("\n".join(checked_output(decode))))


def checked_output(command: list) -> tuple[str, str]:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}\nfailed:\n{done.stderr[-2000:]}")
    return done.stdout, done.stderr


def measure_round(tutti: Tutti, peers: dict[str, Peer]) -> dict:
    text = tutti.run()
    threads = json.loads(text)["threads"]
    return {"tutti": parse_tutti_bench(text), "share_of_limit": shares_of_limits(text),
            "compute": json.loads(text)["compute"], "isa": json.loads(text)["isa"],
            "peers": {name: peer.run(threads) for name, peer in peers.items()}}


def table(summary: dict) -> str:
    names = list(next(iter(summary.values()))["peers"])
    lines = ["| case | tutti, tokens/s | of limit | "
             + " | ".join([f"{name}, tokens/s" for name in names]
                          + ["ratio to best: median (min-max)"]) + " |",
             "|---" * (4 + len(names)) + "|"]
    for case, entry in summary.items():
        cells = [case, f"{entry['tutti']['median']:.1f}",
                 f"{100 * entry['share_of_limit']['median']:.0f} %"]
        cells += [f"{entry['peers'][name]['median']:.1f}" if name in entry["peers"] else "-"
                  for name in names]
        best = entry["ratio"].get("best")
        cells.append(f"{best['median']:.2f} ({best['min']:.2f}-{best['max']:.2f})" if best else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def saved_rounds(path: str | None) -> list[dict]:
    if path and pathlib.Path(path).exists():
        return json.loads(pathlib.Path(path).read_text())["rounds"]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--binary", default="build/release/bin/tutti")
    parser.add_argument("--tutti", default="", metavar="FLAGS", help="more flags of tutti bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", default="1,4,16,32")
    parser.add_argument("--generate", type=int, default=24, help="tokens a stream")
    parser.add_argument("--save", metavar="FILE", help="JSON to keep the rounds in")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    args = parser.parse_args()

    streams = [int(word) for word in args.streams.split(",")]
    tutti = Tutti(args.binary, args.model, shlex.split(args.tutti), streams, args.generate)
    peers = {}
    for word in args.peer:
        name, separator, folder = word.partition("=")
        if not separator or not (pathlib.Path(folder) / "llama-bench").exists():
            parser.error(f"--peer {word}: not NAME=FOLDER with a llama-bench in the folder")
        peers[name] = Peer(folder, args.model, streams, args.generate)

    rounds = saved_rounds(args.save)
    for _ in range(args.rounds):
        rounds.append(measure_round(tutti, peers))
        if args.save:
            pathlib.Path(args.save).write_text(
                json.dumps({"model": args.model, "rounds": rounds}, indent=1))
    if not rounds:
        parser.error("no rounds to show")
    result = {"model": args.model, "num_rounds": len(rounds), "compute": rounds[-1]["compute"],
              "isa": rounds[-1]["isa"], "cases": summarise(rounds)}
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{args.model}: {len(rounds)} rounds, compute {result['compute']}, {result['isa']}")
    print(table(result["cases"]))


if __name__ == "__main__":
    main()
