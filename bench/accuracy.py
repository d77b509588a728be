#!/usr/bin/env python3
"""What each compute class costs in accuracy, beside llama.cpp on the same GGUF.

    bench/accuracy.py --goldens tests/goldens/gguf --compute bf16,q8,int8
    bench/accuracy.py --text corpus.txt demo-Q4_0.gguf demo-Q4_K.gguf --compute bf16,q8,int8 \\
                      --peer llama.cpp=FOLDER [--tokens 10000] [--original demo-F32.gguf]

With --goldens: the error of the logits, in their standard deviations, of every golden GGUF.

With --text: the text is cut into chunks of 512 tokens, and the second half of each is scored, as
llama.cpp's `llama-perplexity` does (FOLDER holds it). The reference is a forward pass in float32
over the file's own, dequantised weights (numpy, below); the divergence from it is what computing
with fewer bits costs. With --original, every line also says how far it is from the weights before
they were quantised. llama-perplexity keeps log-probabilities in 16 bits down to e^-16 of the
largest; everyone's logits are cut there before they are compared. A few rows rule a mean divergence, so
a ratio to a peer's is given with the bounds of 95 % of bootstrap samples of the chunks.

Only Llama's architecture. Needs numpy and gguf from PyPI. Special tokens in the text are written
[im_end] (bench/make_gguf.py --plain-special).
"""

import argparse
import json
import pathlib
import shlex
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy

from divergence import Comparison, divergence_ratio

CHUNK = 512
FIRST = CHUNK // 2  # of the rows that are scored, up to the one before the last


class Reference:
    """Llama in float32 with the dequantised weights of a GGUF file."""

    def __init__(self, path: pathlib.Path):
        reader = gguf.GGUFReader(path)
        self.weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype("f4")
                        .reshape(t.shape[::-1]) for t in reader.tensors}

        def setting(name: str):
            return reader.get_field(f"llama.{name}").contents()

        self.num_layers = setting("block_count")
        self.num_heads = setting("attention.head_count")
        self.num_kv_heads = setting("attention.head_count_kv")
        self.epsilon = setting("attention.layer_norm_rms_epsilon")
        self.head_dim = self.weights["blk.0.attn_q.weight"].shape[0] // self.num_heads
        theta = setting("rope.freq_base")
        frequencies = theta ** (-numpy.arange(0, self.head_dim, 2) / self.head_dim)
        angles = numpy.outer(numpy.arange(CHUNK), frequencies)
        self.cos, self.sin = numpy.cos(angles).astype("f4"), numpy.sin(angles).astype("f4")

    def norm(self, x: numpy.ndarray, name: str) -> numpy.ndarray:
        mean_square = numpy.mean(x * x, axis=-1, keepdims=True)
        return x / numpy.sqrt(mean_square + self.epsilon) * self.weights[name]

    def heads(self, x: numpy.ndarray, name: str, num_heads: int) -> numpy.ndarray:
        """[heads, T, head_dim]"""
        y = x @ self.weights[name].T
        return y.reshape(len(x), num_heads, self.head_dim).swapaxes(0, 1)

    def rotated(self, x: numpy.ndarray) -> numpy.ndarray:
        """GGUF keeps rotated pairs side by side."""
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        even, odd = x[..., 0::2], x[..., 1::2]
        out = numpy.empty_like(x)
        out[..., 0::2], out[..., 1::2] = even * cos - odd * sin, odd * cos + even * sin
        return out

    def attention(self, x: numpy.ndarray, block: str) -> numpy.ndarray:
        group = self.num_heads // self.num_kv_heads
        q = self.rotated(self.heads(x, block + "attn_q.weight", self.num_heads))
        k = self.rotated(self.heads(x, block + "attn_k.weight", self.num_kv_heads))
        v = self.heads(x, block + "attn_v.weight", self.num_kv_heads)
        k, v = numpy.repeat(k, group, axis=0), numpy.repeat(v, group, axis=0)
        scores = q @ k.swapaxes(1, 2) / numpy.float32(self.head_dim ** 0.5)
        scores += numpy.triu(numpy.full((len(x), len(x)), -numpy.inf, "f4"), 1)
        scores = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        merged = (scores @ v).swapaxes(0, 1).reshape(len(x), -1)
        return merged @ self.weights[block + "attn_output.weight"].T

    def logits(self, ids: list[int]) -> numpy.ndarray:
        """[T, V]"""
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.num_layers):
            block = f"blk.{layer}."
            x = x + self.attention(self.norm(x, block + "attn_norm.weight"), block)
            h = self.norm(x, block + "ffn_norm.weight")
            gate = h @ self.weights[block + "ffn_gate.weight"].T
            up = h @ self.weights[block + "ffn_up.weight"].T
            x = x + (gate / (1 + numpy.exp(-gate)) * up) @ self.weights[
                block + "ffn_down.weight"].T
        output = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return self.norm(x, "output_norm.weight") @ output.T


def read_safetensors(path: pathlib.Path) -> dict[str, numpy.ndarray]:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    dtypes = {"F32": "<f4", "I32": "<i4"}
    return {name: numpy.frombuffer(data[8 + size + entry["data_offsets"][0]:
                                        8 + size + entry["data_offsets"][1]],
                                   dtypes[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


class TuttiLogits:
    def __init__(self, binary: str, model: pathlib.Path, flags: list[str]):
        self.command = [binary, "logits", str(model), *flags]

    def __call__(self, ids: list[int]) -> numpy.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "logits.safetensors"
            checked_output([*self.command, "--ids", ",".join(map(str, ids)), "--out", str(out)])
            return read_safetensors(out)["logits"]


class PerplexityLogits:
    """What `llama-perplexity --kl-divergence-base` writes: "_logits_", the chunk's size, the
    vocabulary's, the number of chunks (i32 each), the tokens, and for each scored row a scale and a
    minimum (f32) and V steps of 16 bits (V is rounded up to even)."""

    def __init__(self, folder: pathlib.Path, model: pathlib.Path, text: pathlib.Path,
                 num_chunks: int, out: pathlib.Path):
        checked_output([str(folder / "llama-perplexity"), "-m", str(model), "-f", str(text), "-c",
                        str(CHUNK), "-b", str(CHUNK), "--chunks", str(num_chunks),
                        "--kl-divergence-base", str(out)])
        data = numpy.memmap(out, "u1", "r")
        if bytes(data[:8]) != b"_logits_":
            sys.exit(f"{out}: not a file of llama-perplexity's logits")
        chunk, self.vocab, chunks = data[8:20].view("<i4")
        if chunk != CHUNK or chunks < num_chunks:
            sys.exit(f"{out}: {chunks} chunks of {chunk} tokens, not {num_chunks} of {CHUNK}")
        begin = 20 + 4 * chunk * chunks
        self.tokens = data[20:begin].view("<i4").reshape(chunks, chunk)
        row = 2 * ((self.vocab + 1) // 2) + 4
        count = chunks * (CHUNK - 1 - FIRST)
        self.rows = data[begin:begin + 2 * row * count].view("<u2").reshape(chunks, -1, row)

    def __call__(self, chunk: int) -> numpy.ndarray:
        rows = numpy.array(self.rows[chunk])
        scale_and_minimum = rows[:, :4].copy().view("<f4")
        return (rows[:, 4:4 + self.vocab] * scale_and_minimum[:, :1]
                + scale_and_minimum[:, 1:])


def checked_output(command: list[str], text: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, input=text)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command[:12])} ...\nfailed:\n{done.stderr[-2000:]}")
    return done.stdout


def chunks_of(binary: str, model: pathlib.Path, text: str, num_chunks: int) -> list[list[int]]:
    ids = json.loads(checked_output([binary, "tokenize", str(model), "--no-special"], text))["ids"]
    if len(ids) < CHUNK * num_chunks:
        sys.exit(f"the text has {len(ids)} tokens; {num_chunks} chunks of {CHUNK} are wanted")
    return [ids[CHUNK * i: CHUNK * (i + 1)] for i in range(num_chunks)]


def measure_model(args: argparse.Namespace, model: pathlib.Path, folder: pathlib.Path) -> dict:
    num_chunks = -(-args.tokens // (CHUNK - 1 - FIRST))
    chunks = chunks_of(args.binary, model, args.text.read_text(), num_chunks)
    references = {"own": Reference(model)}
    if args.original:
        references["original"] = Reference(args.original)
    engines = {}
    for word in args.compute.split(","):
        logits = TuttiLogits(args.binary, model,
                             ["--compute", word, *shlex.split(args.tutti)])
        engines[f"tutti {word}"] = lambda i, f=logits: f(chunks[i])[FIRST:-1]
    for name, peer_folder in args.peers.items():
        peer = PerplexityLogits(peer_folder, model, args.text, num_chunks, folder / "base.bin")
        if peer.tokens[:num_chunks].tolist() != chunks:
            sys.exit(f"{name} splits the text into other tokens than Tutti")
        engines[name] = peer
    sums = {(engine, name): Comparison() for engine in engines for name in references}
    for i, ids in enumerate(chunks):
        expected = {name: r.logits(ids)[FIRST:-1] for name, r in references.items()}
        for engine, logits in engines.items():
            actual = logits(i)
            for name in references:
                sums[engine, name].add(expected[name], actual)
    return {engine: {name: sums[engine, name].result() for name in references}
            | {"against": {peer: divergence_ratio(sums[engine, "own"], sums[peer, "own"])
                           for peer in args.peers if engine not in args.peers}}
            for engine in engines}


def measure_goldens(args: argparse.Namespace) -> dict:
    """{file: {class: error in standard deviations of the golden's logits}}"""
    results = {}
    for model in sorted(args.goldens.glob("*.gguf")):
        golden = read_safetensors(model.with_suffix(".golden.safetensors"))
        expected = golden["logits"]
        results[model.stem] = {}
        for word in args.compute.split(","):
            logits = TuttiLogits(args.binary, model,
                                 ["--compute", word, *shlex.split(args.tutti)])
            error = logits(golden["input_ids"].tolist()) - expected
            results[model.stem][word] = float(numpy.sqrt((error ** 2).mean()) / expected.std())
    return results


def print_goldens(results: dict) -> None:
    words = list(next(iter(results.values())))
    print("| golden checkpoint | " + " | ".join(words) + " |")
    print("|---" * (1 + len(words)) + "|")
    for name, errors in results.items():
        print(f"| {name} | " + " | ".join(f"{errors[word]:.2e}" for word in words) + " |")


def print_models(results: dict) -> None:
    has_original = any("original" in row for rows in results.values() for row in rows.values())
    peers = list(dict.fromkeys(p for rows in results.values() for row in rows.values()
                               for p in row["against"]))
    head = ["file", "engine", "relative error of logits", "divergence", "same best token",
            *(f"divergence against {peer}'s (95 %)" for peer in peers)]
    print("| " + " | ".join(head + ["divergence from the original weights"] * has_original) + " |")
    print("|---" * (len(head) + has_original) + "|")
    for model, rows in results.items():
        for engine, row in rows.items():
            own = row["own"]
            cells = [model, engine, f"{100 * own['relative_error']:.2f} %",
                     f"{own['divergence']:.2e}", f"{100 * own['top1_agreement']:.2f} %"]
            for peer in peers:
                against = row["against"].get(peer)
                cells.append(f"{against['ratio']:.2f} ({against['low']:.2f}-{against['high']:.2f})"
                             if against else "")
            if has_original:
                cells.append(f"{row['original']['divergence']:.2e}")
            print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path, help="GGUF files")
    parser.add_argument("--goldens", type=pathlib.Path, help="folder of golden GGUF files")
    parser.add_argument("--text", type=pathlib.Path, help="what the models are scored on")
    parser.add_argument("--tokens", type=int, default=10000, help="rows to score")
    parser.add_argument("--original", type=pathlib.Path, help="GGUF of the unquantised weights")
    parser.add_argument("--compute", default="bf16", help="classes, separated by commas")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--binary", default="build/release/bin/tutti")
    parser.add_argument("--tutti", default="", metavar="FLAGS", help="more flags of tutti logits")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.peers = {word.partition("=")[0]: pathlib.Path(word.partition("=")[2])
                  for word in args.peer}
    if args.models and not args.text:
        parser.error("--text is needed to score models")
    if not args.models and not args.goldens:
        parser.error("nothing to do: no models and no --goldens")

    results = {}
    if args.goldens:
        results["goldens"] = measure_goldens(args)
    if args.models:
        with tempfile.TemporaryDirectory() as folder:
            results["models"] = {model.stem: measure_model(args, model, pathlib.Path(folder))
                                 for model in args.models}
    if args.json:
        print(json.dumps(results, indent=1))
        return
    if "goldens" in results:
        print_goldens(results["goldens"])
    if "models" in results:
        print_models(results["models"])


if __name__ == "__main__":
    main()
