"""Captions around a new token, such as "a photo of a {}"."""

from pathlib import Path

from hw2.data.files import read_text
from hw2.errors import ConfigError, DataError

MAX_BYTES = 2**20
SETS = Path(__file__).parent / "template_sets"


def template_names() -> list[str]:
    """The sets that come with this package.

    `object` and `style` are those of Gal et al. 2023, appendix E; `plain_object` and `plain_style`
    keep to words that asset:text2image has learnt.
    """
    return sorted(path.stem for path in SETS.glob("*.txt"))


def read_templates(name: str) -> tuple[str, ...]:
    """The captions of the set `name`, or of the file at that path, one a line, each with one {}.

    Raises ConfigError for a set or file that is not there, and for a line without exactly one {}.
    """
    file = SETS / f"{name}.txt" if name in template_names() else Path(name).expanduser()
    try:
        lines = [line.strip() for line in read_text(file, MAX_BYTES).splitlines()]
    except DataError as error:
        raise ConfigError(f"templates={name}: {error}") from None
    except OSError:
        raise ConfigError(
            f"templates={name}: no such set or text file; there is {', '.join(template_names())}"
        ) from None
    found = tuple(line for line in lines if line)
    for line in found:
        if line.count("{}") != 1 or line.count("{") != 1 or line.count("}") != 1:
            raise ConfigError(f"templates={name}: {line!r} needs exactly one {{}}")
    if not found:
        raise ConfigError(f"templates={name}: has no caption")
    return found


def templates_for(asked: str, kind: str | None) -> str:
    """The set that "auto" and "plain" mean for a concept; anything else is a set or file itself."""
    kind = kind or "object"
    return {"auto": kind, "plain": f"plain_{kind}"}.get(asked, asked)
