"""What looks like a secret: by a file's name, by its text, or because it is one of this user's."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

# Of one file's name, in lower case.
NAMES = (
    ".env",
    ".env.*",
    ".netrc",
    ".pgpass",
    ".git-credentials",
    ".htpasswd",
    ".npmrc",
    ".pypirc",
    "accounts*.csv",
    "auth_token",
    "basic_auth.ini",
    "credentials",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "kubeconfig",
    "*.dump",
    "*.jks",
    "*.kdbx",
    "*.key",
    "*.p12",
    "*.pem",
    "*.pfx",
    "*.ppk",
)
# Each begins with the letters that are looked for, which makes the search fast.
TEXTS = {
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a password in an address": rb"://[^\s:/@\"'<>]{1,64}:[^\s/@\"'<>${}*]{1,64}@[\w.-]",
    "a key of AWS": rb"A[KS]IA[0-9A-Z]{16}(?![0-9A-Z])",
    "a key of Google": rb"AIza[\w-]{35}(?![\w-])",
    "a token of GitHub": rb"gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50}",
    "a token of GitLab": rb"glpat-[\w-]{20}",
    "a token of Hugging Face": rb"hf_[A-Za-z0-9]{30}",
    "a token of Slack": rb"xox[abprs]-[\w-]{10}",
}
# An initializer_token is a word of a language, which textual inversion starts from.
_KEYWORD = (
    rb"(?i:password|passwd|secret|secret_key|secret_access_key|api_?key|(?<!initializer_)token)"
)
# Not where the value is the name of a variable.
QUOTED = _KEYWORD + rb"[\"']?\s*[:=]\s*[\"'](?![A-Z_]+[\"'])[^\s\"'<>${}*]{8,}[\"']"
# In files of settings a secret needs no quotes; in a program it would be a name.
SETTINGS = {"", ".cfg", ".conf", ".env", ".ini", ".properties", ".sh", ".toml", ".yaml", ".yml"}
UNQUOTED = rb"(?m)^[ \t\w]*" + _KEYWORD + rb"[ \t]*[:=][ \t]*[^\s\"'<>${}*#\[]{8,}[ \t]*$"
# Values of the environment that others would like to have.
VARIABLES = re.compile(r"(?i)(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY)(_ID)?$")


def own_secrets(environment: Mapping[str, str], home: Path) -> dict[str, bytes]:
    """Secrets that this user holds, by what they are: variables, and the token of Ray."""
    held = {f"the value of {k}": v for k, v in environment.items() if VARIABLES.search(k)}
    token = environment.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token"
    with contextlib.suppress(OSError, ValueError):
        held["your token of Ray"] = Path(token).read_text().strip()
    return {what: os.fsencode(value) for what, value in held.items() if len(value) >= 8}


def leaks(name: str, content: bytes, own: Mapping[str, bytes]) -> Iterator[str]:
    """What looks like a secret in a file; never the secret itself.

    Args:
        name: the file's path, with `/`.
        content: its bytes.
        own: secrets by what they are, of `own_secrets`.
    Yields: `NAME: what` or `NAME:LINE: what`, one of a kind.
    """
    path = PurePosixPath(name.lower())
    if any(fnmatch(path.name, pattern) for pattern in NAMES):
        yield f"{name}: the name of a file of secrets"
    patterns = dict(TEXTS)
    if b"\0" not in content[:8192]:
        patterns["a quoted secret"] = QUOTED
        if path.suffix in SETTINGS:
            patterns["a secret among settings"] = UNQUOTED
    patterns |= {what: re.escape(value) for what, value in own.items()}
    for what, pattern in patterns.items():
        if found := re.search(pattern, content):
            line = content.count(b"\n", 0, found.start()) + 1
            yield f"{name}:{line}: {what}"
