"""Shared by all suites: the service's connection, unique ids, waiting, and the list of expected failures.

The driver (`tests/sdk/run`) starts the service and hands its connection in `DROPMILL_CONNECTION` (a file with the JSON
that `dropmill serve --json` printed) and the suite's name in `DROPMILL_SUITE`.
"""

import itertools
import json
import os
import re
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EXPECTED = HERE.parent / "expected.toml"
WORDS = pytest.StashKey()


def pytest_collection_modifyitems(config, items):
    """A listed test must fail: when it passes, the suite fails until its line is removed. A line for no test fails the suite, too."""
    suite = os.environ.get("DROPMILL_SUITE", "")
    lines = tomllib.loads(EXPECTED.read_text()).get("expected", [])
    listed = {each["test"]: each for each in lines if fnmatch(suite, each["suite"])}
    for item in items:
        line = listed.pop(f"{item.path.name}::{item.name}", None)
        if line is not None:
            item.add_marker(pytest.mark.xfail(reason=line["reason"], strict=True))
            item.stash[WORDS] = line["error"]
    if listed and os.environ.get("DROPMILL_WHOLE_SUITE"):
        raise pytest.UsageError(f"{EXPECTED.name} lists tests of {suite} that are none: {sorted(listed)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that is listed for one reason must not fail for another one."""
    report = yield
    words = item.stash.get(WORDS, None)
    if words and report.skipped and call.excinfo and words not in str(call.excinfo.value):
        report.outcome = "failed"
        report.longrepr = f"expected to fail with {words!r}, and failed with: {call.excinfo.value}"
        del report.wasxfail
    return report


@pytest.fixture(scope="session")
def connection():
    return json.loads(Path(os.environ["DROPMILL_CONNECTION"]).read_text())


_numbers = itertools.count(1)


@pytest.fixture
def fresh(request):
    """Returns ids that nothing else has."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:24].strip("-")
    return lambda what="x": f"{what}-{stem}-{next(_numbers)}"[:60].strip("-")


@pytest.fixture(scope="session")
def until():
    def until(what, check, seconds=60):
        """Calls a function until its result is true, and returns the result."""
        end = time.monotonic() + seconds
        while True:
            answer = check()
            if answer:
                return answer
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.03)

    return until
