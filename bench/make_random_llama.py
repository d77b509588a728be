#!/usr/bin/env python3
"""Writes a random Llama in Hugging Face's layout, for benchmarks: the shape of a real model, none
of its knowledge.

    bench/make_random_llama.py OUT                      # 1.1B weights, TinyLlama's shape, 2.2 GB
    bench/make_random_llama.py OUT --layers 4 --max-positions 32768

Only Python's standard library is used. Weights come from a small pool of random bfloat16 numbers
that is repeated from a random place for every tensor, so the file is written as fast as the disk
takes it. Their spread keeps the activations of a deep stack of the size a trained model has.
"""

import argparse
import json
import math
import pathlib
import random
import struct

# A prime, so that the rows of a matrix, whose width is a round number, all differ.
BLOCK_VALUES = 16381
POOL_VALUES = 64 * BLOCK_VALUES


def bfloat16(value: float) -> int:
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def make_pool(generator: random.Random) -> bytes:
    """Normally distributed numbers with a standard deviation of 0.02, as bfloat16."""
    values = [bfloat16(generator.gauss(0.0, 0.02)) for _ in range(BLOCK_VALUES)]
    block = struct.pack(f"<{len(values)}H", *values)
    return block * (POOL_VALUES // BLOCK_VALUES)


def tensor_shapes(args: argparse.Namespace) -> dict[str, list[int]]:
    hidden, width = args.hidden, args.intermediate
    kv_width = args.kv_heads * args.head_dim
    shapes = {"model.embed_tokens.weight": [args.vocab, hidden]}
    for layer in range(args.layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": [hidden],
            prefix + "self_attn.q_proj.weight": [args.heads * args.head_dim, hidden],
            prefix + "self_attn.k_proj.weight": [kv_width, hidden],
            prefix + "self_attn.v_proj.weight": [kv_width, hidden],
            prefix + "self_attn.o_proj.weight": [hidden, args.heads * args.head_dim],
            prefix + "post_attention_layernorm.weight": [hidden],
            prefix + "mlp.gate_proj.weight": [width, hidden],
            prefix + "mlp.up_proj.weight": [width, hidden],
            prefix + "mlp.down_proj.weight": [hidden, width],
        }
    shapes["model.norm.weight"] = [hidden]
    if not args.tied:
        shapes["lm_head.weight"] = [args.vocab, hidden]
    return shapes


def write_weights(path: pathlib.Path, shapes: dict[str, list[int]], seed: int) -> int:
    generator = random.Random(seed)
    pool = make_pool(generator)
    ones = struct.pack("<H", bfloat16(1.0))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        num_bytes = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape,
                        "data_offsets": [offset, offset + num_bytes]}
        offset += num_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            left = 2 * math.prod(shape)
            if len(shape) == 1:
                file.write(ones * shape[0])
                continue
            start = 2 * generator.randrange(POOL_VALUES // 2)
            while left > 0:
                left -= file.write(pool[start:start + left])
                start = 0
    return offset


def byte_to_character() -> list[str]:
    """GPT-2's way of writing each byte as a printable character."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def write_tokenizer(folder: pathlib.Path, vocab_size: int) -> None:
    """A byte-level BPE without merges worth the name: each byte is a token, pairs fill the rest."""
    characters = byte_to_character()
    special = ["<unk>", "<s>", "</s>"]
    vocabulary = {token: i for i, token in enumerate(special + characters)}
    letters = [characters[ord(letter)] for letter in "etaoinshrdlucmfwypvbgkjqxz"]
    space = characters[ord(" ")]
    parts = [[space, *letters], letters]
    merges = []
    for first in parts[0]:
        for second in parts[1]:
            if first + second not in vocabulary and len(vocabulary) < vocab_size:
                vocabulary[first + second] = len(vocabulary)
                merges.append([first, second])
    while len(vocabulary) < vocab_size:
        vocabulary[f"<unused{len(vocabulary)}>"] = len(vocabulary)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for i, token in enumerate(special)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": dict(list(vocabulary.items())[:vocab_size]), "merges": merges},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "chat_template": "{% for message in messages %}{{ message['role'] }}: "
                         "{{ message['content'] }}\n{% endfor %}assistant:",
    }, indent=2))


def write_config(folder: pathlib.Path, args: argparse.Namespace) -> None:
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": args.vocab,
        "hidden_size": args.hidden,
        "intermediate_size": args.intermediate,
        "num_hidden_layers": args.layers,
        "num_attention_heads": args.heads,
        "num_key_value_heads": args.kv_heads,
        "head_dim": args.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": args.max_positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": args.rope_theta,
        "tie_word_embeddings": args.tied,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }, indent=2))
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 1, "eos_token_id": 2}, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder to write")
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, help="hidden / heads if not given")
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--max-positions", type=int, default=8192, help="context length")
    parser.add_argument("--rope-theta", type=float, default=10000.0)
    parser.add_argument("--tied", action="store_true", help="no output matrix of its own")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.head_dim is None:
        args.head_dim = args.hidden // args.heads
    if args.heads % args.kv_heads != 0:
        parser.error("--heads must be a multiple of --kv-heads")
    if args.vocab < 259:
        parser.error("--vocab must be at least 259: three special tokens and every byte")

    args.out.mkdir(parents=True, exist_ok=True)
    num_bytes = write_weights(args.out / "model.safetensors", tensor_shapes(args), args.seed)
    write_config(args.out, args)
    write_tokenizer(args.out, args.vocab)
    print(f"{args.out}: {num_bytes / 2e9:.2f}B weights, {num_bytes / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
