"""Writing the face part of the offline data tree, in the course's layout."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hw2.claims import Claims
from hw2.data.faces import face_folder, real_folder
from hw2.data.files import read_mapping, replacing, sha256_of
from hw2.data.offline.face_gt import draw_gt
from hw2.data.offline.faces import FACE_SIZE, face_picture
from hw2.data.recipe import Recipe
from hw2.data.writing import write_pictures, write_text
from hw2.diffusion.counter import CounterRandom, Stream
from hw2.errors import CheckpointError
from hw2.figures.files import write_atomic
from hw2.locate import ASSETS, FINAL
from hw2.models.course_unet import to_course
from hw2.models.face_unet import FaceUNet
from hw2.progress import progress
from hw2.weights import load_claimed, read_meta

RECIPE_VERSION = 1  # raise it whenever the bytes of any file change
RELEASED = ASSETS / "faces" / FINAL
GT_AT_ONCE = 2  # noises drawn together: more are slower on a core, 10 by a quarter


def write_faces(
    root: Path,
    seed: int,
    num_faces: int,
    num_noises: int = 10,
    weights: Path | None = None,
) -> None:
    """Write `root`/face, or what is still missing of it; all files by renaming.

    UNet.pt and GT are made from `weights`, and anew if these have changed since. Where there are
    no weights they are left out: a training of the weights needs the real faces alone. A folder
    that we did not make is left as it is. Both are said in a printed line.

    Args:
        root: the data tree.
        seed: 0 <= seed < 2**63; decides real faces and noises.
        num_faces: real faces.
        num_noises: noises, and GT pictures drawn from them; at most 100.
        weights: of a face training; by default the released ones.

    Raises:
        ConfigError: the folder holds a tree of another recipe.
        CheckpointError: `weights` are not of a face training.
    """
    folder, weights = face_folder(root), weights or RELEASED
    recipe = faces_recipe(root, seed, num_faces, num_noises)
    if recipe.left_alone():
        return
    recipe.claim()
    names = [f"{index:04d}.png" for index in range(num_faces)]
    draw = partial(face_picture, seed)
    write_pictures(real_folder(root), names, draw, "faces", optimize=True)
    (folder / "noise").mkdir(exist_ok=True)
    for index in range(num_noises):
        path = folder / "noise" / f"{index:02d}.pt"
        if not path.is_file():
            _save(_noises(seed, [index]), path)
    if not weights.is_file():
        print(f"{folder}: no weights at {weights}, so no new UNet.pt and GT")
        return
    _forget_others(folder, sha256_of(weights))
    _write_drawn(folder, seed, num_noises, weights)


def describe_faces(root: Path) -> str:
    """What the face folder holds, in a line."""
    folder = face_folder(root)
    real, noises, drawn = (
        len(list(folder.glob(pattern))) for pattern in ("real/*.png", "noise/*.pt", "GT/*.png")
    )
    unet = "UNet.pt" if (folder / "UNet.pt").is_file() else "no UNet.pt"
    return f"{folder}: {real} real faces, {noises} noises, {unet}, {drawn} GT pictures"


def faces_recipe(root: Path, seed: int, num_faces: int, num_noises: int) -> Recipe:
    """All that decides the bytes of real faces and noises."""
    content = {
        "recipe": RECIPE_VERSION,
        "seed": seed,
        "num_faces": num_faces,
        "num_noises": num_noises,
    }
    return Recipe(face_folder(root) / "offline.json", content)


def _noises(seed: int, indices: Sequence[int]) -> Tensor:
    return CounterRandom(seed, 0, indices).normal(Stream.START, 3, FACE_SIZE, FACE_SIZE)


def _forget_others(folder: Path, weights_sha: str) -> None:
    """Remove what other weights drew; the record comes after that and before anything new."""
    record = folder / "made_from.json"
    made_from = {"weights_sha256": weights_sha}
    if read_mapping(record, absent=OSError) == made_from:  # {}: none yet, or damaged
        return
    for path in (folder / "UNet.pt", *folder.glob("GT/*.png")):
        path.unlink(missing_ok=True)
    write_text(record, json.dumps(made_from, indent=2) + "\n")


def _write_drawn(folder: Path, seed: int, num_noises: int, weights: Path) -> None:
    """UNet.pt and GT, as far as they are missing."""
    unet, gt = folder / "UNet.pt", folder / "GT"
    gt.mkdir(exist_ok=True)
    # The batch moves the last bits, and 50 steps may enlarge them: a part is always drawn in full.
    whole = range(num_noises)
    parts = [whole[first : first + GT_AT_ONCE] for first in whole[::GT_AT_ONCE]]
    there = {path.name for path in gt.iterdir()}
    parts = [part for part in parts if any(_gt_name(index) not in there for index in part)]
    if unet.is_file() and not parts:
        return
    net = _load(weights)
    if not unet.is_file():
        _save({name: value.float() for name, value in to_course(net).items()}, unet)
    net.double()
    total = sum(len(part) for part in parts)
    with progress(total, "drawing GT", "pictures", quiet=not parts) as bar, _one_thread():
        for part in parts:
            for index, picture in zip(part, draw_gt(net, _noises(seed, part)), strict=True):
                if _gt_name(index) not in there:
                    write_atomic(gt / _gt_name(index), Image.fromarray(picture), optimize=True)
            bar.advance(len(part))


def _gt_name(index: int) -> str:
    return f"{index:02d}.png"


def _load(weights: Path) -> FaceUNet:
    meta = read_meta(weights)
    if meta.get("kind") != "face_ddpm":
        raise CheckpointError(
            f"{weights}: weights of kind {meta.get('kind')!r}: give those of jobs.train_faces"
        )
    return read_face_unet(weights, meta)


def read_face_unet(weights: Path, meta: Claims) -> FaceUNet:
    """The averaged network in `weights`, as its metadata describes it, of any width.

    Raises CheckpointError if it is not what the metadata claims.
    """
    network = meta["network"]
    return load_claimed(weights, network, lambda: FaceUNet(tuple(network["channels"])))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: two that wait for a busy core are several times slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _save(value: Any, path: Path) -> None:
    # To a file object: given a path, torch.save writes its name, here a random one, into the bytes.
    with replacing(path) as passing, passing.open("wb") as file:
        torch.save(value, file)
