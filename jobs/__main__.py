"""Every job with what it does.

python -m jobs
"""

import ast
from pathlib import Path

from hw2.disclosure import guarded_output


def main() -> None:
    """Print a line a job: its name, and the first line of its file."""
    paths = sorted(Path(__file__).parent.glob("[!_]*.py"))
    width = max(len(path.stem) for path in paths)
    for path in paths:
        head = ast.get_docstring(ast.parse(path.read_text())) or ""
        print(f"{path.stem:{width}}  {head.partition(chr(10))[0]}")
    print("\npython -m jobs.NAME --help lists the keys of a job")


if __name__ == "__main__":
    with guarded_output():
        main()
