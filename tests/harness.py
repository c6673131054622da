"""Shared by the tests in Python: counts checks, runs the command line."""
import atexit
import os
import shutil
import subprocess
import sys
import tempfile

passed = failed = skipped = 0
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
folder = tempfile.mkdtemp(prefix="webml-test-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)


def check(ok, what):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("failed:", what, file=sys.stderr)


def skip(what, why):
    global skipped
    skipped += 1
    print(f"SKIP {what}: {why}")


def path(name):
    return os.path.join(folder, name)


def write(name, content):
    mode = "wb" if isinstance(content, bytes) else "w"
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), mode) as f:
        f.write(content)
    return path(name)


def run(*args, **options):
    """Runs a program; returns (exit code, stdout, stderr)."""
    p = subprocess.run([str(a) for a in args], capture_output=True, text=options.pop("text", True), timeout=300, cwd=folder, **options)
    return p.returncode, p.stdout, p.stderr


def sanitized(program):
    """AddressSanitizer and ThreadSanitizer map terabytes: a limit on memory cannot be tried with them."""
    with open(program, "rb") as f:
        data = f.read()
        return b"__asan_init" in data or b"__tsan_init" in data


def report():
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or passed == 0 else 0)
