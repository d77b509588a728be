"""The README's three examples, run as they are printed."""
import re
import subprocess
import sys

import pytest

from conftest import ROOT, Server

PORT = 11434


@pytest.fixture(scope="module")
def default_server():
    import socket
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.fail(f"port {PORT} is in use; the README's examples need it")
    running = Server("--port", str(PORT))
    assert running.port == PORT
    yield running
    assert running.stop() == 0


def blocks(language, file):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), re.S)


@pytest.mark.parametrize("file", ["README.md", "README.zh-CN.md"])
def test_examples(default_server, file):
    curl = next(b for b in blocks("sh", file) if b.startswith("curl"))
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60)
    assert '"choices"' in done.stdout, done.stdout + done.stderr
    examples = blocks("python", file)
    assert len(examples) == 2
    for example in examples:
        done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_readmes_show_the_same_examples():
    assert blocks("python", "README.md") == blocks("python", "README.zh-CN.md")


def test_documents_link_to_what_exists():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_architecture_is_documented():
    source = (ROOT / "src/model/architectures.cc").read_text()
    names = re.findall(r'\.(?:model_type|gguf_name) = "([^"]+)"', source)
    document = (ROOT / "docs/models.md").read_text()
    assert len(names) > 20 and not [name for name in names if f"`{name}`" not in document]
