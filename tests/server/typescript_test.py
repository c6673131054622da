"""A client that is generated from the document, by openapi-typescript, has a type for every answer. The packages come
from npm, outside the source tree; SKIP with the reason where that does not work."""
import os
import re
import shutil
import subprocess

import pytest

CACHE = os.path.join(os.environ.get("WEBML_TEST_CACHE", "/tmp/webml-test-cache"), "npm-openapi")
PACKAGES = ["openapi-typescript@7.13.0", "typescript@5"]


@pytest.fixture(scope="module")
def npx():
    """npx(*words) -> what it prints."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    if not os.path.isdir(os.path.join(CACHE, "node_modules", "openapi-typescript")):
        os.makedirs(CACHE, exist_ok=True)
        done = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES], cwd=CACHE,
                              capture_output=True, text=True)
        if done.returncode:
            pytest.skip("npm cannot install: " + done.stderr.strip().split("\n")[-1])

    def run(*words):
        done = subprocess.run(["npx", "--no-install", *map(str, words)], cwd=CACHE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def types(npx, nobody, tmp_path_factory):
    folder = tmp_path_factory.mktemp("types")
    nobody.call("GET", "/openapi.json")
    (folder / "openapi.json").write_bytes(nobody.last.content)
    npx("openapi-typescript", folder / "openapi.json", "-o", folder / "api.d.ts")
    return folder / "api.d.ts"


def test_the_types_compile(npx, types):
    npx("tsc", "--noEmit", "--strict", types)


def test_every_answer_has_a_type(types):
    text = types.read_text()
    answers = re.findall(r'"application/(?:problem\+)?json": ([^\n]*)', text[text.index("export interface operations"):])
    assert len(answers) > 100
    assert not [a for a in answers if "unknown" in a or "any" in a]
