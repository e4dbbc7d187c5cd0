"""What every suite has: the service's connection, ids of its own, waiting, and the list of expected failures.

The driver (`tests/sdk/run`) starts the service and hands its connection in `DROPMILL_CONNECTION` (a file with the JSON
that `dropmill serve --json` printed) and the suite's name in `DROPMILL_SUITE`.
"""

import itertools
import json
import os
import re
import time
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EXPECTED = HERE.parent / "expected.toml"


def pytest_collection_modifyitems(config, items):
    """What is listed must fail; when it passes, the suite is red until its line is gone. So is a line for no test."""
    suite = os.environ.get("DROPMILL_SUITE", "")
    listed = {
        each["test"]: each["reason"]
        for each in tomllib.loads(EXPECTED.read_text()).get("expected", [])
        if each["suite"] == suite
    }
    for item in items:
        name = f"{item.path.name}::{item.name}"
        reason = listed.pop(name, None)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if listed and os.environ.get("DROPMILL_WHOLE_SUITE"):
        raise pytest.UsageError(f"{EXPECTED.name} lists tests of {suite} that are none: {sorted(listed)}")


@pytest.fixture(scope="session")
def connection():
    return json.loads(Path(os.environ["DROPMILL_CONNECTION"]).read_text())


_numbers = itertools.count(1)


@pytest.fixture
def fresh(request):
    """Makes ids that nothing else has."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:24].strip("-")
    return lambda what="x": f"{what}-{stem}-{next(_numbers)}"[:60].strip("-")


@pytest.fixture(scope="session")
def until():
    def until(what, check, seconds=60):
        """Asks until the answer is true, and gives it back."""
        end = time.monotonic() + seconds
        while True:
            answer = check()
            if answer:
                return answer
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.03)

    return until
