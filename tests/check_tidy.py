#!/usr/bin/env python3
"""Runs clang-tidy over the sources of a build folder's compile_commands.json.

    check_tidy.py ROOT BUILD [FOLDER…]     FOLDER: of src/, e.g. base; all of them when none is named
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

TIDY = "clang-tidy-14"

# Asks the processor by names of GCC's that Clang 14 does not know.
LEFT_OUT = {"kernels/testing/native_tables.cc"}


def commands(root, build, folders):
    """The compile commands of src/, without GCC's precompiled header. Left out: tests, and the kernels' files
    as the emulated build compiles them, a second time."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(root / "src") or path.name.endswith("_test.cc"):
            continue
        if "-DTUTTI_EMULATED" in entry["command"] or str(path.relative_to(root / "src")) in LEFT_OUT:
            continue
        if folders and path.relative_to(root / "src").parts[0] not in folders:
            continue
        words = entry["command"].split()
        while "-include" in words:
            at = words.index("-include")
            del words[at:at + 2]
        yield {**entry, "command": " ".join(w for w in words if w != "-Winvalid-pch")}


def main():
    root, build = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    database = {entry["file"]: entry for entry in commands(root, build, set(sys.argv[3:]))}
    folder = build / "tidy"
    folder.mkdir(exist_ok=True)
    (folder / "compile_commands.json").write_text(json.dumps(list(database.values())))

    def check(file):
        done = subprocess.run([TIDY, "-quiet", "-p", str(folder), "--extra-arg=-Wno-unknown-warning-option", file],
                              capture_output=True, text=True)
        return file, done.returncode, done.stdout

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for file, code, output in pool.map(check, sorted(database)):
            if code != 0:
                failed += 1
                print(output)
    print(f"{len(database)} files, {failed} with findings")
    return 1 if failed or not database else 0


if __name__ == "__main__":
    sys.exit(main())
