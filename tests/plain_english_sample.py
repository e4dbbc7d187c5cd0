#!/usr/bin/env python3
"""Draws sentences from documents, comments, help and error texts, for readers who check that they are understood.

    tests/plain_english_sample.py [--seed 1] [--count 200] [PATH ...]

Prints `file:line: sentence`. The same tree and the same seed give the same sentences. With paths, draws only from files
below them. To check the language, give each reader the sentences without the files, let them say in their own words what
each one means, and compare that with the code.
"""

import argparse
import random
import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "actors", "crates", "task-app", "tests", "docs", "config")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
COMMENTS = {".rs": r"\s*//[/!]? ?(.*)", ".toml": r"\s*# ?(.*)", ".py": r"\s*# ?(.*)"}
FEWEST_WORDS = 4


def sources(below):
    """Returns the files that are drawn from, as paths relative to the project, sorted."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in sorted(listed.stdout.splitlines()):
        path = Path(name)
        is_source = path.parts[0] in FOLDERS and path.suffix in (".md", *COMMENTS)
        if (is_source or name in PAGES) and (not below or any(path.is_relative_to(each) for each in below)):
            yield path


def paragraphs(path):
    """Returns the prose of a file: pairs of the first line and the text."""
    text = (PROJECT / path).read_text(encoding="utf-8", errors="replace")
    start, lines, in_code = 0, [], False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if path.suffix == ".md":
            prose = line.strip()
            is_break = not prose or prose.startswith(("#", "|", "- ", "* ", "<"))
        else:
            found = re.fullmatch(COMMENTS[path.suffix], line)
            prose = found[1].strip() if found else ""
            is_setting = path.suffix == ".toml" and re.match(r"\w+ = |\[", prose)
            is_break = not prose or prose.startswith(("# ", "|", "- ", "* ")) or is_setting
        is_fence = prose.startswith("```")
        in_code = in_code != is_fence
        if is_break or is_fence or in_code:
            if lines:
                yield start, " ".join(lines)
            lines = []
        if prose and not (path.suffix == ".toml" and is_setting) and not in_code and not is_fence and not prose.startswith(("#", "|", "<")):
            start = start if lines else number
            lines.append(prose.removeprefix("- ").removeprefix("* "))
        if path.suffix == ".rs" and not prose:
            # Errors and notes: texts with several words, of which most are lower case.
            for string in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
                if re.search(r"\w+ \w+,? [\w`]+ [\w`]+", string) and not re.search(r"[;=<>\[$&,\\]\S|\\[rn]", string):
                    yield number, string


def sentences(path):
    """Returns the sentences of a file: pairs of the line where their paragraph begins, and the sentence."""
    for line, text in paragraphs(path):
        for sentence in re.split(r"(?<=[.?!])\s+(?=[A-Z`\[])", text):
            if len(re.findall(r"[A-Za-z]{2,}", sentence)) >= FEWEST_WORDS:
                yield line, sentence


def main():
    """Prints the sentences."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("paths", nargs="*", type=Path)
    options = arguments.parse_args()
    found = [(path, *each) for path in sources(options.paths) for each in sentences(path)]
    for path, line, sentence in random.Random(options.seed).sample(found, min(options.count, len(found))):
        print(f"{path}:{line}: {sentence}")


if __name__ == "__main__":
    main()
