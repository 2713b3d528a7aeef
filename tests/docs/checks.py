"""Whether a command of the documents can be what it says: each program by its own parser."""

import argparse
import contextlib
import importlib
import io
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import click

from hw2.config import load
from tests.docs.documents import ASSIGNMENT, ROOT, Block, commands

# Programs of the system and of others, which the documents may name; their options are not ours.
SYSTEM = {".", "cat", "cd", "chmod", "cp", "curl", "echo", "export", "git", "ls", "mkdir", "mv"}
SYSTEM |= {"pg_dump", "read", "rsync", "ssh", "tee"}


class Refused(Exception):
    """Why a command cannot be what it says."""


def check(words: Sequence[str]) -> None:
    """Raise Refused for a command that its program would refuse, or that nobody knows."""
    program = words[0].rpartition("/")[2]
    if program in ("python", "python3", "python3.11"):
        _python(words[1:])
    elif program == "make":
        _make(words[1:])
    elif program == "ray":
        from ray.scripts.scripts import cli as ray

        _click(ray, "ray", words[1:])
    elif program == "mlflow":
        from mlflow.cli import cli as mlflow

        _click(mlflow, "mlflow", words[1:])
    elif program not in SYSTEM and not ASSIGNMENT.match(words[0]):
        raise Refused(f"{program}: in no list of tests/docs/checks.py")


def _python(words: Sequence[str]) -> None:
    if words[0] == "-m":
        module = words[1]
        if module.partition(".")[0] in ("hw2", "jobs"):
            _module(module, words[2:])
        elif module not in ("pip", "pytest", "venv"):
            raise Refused(f"python -m {module}: in no list of tests/docs/checks.py")
    elif words[0] != "-":  # a here-document
        _script(words)


def _module(module: str, words: Sequence[str]) -> None:
    """A module of ours: a job by its reader of settings, another by its argparse."""
    try:
        found = importlib.import_module(module)
        main = getattr(found, "main", None) or importlib.import_module(f"{module}.__main__").main
    except ModuleNotFoundError:
        raise Refused(f"{module}: no such module") from None
    if "config" in get_type_hints(main):
        resolve(get_type_hints(main)["config"], module, words)
    else:
        _parsed(module, words, lambda: main(list(words)))


def resolve(settings: Any, module: str, words: Sequence[str]) -> str:
    """What a job's `--print_config` says to `words`, read by its own reader."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            load(settings, [*words, "--print_config"], prog=module, description="")
    except SystemExit as ended:
        assert ended.code == 0
    except Exception as error:
        raise Refused(f"{module}: {error}") from error
    return told.getvalue()


def _make(words: Sequence[str]) -> None:
    """A target that there is, and all that it would call of ours."""
    ended = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise Refused(ended.stderr.strip())
    for command in commands(Block(Path(f"make {words[0]}"), 0, "", ended.stdout)):
        if Path(command.words[0]).name in ("python", "mlflow", "ray"):
            check(command.words)


class _Parsed(Exception):
    """The script has parsed its words."""


def _script(words: Sequence[str]) -> None:
    """A script of ours."""
    file = ROOT / words[0]
    if not file.is_file():
        raise Refused(f"{words[0]}: no such file")
    if len(words) > 1:
        with contextlib.ExitStack() as put_back:
            put_back.callback(setattr, sys, "argv", sys.argv)
            put_back.callback(setattr, sys, "path", sys.path[:])
            sys.argv = list(words)
            sys.path.insert(0, str(file.parent))
            _parsed(words[0], words[1:], lambda: runpy.run_path(str(file), run_name="__main__"))


def _parsed(name: str, words: Sequence[str], call: Callable[[], object]) -> None:
    """Call what parses `words` by argparse, and stop it there."""
    original, said = argparse.ArgumentParser.parse_args, io.StringIO()

    def parse(self: argparse.ArgumentParser, *args: Any, **more: Any) -> None:
        original(self, *args, **more)
        raise _Parsed

    argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign, assignment]
    try:
        with contextlib.redirect_stderr(said):
            call()
    except _Parsed:
        return
    except SystemExit:
        raise Refused(said.getvalue().strip()) from None
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]
    raise Refused(f"{name}: it takes no words by argparse: {words}")


def _click(command: click.Command, name: str, words: Sequence[str]) -> None:
    """A command line of click: groups to their commands, and the job that `ray job submit` runs."""
    rest = list(words)
    try:
        parent = None
        while isinstance(command, click.Group):
            context = command.make_context(name, rest, parent=parent)
            rest = [*context._protected_args, *context.args]
            name, command, rest = command.resolve_command(context, rest)  # type: ignore[assignment]
            parent = context
        context = command.make_context(name, rest, parent=parent)
    except click.exceptions.Exit:  # --help, --version
        return
    except click.ClickException as error:
        raise Refused(f"{' '.join(words)}: {error.format_message()}") from None
    if entrypoint := context.params.get("entrypoint"):
        check(entrypoint)
