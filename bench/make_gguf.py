#!/usr/bin/env python3
"""Writes a Llama checkpoint (Hugging Face's layout, byte-level BPE) as GGUF, so that Tutti and other
engines can be measured on the same file.

    bench/make_gguf.py MODEL OUT.gguf --type BF16                     # F32, F16, BF16, Q8_0, Q4_0 ...
    bench/make_gguf.py models/demo demo-F32.gguf --type F32 --pre qwen2 --plain-special

Types that the gguf package cannot write (Q4_K, Q5_K, Q6_K) are made from the F32 or BF16 file by
llama.cpp's llama-quantize. Needs numpy and gguf from PyPI.
"""

import argparse
import json
import math
import pathlib
import struct

import gguf
import numpy

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


class Safetensors:
    """The tensors of one file, read one at a time, as f32."""

    def __init__(self, path: pathlib.Path):
        self.file = open(path, "rb")
        size = struct.unpack("<Q", self.file.read(8))[0]
        self.header = json.loads(self.file.read(size))
        self.header.pop("__metadata__", None)
        self.begin = 8 + size

    def names(self) -> list[str]:
        return list(self.header)

    def shape(self, name: str) -> list[int]:
        return self.header[name]["shape"]

    def read(self, name: str) -> numpy.ndarray:
        entry = self.header[name]
        self.file.seek(self.begin + entry["data_offsets"][0])
        dtype = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}[entry["dtype"]]
        values = numpy.fromfile(self.file, dtype, math.prod(entry["shape"]))
        if entry["dtype"] == "BF16":
            values = (values.astype("<u4") << 16).view("<f4")
        return values.astype("<f4").reshape(entry["shape"])


def rotary_pairs_side_by_side(weight: numpy.ndarray, num_heads: int) -> numpy.ndarray:
    """GGUF's Llama keeps the rows of a rotated pair (i, i + half) beside each other."""
    rows, columns = weight.shape
    halves = weight.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def write_metadata(writer: gguf.GGUFWriter, config: dict) -> None:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def plain_special(token: str) -> str:
    """A control token's name for tools that read plain text only: <|im_end|> as [im_end]."""
    return "[" + token.strip("<|>") + "]"


def write_tokenizer(writer: gguf.GGUFWriter, args: argparse.Namespace, config: dict) -> None:
    folder = args.model
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = dict(tokenizer["model"]["vocab"])
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    vocabulary |= {token["content"]: i for i, token in added.items()}
    tokens, types = [], []
    by_id = {i: token for token, i in vocabulary.items()}
    for i in range(config["vocab_size"]):
        tokens.append(by_id.get(i, f"[PAD{i}]"))
        if i in added and added[i]["special"] and not args.plain_special:
            types.append(gguf.TokenType.CONTROL)
        elif i in added:
            types.append(gguf.TokenType.USER_DEFINED)
            if added[i]["special"]:
                tokens[i] = plain_special(tokens[i])
        else:
            types.append(gguf.TokenType.NORMAL if i in by_id else gguf.TokenType.UNUSED)
    merges = [" ".join(pair) if isinstance(pair, list) else pair
              for pair in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(args.pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    if template := settings.get("chat_template"):
        writer.add_chat_template(template)


def convert(args: argparse.Namespace) -> None:
    folder, out, type_name = args.model, args.out, args.type
    config = json.loads((folder / "config.json").read_text())
    source = Safetensors(folder / "model.safetensors")
    matrix_type = gguf.GGMLQuantizationType[type_name]
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_file_type(gguf.LlamaFileType[
        {"F32": "ALL_F32"}.get(type_name, f"MOSTLY_{type_name}")])
    write_metadata(writer, config)
    write_tokenizer(writer, args, config)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}

    def type_of(name: str) -> gguf.GGMLQuantizationType:
        is_norm = len(source.shape(name)) == 1
        return gguf.GGMLQuantizationType.F32 if is_norm else matrix_type

    for name in source.names():
        shape = gguf.quant_shape_to_byte_shape(source.shape(name), type_of(name)) \
            if type_of(name) not in (gguf.GGMLQuantizationType.F32,
                                     gguf.GGMLQuantizationType.F16) else source.shape(name)
        dtype = {gguf.GGMLQuantizationType.F32: numpy.dtype("f4"),
                 gguf.GGMLQuantizationType.F16: numpy.dtype("f2")}.get(type_of(name),
                                                                      numpy.dtype("u1"))
        writer.add_tensor_info(gguf_name(name), shape, dtype, math.prod(shape) * dtype.itemsize,
                               raw_dtype=type_of(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in source.names():
        values = source.read(name)
        for projection, num_heads in heads.items():
            if projection in name:
                values = rotary_pairs_side_by_side(values, num_heads)
        writer.write_tensor_data(gguf.quants.quantize(values, type_of(name)))
    writer.close()
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="folder of a checkpoint")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", default="BF16", help="of the matrices; norms are F32")
    parser.add_argument("--pre", default="gpt-2",
                        help="GGUF's name of the pre-tokenizer: gpt-2, qwen2, llama-bpe ...")
    parser.add_argument("--plain-special", action="store_true",
                        help="special tokens are found in plain text too, written [im_end] for "
                             "<|im_end|> (for llama-perplexity, which reads plain text only)")
    convert(parser.parse_args())


if __name__ == "__main__":
    main()
