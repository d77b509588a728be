#!/usr/bin/env python3
"""Writes the seeds for the fuzzers of model files: corpus/gguf, corpus/safetensors and
corpus/config_json beside this script.

`valid_*` are small files that must open. Each other file breaks one rule and is named for it;
src/formats/hostile_test.cc says what error it must give.
"""
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = dict(zip(range(13), "<B <b <H <h <I <i <f <B . . <Q <q <d".split()))
TENSOR_F32, TENSOR_F16, TENSOR_Q4_0, TENSOR_Q2_K, TENSOR_Q4_K = 0, 1, 2, 10, 12


def text(value, length=None):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data) if length is None else length) + data


def pair(key, kind, value):
    payload = text(value) if kind == STRING else struct.pack(FORMATS[kind], value)
    return text(key) + struct.pack("<I", kind) + payload


def array(key, kind, values, count=None):
    payload = b"".join(text(v) if kind == STRING else struct.pack(FORMATS[kind], v) for v in values)
    count = len(values) if count is None else count
    return text(key) + struct.pack("<IIQ", ARRAY, kind, count) + payload


def tensor(name, extents, kind=TENSOR_F32, offset=0):
    """`extents` innermost first, as in the file."""
    return (text(name) + struct.pack("<I", len(extents))
            + b"".join(struct.pack("<Q", extent) for extent in extents)
            + struct.pack("<IQ", kind, offset))


def gguf(pairs=(), tensors=(), data=b"", version=3, magic=b"GGUF", num_pairs=None,
         num_tensors=None, alignment=32):
    header = magic + struct.pack(
        "<IQQ", version, len(tensors) if num_tensors is None else num_tensors,
        len(pairs) if num_pairs is None else num_pairs)
    header += b"".join(pairs) + b"".join(tensors)
    if tensors:
        header += b"\0" * (-len(header) % alignment)
    return header + data


def kilobyte_pad(data):
    return data + b"\0" * max(0, 1024 - len(data))


ARCHITECTURE = pair("general.architecture", STRING, "llama")
ONE = [tensor("w", [8])]


def every_type():
    return [
        ARCHITECTURE, pair("general.alignment", U32, 64), pair("u8", U8, 255), pair("i8", I8, -1),
        pair("u16", U16, 65535), pair("i16", I16, -2), pair("u32", U32, 2**32 - 1),
        pair("i32", I32, -3), pair("f32", F32, 0.5), pair("bool", BOOL, 1),
        pair("u64", U64, 2**64 - 1), pair("i64", I64, -4), pair("f64", F64, 1e300),
        pair("bytes", STRING, b"\xff\xc3\x28"), array("tokens", STRING, ["a", "", "b"]),
        array("scores", F32, [0.0, -1.0]), array("doubles", F64, [2.5]),
        array("types", I32, [1, -1] * 8), array("flags", BOOL, [0, 1]), array("none", U32, []),
        array("wide", U64, [2**64 - 1]), pair("tokenizer.chat_template", STRING, "{{ messages }}"),
        pair("tokenizer.chat_template.tool_use", STRING, "{{ tools }}"),
        pair("general.sampling.temp", F32, 0.7), pair("general.sampling.top_k", I32, 40),
        pair("tokenizer.ggml.eos_token_id", U32, 2), pair("tokenizer.ggml.eot_token_id", U32, 3),
    ]


def every_tensor():
    tensors = [tensor("f32", [4, 3], TENSOR_F32, 0), tensor("f16", [8], TENSOR_F16, 64),
               tensor("q4_0", [32, 2], TENSOR_Q4_0, 128), tensor("q4_k", [256], TENSOR_Q4_K, 192),
               tensor("q2_k", [256, 1, 1, 1], TENSOR_Q2_K, 384)]
    return tensors, bytes(range(256)) + bytes(range(212))


def gguf_files():
    tensors, data = every_tensor()
    yield "valid_v3", gguf(every_type(), tensors, data, alignment=64)
    yield "valid_v2", gguf([ARCHITECTURE], ONE, b"\0" * 32, version=2)
    yield "valid_metadata_only", gguf([ARCHITECTURE])
    yield "valid_empty", gguf()
    yield "valid_tokens_of_wrong_type", gguf([array("tokenizer.ggml.tokens", U32, [1, 2]),
                                              array("tokenizer.ggml.scores", U8, [1, 2])])
    yield "valid_token_byte_negative", gguf([
        pair("tokenizer.ggml.model", STRING, "llama"),
        array("tokenizer.ggml.tokens", STRING, ["<unk>", "<0x-1>", "<0x", "<0x100>", "<0xZZ>"]),
        array("tokenizer.ggml.scores", F32, [0.0] * 5),
        array("tokenizer.ggml.token_type", I32, [2, 6, 6, 6, 6])])
    yield "valid_odd_numbers", gguf([
        pair("llama.rope.freq_base", F32, float("nan")), pair("inf", F64, float("inf")),
        pair("llama.attention.head_count", U32, 0), array("nans", F32, [0.0, float("nan")])])

    yield "empty_file", b""
    yield "magic_only", b"GGUF"
    yield "magic_wrong", gguf(magic=b"GGML")
    yield "version_1", gguf(version=1)
    yield "version_4", gguf(version=4)
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 1, 1)
    yield "tensor_count_2_63", gguf(num_tensors=2**63)
    yield "tensor_count_over_file", gguf(num_tensors=1000)
    yield "pair_count_2_64", gguf(num_pairs=2**64 - 1)
    yield "pair_count_over_file", gguf([ARCHITECTURE], num_pairs=1000)

    yield "key_length_2_63", gguf([text(b"key", 2**63)], num_pairs=1) + b"\0" * 16
    yield "key_length_over_file", gguf([text(b"key", 60000)], num_pairs=1) + b"\0" * 16
    yield "key_empty", gguf([pair("", U32, 1)])
    yield "key_twice", gguf([ARCHITECTURE, ARCHITECTURE])
    yield "string_length_2_63", gguf(
        [text("key") + struct.pack("<I", STRING) + text(b"value", 2**63)])
    yield "string_length_over_file", gguf(
        [text("key") + struct.pack("<I", STRING) + text(b"value", 1000)])
    yield "value_type_13", gguf([text("key") + struct.pack("<IQ", 13, 0)])
    yield "value_cut", gguf([text("key") + struct.pack("<IH", U64, 0)])
    yield "bool_is_2", gguf([pair("flag", BOOL, 2)])
    yield "array_of_arrays", gguf([text("key") + struct.pack("<IIQ", ARRAY, ARRAY, 1)
                                   + struct.pack("<IQ", ARRAY, 1) * 20])
    yield "array_type_99", gguf([text("key") + struct.pack("<IIQ", ARRAY, 99, 1) + b"\0" * 8])
    yield "array_count_2_61", gguf([array("key", U64, [1, 2], 2**61)])
    yield "array_count_2_64", gguf([array("key", U8, [1, 2], 2**64 - 1)])
    yield "array_count_over_file", gguf([array("key", U32, [1, 2], 1000)])
    yield "array_string_length_2_63", gguf(
        [text("key") + struct.pack("<IIQ", ARRAY, STRING, 2) + text("a") + text(b"b", 2**63)])

    def alignment(kind, value):
        return gguf([pair("general.alignment", kind, value)], ONE, b"\0" * 32)
    yield "alignment_2_31", alignment(U32, 2**31)
    yield "alignment_0", alignment(U32, 0)
    yield "alignment_48", alignment(U32, 48)
    yield "alignment_text", alignment(STRING, "32")

    yield "tensor_of_1_gib", kilobyte_pad(gguf([ARCHITECTURE], [tensor("w", [16384, 16384])]))
    yield "dimensions_wrap", kilobyte_pad(gguf([], [tensor("w", [2**33, 2**33])]))
    yield "dimensions_wrap_to_small", kilobyte_pad(gguf([], [tensor("w", [2**32 + 1, 2**32])]))
    yield "bytes_wrap", kilobyte_pad(gguf([], [tensor("w", [2**62])]))
    yield "dimension_0", kilobyte_pad(gguf([], [tensor("w", [0, 4])]))
    yield "dimension_2_63", kilobyte_pad(gguf([], [tensor("w", [2**63])]))
    yield "dimensions_none", kilobyte_pad(gguf([], [tensor("w", [])]))
    yield "dimensions_5", kilobyte_pad(gguf([], [tensor("w", [1] * 5)]))
    yield "dimensions_2_32", kilobyte_pad(
        gguf([], [text("w") + struct.pack("<I", 2**32 - 1) + b"\1" * 64]))
    yield "name_empty", gguf([], [tensor("", [8])], b"\0" * 32)
    yield "name_length_2_63", kilobyte_pad(gguf([], [text(b"w", 2**63) + b"\0" * 64]))
    yield "name_with_escape", gguf([], [tensor("\x1b[2Jw", [0])], b"\0" * 32)
    yield "name_twice", gguf([], [tensor("w", [8]), tensor("w", [8], offset=32)], b"\0" * 64)
    yield "type_999", gguf([], [tensor("w", [8], 999)], b"\0" * 32)
    yield "type_removed", gguf([], [tensor("w", [32], 4)], b"\0" * 32)
    yield "row_not_blocks", gguf([], [tensor("w", [100], TENSOR_Q4_K)], b"\0" * 256)
    yield "offset_2_64", gguf([], [tensor("w", [8], offset=2**64 - 32)], b"\0" * 32)
    yield "offset_over_file", gguf([], [tensor("w", [8], offset=32)], b"\0" * 32)
    yield "offset_unaligned", gguf([], [tensor("w", [4], offset=4)], b"\0" * 32)
    yield "tensors_overlap", gguf([], [tensor("a", [16]), tensor("b", [8], offset=32)],
                                  b"\0" * 64)
    yield "padding_missing", gguf([], ONE)[:-1]


def safetensors(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_files():
    yield "valid", safetensors(
        {"__metadata__": {"format": "pt"}, "b": entry([2, 2], 8, 16, "BF16"),
         "a": entry([2], 0, 8), "c": entry([], 16, 17, "U8"), "none": entry([0, 4], 17, 17),
         "fp8": entry([3], 17, 20, "F8_E4M3")}, bytes(range(20)))
    yield "valid_empty", safetensors({})
    yield "valid_padded", safetensors(b'{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}   ',
                                      b"\1")

    yield "empty_file", b""
    yield "length_cut", b"\1\0\0"
    yield "header_length_2_63", safetensors({}, length=2**63)
    yield "header_length_200_mb", safetensors({}, length=200_000_000)
    yield "header_length_over_file", safetensors({}, length=1000)
    yield "header_length_0", safetensors(b"")
    yield "header_not_json", safetensors(b"\x80\x04pickle")
    yield "header_array", safetensors([])
    yield "header_deep", safetensors(b"[" * 5000)
    yield "header_deep_objects", safetensors(b'{"a":' * 5000)
    yield "header_with_rest", safetensors(b"{}{}")
    yield "name_twice", safetensors(
        b'{"w":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},'
        b'"w":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}', b"\0\0")
    yield "name_not_utf8", safetensors(
        b'{"\xff":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"\0")
    yield "entry_not_object", safetensors({"w": 5})
    yield "dtype_missing", safetensors({"w": {"shape": [1], "data_offsets": [0, 1]}}, b"\0")
    yield "dtype_unknown", safetensors({"w": entry([1], 0, 1, "Q9_Z")}, b"\0")
    yield "dtype_number", safetensors({"w": entry([1], 0, 1, 7)}, b"\0")
    yield "shape_missing", safetensors({"w": {"dtype": "I8", "data_offsets": [0, 1]}}, b"\0")
    yield "shape_negative", safetensors({"w": entry([-1], 0, 1, "I8")}, b"\0")
    yield "shape_float", safetensors({"w": entry([1.5], 0, 1, "I8")}, b"\0")
    yield "shape_2_64", safetensors({"w": entry([2**64], 0, 1, "I8")}, b"\0")
    yield "shape_text", safetensors({"w": entry(["1"], 0, 1, "I8")}, b"\0")
    yield "shape_wraps", safetensors({"w": entry([2**33, 2**33], 0, 0)})
    yield "shape_wraps_behind_zero", safetensors({"w": entry([0, 2**62, 2**62], 0, 0)})
    yield "shape_17_dimensions", safetensors({"w": entry([1] * 17, 0, 1, "I8")}, b"\0")
    yield "size_of_1_gib", kilobyte_pad(safetensors({"w": entry([16384, 16384], 0, 2**30)}))
    yield "size_not_of_shape", safetensors({"w": entry([16384, 16384], 0, 8)}, b"\0" * 8)
    yield "offsets_missing", safetensors({"w": {"dtype": "I8", "shape": [1]}}, b"\0")
    yield "offsets_three", safetensors(
        {"w": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1, 2]}}, b"\0")
    yield "offsets_reversed", safetensors({"w": entry([1], 1, 0, "I8")}, b"\0")
    yield "offsets_negative", safetensors({"w": entry([1], -1, 0, "I8")}, b"\0")
    yield "offsets_2_63", safetensors({"w": entry([1], 2**63, 2**63 + 1, "I8")}, b"\0")
    yield "tensors_overlap", safetensors(
        {"a": entry([4], 0, 4, "I8"), "b": entry([4], 2, 6, "I8")}, b"\0" * 6)
    yield "buffer_hole", safetensors(
        {"a": entry([1], 0, 1, "I8"), "b": entry([1], 2, 3, "I8")}, b"\0" * 3)
    yield "buffer_rest", safetensors({"a": entry([1], 0, 1, "I8")}, b"\0" * 3)
    yield "metadata_not_object", safetensors({"__metadata__": [1]})
    yield "metadata_not_text", safetensors({"__metadata__": {"a": 1}})


def config_files():
    yield "generation", b'{"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": true,\
 "eos_token_id": [151645, 151643], "repetition_penalty": 1.05}'
    yield "python_literals", b'{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN \\" Infinity"}'
    yield "odd_values", b'{"temperature": -1, "top_p": "x", "top_k": 1e99, "eos_token_id": [{}],\
 "temperature": 1e308}'
    yield "templates", b'{"chat_template": [{"name": "default", "template": "a"}, {"name": 1}]}'
    yield "unfinished", b'{"a": "\\'


def main():
    for folder, ending, files in (("gguf", ".gguf", gguf_files()),
                                  ("safetensors", ".safetensors", safetensors_files()),
                                  ("config_json", ".json", config_files())):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        for name, data in files:
            (CORPUS / folder / (name + ending)).write_bytes(data)


if __name__ == "__main__":
    main()
