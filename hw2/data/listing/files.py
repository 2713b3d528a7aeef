"""Listing pictures that are files of their own."""

from hw2.data.images import SUFFIXES
from hw2.data.labels import Labels, is_number
from hw2.data.listing.rows import Classes, Rows
from hw2.data.listing.store import Entry, Store, shown, unusable
from hw2.errors import ConfigError, DataError

MISNAMED = "misnamed: want {class}_{n}.png"
LAYOUT_SUFFIXES = {"names": SUFFIXES, "tars": (".tar",), "parquet": (".parquet",)}


def list_names(store: Store, classes: Classes, rows: Rows) -> None:
    """The pictures of one folder, {class}_{n}.png; what lies in sub-folders is not looked at."""
    for entry in store.scan():
        reason, label = unusable(entry), -1
        if reason is None:
            label, reason = class_of_name(entry.name, classes)
        rows.add_entry(entry, reason, label)


def class_of_name(name: str, classes: Classes) -> tuple[int, str | None]:
    """The class of a picture's name, and the reason if the name has not the form."""
    stem = name.rpartition("/")[2].rpartition(".")[0]
    text, _, number = stem.rpartition("_")
    if not text or not is_number(number) or (classes.labels.numeric and not is_number(text)):
        return -1, MISNAMED
    return classes.find(text, name), None


def folder_labels(store: Store) -> Labels:
    """The sub-folders as classes, sorted."""
    names = tuple(sorted(entry.name for entry in store.scan() if entry.folder))
    if not names:
        raise DataError(f"{shown(store.root)}: holds no pictures, nor a folder a class")
    return Labels(names, names)


def list_folders(store: Store, classes: Classes, rows: Rows) -> None:
    """The pictures below one folder a class, which is named by the class's id or name."""
    for entry in store.scan(deep=True):
        if entry.folder and not entry.name.lower().endswith(SUFFIXES):
            continue
        folder, inside, _ = entry.name.partition("/")
        reason, label = unusable(entry), -1
        if reason is None and not inside:
            reason = "it lies in no class's folder"
        if reason is None:
            label = classes.find(folder, entry.name)
        rows.add_entry(entry, reason, label)


def guess_layout(store: Store) -> str:
    """What a folder is by what it holds. Raises ConfigError for files of two layouts."""
    files = [entry.name for entry in store.scan() if not entry.folder]
    found: dict[str, str] = {}  # by layout, the first file
    for layout, suffixes in LAYOUT_SUFFIXES.items():
        if own := [name for name in files if name.lower().endswith(suffixes)]:
            found[layout] = min(own)
    if len(found) > 1:
        both = " and ".join(repr(name[:80]) for name in found.values())
        raise ConfigError(
            f"{shown(store.root)}: holds {both}: say which are meant by --layout "
            f"{' or '.join(found)}"
        )
    return next(iter(found), "folders")


def shards(store: Store, name: str, suffix: str) -> list[Entry]:
    """The file `name`, or if it is "", all files of a folder with that suffix, sorted."""
    if name and not name.lower().endswith(suffix):
        raise ConfigError(f"{shown(store.path(name))}: want a {suffix} file or a folder of them")
    found = [store.info(name)] if name else store.scan()
    files = [entry for entry in found if not entry.folder and entry.name.lower().endswith(suffix)]
    if not files:
        raise DataError(f"{shown(store.root)}: holds no {suffix} files")
    return sorted(files)
