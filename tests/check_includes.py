#!/usr/bin/env python3
"""Fails when a folder of src/ includes a folder of its own or a higher tier (docs/architecture.md).

    check_includes.py ROOT
"""
import pathlib
import re
import sys

TIERS = [
    ["base"],
    ["core", "tensor", "text", "grammar"],
    ["formats", "kernels", "cache", "dialects"],
    ["schedule", "device"],
    ["model"],
    ["engine"],
    ["store", "gateway"],
    ["server"],
    ["app"],
]
TIER_OF = {folder: tier for tier, folders in enumerate(TIERS) for folder in folders}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def violations(source: pathlib.Path):
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".cc", ".h", ".cu", ".inc"):
            continue
        folder = path.relative_to(source).parts[0]
        if folder not in TIER_OF:
            yield f"{path}: the folder {folder} has no tier"
            continue
        for include in INCLUDE.findall(path.read_text(encoding="utf-8")):
            target = include.split("/")[0]
            if include.startswith("tests/"):
                if not path.name.endswith("_test.cc"):
                    yield f'{path}: "{include}" belongs to tests only'
            elif target not in TIER_OF:
                yield f'{path}: "{include}" is not relative to src/'
            elif target != folder and TIER_OF[target] >= TIER_OF[folder]:
                yield f'{path}: "{include}": tier {TIER_OF[target]} from tier {TIER_OF[folder]}'


def main() -> int:
    source = pathlib.Path(sys.argv[1]) / "src"
    found = list(violations(source))
    print("\n".join(found) if found else f"{source}: every include goes to a lower tier")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
