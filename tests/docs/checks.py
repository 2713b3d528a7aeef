"""Whether a command of the documents can be what it says: each program by its own parser."""

import argparse
import contextlib
import importlib
import io
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import click

from hw2.config import load
from tests.docs.documents import ASSIGNMENT, ROOT

# Programs of the system and of others, which the documents may name; their options are not ours.
SYSTEM = {".", "cat", "cd", "chmod", "cp", "curl", "echo", "export", "git", "ls", "mkdir", "mv", "ssh"}


class Refused(Exception):
    """Why a command cannot be what it says."""


def check(words: Sequence[str]) -> None:
    """Raise Refused for a command that its program would refuse, or that nobody knows."""
    program = Path(words[0]).name
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
    if words[:1] == ["-m"] or tuple(words[:1]) == ("-m",):
        module = words[1]
        if module.startswith("jobs."):
            resolve(module, words[2:])
        elif module not in ("pip", "pytest", "venv"):
            raise Refused(f"python -m {module}: in no list of tests/docs/checks.py")
    elif words[0] == "-c":
        compile(words[1], "<documents>", "exec")
    else:
        _script(words)


def job_settings(module: str) -> Any:
    """The class of a job's settings."""
    try:
        return get_type_hints(importlib.import_module(module).main)["config"]
    except ModuleNotFoundError:
        raise Refused(f"{module}: no such job") from None


def resolve(module: str, words: Sequence[str]) -> str:
    """What a job's `--print_config` says to `words`, read by its own reader."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            load(job_settings(module), [*words, "--print_config"], prog=module, description="")
    except SystemExit as ended:
        assert ended.code == 0
    except Exception as error:
        raise Refused(f"{module}: {error}") from error
    return told.getvalue()


def _make(words: Sequence[str]) -> None:
    ended = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise Refused(ended.stderr.strip())


class _Parsed(Exception):
    """The script has parsed its words."""


def _script(words: Sequence[str]) -> None:
    """A script of ours as far as its argparse goes."""
    if not (ROOT / words[0]).is_file():
        raise Refused(f"{words[0]}: no such file")
    original, before = argparse.ArgumentParser.parse_args, (sys.argv, sys.path[:])

    def parse(self: argparse.ArgumentParser, *args: Any, **more: Any) -> None:
        original(self, *args, **more)
        raise _Parsed

    argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign, assignment]
    sys.argv = list(words)
    sys.path.insert(0, str((ROOT / words[0]).parent))
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    except _Parsed:
        return
    except SystemExit:
        raise Refused(said.getvalue().strip()) from None
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]
        sys.argv, sys.path = before
    raise Refused(f"{words[0]}: it takes no words by argparse")


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
