"""Checks the form of a commit message: CONTRIBUTING.md, *Commits and pull requests*.

python -m checks.commit_message FILE      prints what is wrong; status 1 if anything is
"""

import sys
from collections.abc import Iterator
from pathlib import Path

SUBJECT_LENGTH = 72
"""Longer subjects are cut in `git log --oneline` and in GitHub's lists."""


def problems(message: str) -> Iterator[str]:
    """Yields one sentence per problem; git's comment lines do not count, and merges and reverts are free."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject, *body = lines or [""]
    if subject.startswith(("Merge ", "Revert ", "fixup! ", "squash! ")):
        return
    if not subject.strip():
        yield "the subject is empty"
    if len(subject) > SUBJECT_LENGTH:
        yield f"the subject has {len(subject)} characters; {SUBJECT_LENGTH} are allowed"
    if subject.endswith("."):
        yield "the subject ends with a full stop"
    if subject[:1].islower():
        yield "the subject begins with a lower-case letter"
    if body and body[0].strip():
        yield "the second line is not empty"
    if not any(line.strip() for line in body):
        yield "there is no body that gives the reason"


def main() -> int:
    """Prints the problems of the message in a file and returns the exit status."""
    found = list(problems(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
