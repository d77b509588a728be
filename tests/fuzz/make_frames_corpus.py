#!/usr/bin/env python3
"""Writes corpus/frames: frames of each type for each of the fuzzer's readers.

    make_frames_corpus.py [FOLDER]

The layout is that of src/engine/channel/frames.cc.
"""
import pathlib
import struct
import sys


def frame(kind, payload=b""):
    return struct.pack("<IBB", len(payload), 1, kind) + payload


def text(value):
    return struct.pack("<I", len(value)) + value


def ids(*values):
    return struct.pack(f"<I{len(values)}i", len(values), *values)


def sampling():
    return (struct.pack("<didddd", 0.7, 40, 0.9, 0.05, 1.0, 1.1) + struct.pack("<idd", 64, 0.5, -0.5)
            + struct.pack("<Iif", 1, 3, -2.0) + struct.pack("<Qii?", 7, 0, 16, False) + ids(4)
            + struct.pack("<?i", True, 2))


def submit(number, generated=()):
    return frame(0, struct.pack("<Q", number) + ids(1, 2, 3) + ids(*generated) + sampling() + ids(2)
                 + text(b"tenant") + struct.pack("<d", 1.0) + text(b"") + struct.pack("<i", 0)
                 + struct.pack("<?q", True, 10**12))


def status(kind, message):
    return struct.pack("<B", kind) + text(message) + text(b"")


USAGE = struct.pack("<iii", 3, 2, 0)


def token(number, index):
    return frame(6, struct.pack("<Qiif", number, 5, index, -0.5) + struct.pack("<Iif", 1, 6, -1.0))


def finished(number):
    return frame(7, struct.pack("<QBi", number, 1, -1) + USAGE + struct.pack("<qqq", 1, 2, 3))


def failed(number):
    return frame(8, struct.pack("<Q", number) + status(6, b"cancelled") + USAGE)


SEEDS = {
    "submit": submit(1) + submit(2, (4, 5)),
    "cancel_stop": frame(1, struct.pack("<Q", 1)) + frame(2),
    "progress_hello": frame(3, struct.pack("<d", 0.5)) + frame(4, struct.pack("<ii", 100, 50) + text(b"{}")),
    "load_failed": frame(5, status(0, b"does not fit")),
    "tokens": token(1, 0) + token(2, 0) + token(1, 1) + finished(1) + failed(3),
    "gap": token(1, 0) + token(1, 2),
    "twice": token(1, 0) + token(1, 0) + finished(1) + finished(1),
    "too_long": b"\xff\xff\xff\xff\x01\x00",
}


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus/frames")
    folder.mkdir(parents=True, exist_ok=True)
    for name, payload in SEEDS.items():
        for reader in range(3):
            (folder / f"{name}_{reader}").write_bytes(bytes([reader]) + payload)


if __name__ == "__main__":
    main()
