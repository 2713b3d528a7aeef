"""Reading and encoding, beside open_clip's own transform and model."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.datasets.folder import pil_loader

from hw2.clip.finding import ClipSource, find_clip
from hw2.clip.plan import Plan
from hw2.clip.store import EmbeddingStore
from hw2.clip.work import make_encoder, make_reader, rows_per_part
from hw2.clip.zero_shot import class_embeddings
from hw2.data.labels import Labels
from hw2.data.listing.parts import Part
from hw2.data.listing.pictures import list_pictures
from hw2.errors import ConfigError
from tests.clip.small import MODEL_CFG, NAMES, PREPROCESS_CFG, lively_clip, save_clip, write_set

LABELS = Labels(tuple(map(str, range(len(NAMES)))), NAMES)
BATCH = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ClipSource:
    return find_clip(None, str(save_clip(tmp_path_factory.mktemp("clip") / "final.safetensors")))


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return made(tmp_path / "cache", "key")


def made(root: Path, key: str) -> EmbeddingStore:
    store = EmbeddingStore(root, key)
    store.make()
    return store


def parts(val: Path) -> list[Part]:
    return list_pictures(str(val), LABELS).parts(100)


def content_of(val: Path, source: ClipSource, store: EmbeddingStore) -> list[str]:
    read = make_reader(source.preprocess, store)
    return [read({"part": part})["content"] for part in parts(val)]


def open_clips(pictures: list[Image.Image]) -> Tensor:
    """The embeddings as open_clip's README takes them, all at once."""
    size = MODEL_CFG["vision_cfg"]["image_size"]
    transform = image_transform_v2(PreprocessCfg(size=size, **PREPROCESS_CFG), is_train=False)
    with torch.no_grad():
        found = lively_clip().encode_image(torch.stack([transform(x) for x in pictures]))
    return F.normalize(found, dim=-1)


def encoded(
    val: Path, source: ClipSource, store: EmbeddingStore, precision: str = "fp32"
) -> tuple[Tensor, list[str | None]]:
    """Embeddings and reasons of the only part of `val`, by reader and encoder."""
    (part,) = parts(val)
    work = make_encoder(source, store, BATCH, precision)(False)
    done = work(make_reader(source.preprocess, store)({"part": part}))
    assert done["part"] == 0 and done["count"] == len(part.table)
    assert store.content_of(part) == done["content"]
    embeddings, reasons = store.read(done["content"])
    return torch.from_numpy(embeddings.copy()), reasons


def test_equal_to_open_clips_own_pipeline(
    tmp_path: Path, source: ClipSource, store: EmbeddingStore
) -> None:
    val = write_set(tmp_path / "set", each=3, sides=(30, 21))
    good = sorted(val.iterdir())
    (val / "0_1x.png").write_bytes(b"no picture")
    (val / "2_7.png").write_bytes(good[0].read_bytes()[:200])
    (val / "5_9.png").write_bytes(b"")
    found, reasons = encoded(val, source, store)
    bad = [i for i, reason in enumerate(reasons) if reason]
    assert bad == [2, 10, 20] and not found[bad].any()
    kept = torch.tensor([i for i in range(len(reasons)) if i not in bad])
    want = open_clips([Image.open(path) for path in good])
    torch.testing.assert_close(found[kept], want, rtol=0, atol=1e-6)
    assert float((want @ want.T).min()) < 0.999  # they are not all alike

    again = make_reader(source.preprocess, store)({"part": parts(val)[0]})
    assert "pixels" not in again  # so the encoder has nothing to do


def write_modes(val: Path) -> list[Image.Image]:
    """Pictures of other modes than RGB, as files in `val`; returned as torchvision reads them.

    Its loader makes them RGB first. open_clip's transform alone does so after it has resized, and
    resizes a palette's numbers.
    """
    val.mkdir()
    rng = np.random.default_rng(3)
    colours = Image.fromarray(rng.integers(0, 256, (20, 26, 4), dtype=np.uint8), "RGBA")
    rgb = colours.convert("RGB")
    see_through = rgb.quantize(16)
    see_through.info["transparency"] = 3
    pictures = {
        "0_0.png": rgb.convert("L"),
        "0_1.png": rgb.quantize(16),
        "0_2.png": colours,
        "0_3.png": rgb.convert("1"),
        "0_4.png": rgb.convert("LA"),
        "0_5.jpg": rgb.convert("CMYK"),
        "0_6.webp": colours,
        "0_7.png": see_through,
        "0_8.bmp": rgb,
    }
    for name, picture in pictures.items():
        picture.save(val / name)
    assert {Image.open(val / name).mode for name in pictures} >= {
        "L",
        "P",
        "RGBA",
        "1",
        "LA",
        "CMYK",
    }
    return [pil_loader(str(val / name)) for name in pictures]


def test_pictures_of_other_modes(tmp_path: Path, source: ClipSource, store: EmbeddingStore) -> None:
    pictures = write_modes(tmp_path / "val")
    deep = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    Image.fromarray(deep).save(tmp_path / "val" / "0_9.png")
    # PIL's own conversion makes all above 255 white.
    pictures.append(Image.fromarray((deep // 256).astype(np.uint8)).convert("RGB"))
    found, reasons = encoded(tmp_path / "val", source, store)
    assert reasons == [None] * 10
    torch.testing.assert_close(found, open_clips(pictures), rtol=0, atol=1e-6)


def test_a_part_of_bad_pictures_alone(
    tmp_path: Path, source: ClipSource, store: EmbeddingStore
) -> None:
    (tmp_path / "val").mkdir()
    for number in range(3):
        (tmp_path / "val" / f"0_{number}.png").write_bytes(b"x" * number)
    _, reasons = encoded(tmp_path / "val", source, store)
    assert all(reasons) and len(reasons) == 3


def test_content_does_not_depend_on_names_and_places(
    tmp_path: Path, source: ClipSource, store: EmbeddingStore
) -> None:
    val = write_set(tmp_path / "set", each=2)
    before = content_of(val, source, store)
    moved = tmp_path / "elsewhere"
    shutil.copytree(val, moved)
    for path in moved.iterdir():  # their order stays
        path.rename(path.with_name(path.name.replace(".png", "0.PNG")))
    assert content_of(moved, source, store) == before
    for a, b in (("0_00.PNG", "x"), ("1_00.PNG", "0_00.PNG"), ("x", "1_00.PNG")):
        (moved / a).rename(moved / b)
    assert content_of(moved, source, store) != before  # the order counts
    (moved / "0_00.PNG").write_bytes((moved / "0_00.PNG").read_bytes()[:-1])
    assert len({*content_of(moved, source, store), *before}) == 2


def test_bf16_is_near_fp32(tmp_path: Path, source: ClipSource, store: EmbeddingStore) -> None:
    val = write_set(tmp_path / "set", each=2)
    exact, _ = encoded(val, source, store)
    near, _ = encoded(val, source, made(tmp_path / "cache", "other"), "bf16")
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    assert float((near * exact).sum(1).min()) > 0.99


def test_an_actor_on_another_disk_says_so(source: ClipSource, store: EmbeddingStore) -> None:
    make = make_encoder(source, store, BATCH, "fp32")
    store.make()  # by another call, of the same folder
    make(False)
    shutil.rmtree(store.folder)
    with pytest.raises(ConfigError, match=r"is not on all nodes of the cluster: .* \(NFS\)$"):
        make(False)
    EmbeddingStore(store.folder.parent, "key").make()  # at the same place on another node
    with pytest.raises(ConfigError, match="is not on all nodes"):
        make(False)


def test_texts(source: ClipSource, store: EmbeddingStore) -> None:
    prompts = [["a dog", "the dog"], ["“猫” 🐱"], ["long " * 100]]
    make_encoder(source, store, BATCH, "fp32")(False)({"prompts": prompts})
    classes, scale = store.read_texts(prompts)
    tokenize = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    want = class_embeddings(lively_clip(), tokenize, prompts)
    torch.testing.assert_close(torch.from_numpy(classes), want, rtol=0, atol=1e-6)
    assert scale == pytest.approx(1 / 0.07, rel=1e-5)


def test_parts_hold_whole_batches(source: ClipSource) -> None:
    assert rows_per_part(source.preprocess, 64) == 8 * 64
    large = replace(source.preprocess, size=(384, 384))
    assert rows_per_part(large, 16) == 2 * 16  # 2 x 16 x 432 KiB are under 16 MiB
    assert rows_per_part(large, 64) == 64


@pytest.mark.parametrize("behind", [0.0, 0.1, 1.0, 1.9])
def test_the_pace_of_two_actors_does_not_depend_on_how_far_one_is_behind(
    behind: float, store: EmbeddingStore
) -> None:
    plan = Plan(store, [], {}, began=100.0)
    assert plan.pace() == {}
    # Each actor makes 64 pictures in 2 s.
    plan.finished = [(130.0 + 2 * n + late, 64) for n in range(10) for late in (0.0, behind)]
    found = plan.pace()
    assert found["seconds_to_first_part"] == 30
    assert found["pictures_per_second"] == pytest.approx(64, rel=0.03)
    assert "pictures_per_second" not in Plan(store, [], {}, 100.0, {}, [(130.0, 64)]).pace()
