#!/usr/bin/env python3
"""Writes corpus/spill: files and damages for the fuzzer of spill files.

    make_spill_corpus.py [FOLDER]

The layout is that of src/cache/spill_file.cc.
"""
import pathlib
import struct
import sys

HEADER, SLOT, HEAD = 4096, 4096, 256


def slot(number, num_bytes=96):
    """A slot's head without its checksums, and the block's bytes."""
    numbers = struct.pack("<QQ6Q32i", number + 1, num_bytes, 1, number + 1, 1, number, 1, 0, *range(32))
    head = b"SPSLOT1\n" + numbers + struct.pack("<QQ", 0, 0)
    return (head.ljust(HEAD, b"\0") + bytes(range(96))).ljust(SLOT, b"\0")


def damage(at, value):
    return b"\x01" + struct.pack("<I", at) + value


SEEDS = {
    "empty": b"\0",
    "short": b"\0" + b"TUTTISP1",
    "other_format": b"\2" + bytes(HEADER),
    "header_only": b"\0" + bytes(HEADER),
    "slots": b"\0" + bytes(HEADER) + slot(0) + slot(1),
    "long_block": b"\0" + bytes(HEADER) + slot(0, 2**63),
    "cut_slot": b"\0" + bytes(HEADER) + slot(0)[:200],
    "cut_off": damage(HEADER + SLOT + 300, b"\0"),
    "cut_header": damage(17, b"\0"),
    "damaged_magic": damage(0, b"X"),
    "damaged_head": damage(HEADER + 30, b"\xff\xff"),
    "damaged_checksum": damage(HEADER + 200, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    "damaged_bytes": damage(HEADER + 2 * SLOT + HEAD + 5, b"\x80"),
    "damaged_padding": damage(HEADER + 2 * SLOT + 1000, b"\x80"),
}


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus/spill")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SEEDS.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
