"""Loading judges, refusing what is none, and reading pictures with them."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.objective import DigitBatch
from hw2.digits.judging import (
    MAX_SHIFT,
    at_judge_size,
    judge_objective,
    judge_pictures,
    load_judge,
    shifted,
    to_unit,
)
from hw2.errors import CheckpointError
from hw2.models.judge import build_judge
from hw2.weights import save_weights


def some_pictures(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, 28, 28), generator=generator, dtype=torch.uint8)


def course_state() -> dict[str, torch.Tensor]:
    """A state_dict in the layout of the course's file, made without our class."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "conv1.weight": (6, 3, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (128, 256),
        "fc1.bias": (128,),
        "fc2.weight": (64, 128),
        "fc2.bias": (64,),
        "fc3.weight": (10, 64),
        "fc3.bias": (10,),
    }
    return {k: torch.randn(*shape, generator=generator) / 8 for k, shape in shapes.items()}


def course_logits(w: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The course's forward pass, written from its description alone."""
    x = (images.float() / 255 - 0.5) / 0.5
    for name in ("conv1", "conv2"):
        x = F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"])
        x = x.relu().unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    x = x.flatten(1)
    for name in ("fc1", "fc2"):
        x = (x @ w[f"{name}.weight"].T + w[f"{name}.bias"]).relu()
    return x @ w["fc3.weight"].T + w["fc3.bias"]


def test_the_courses_file_reads_both_domains(tmp_path: Path) -> None:
    path, images = tmp_path / "Classifier.pth", some_pictures(6)
    torch.save({"state_dict": course_state(), "epoch": 10}, path)
    judge = load_judge(path)
    assert not judge.training
    with torch.no_grad():
        logits, _ = judge(to_unit(images), torch.tensor([0, 1, 0, 1, 1, 0]))
    assert_close(logits, course_logits(course_state(), images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("before", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_the_courses_file_of_a_network_on_several_gpus_or_compiled(
    before: str, tmp_path: Path
) -> None:
    path, state = tmp_path / "Classifier.pth", course_state()
    torch.save(state, path)
    plain = load_judge(path).state_dict()
    torch.save({"state_dict": {before + name: value for name, value in state.items()}}, path)
    assert_close(load_judge(path).state_dict(), plain, rtol=0, atol=0)


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_judge(path)
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{path}: ") and len(message) < 500
    return message.removeprefix(f"{path}: ")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_that_are_not_the_courses(tmp_path: Path) -> None:
    path = tmp_path / "Classifier.pth"
    assert refused(path) == "no such file"
    good = course_state()
    for content in (torch.zeros(3), [1], {"state_dict": None}, {"a": "b"}):
        torch.save(content, path)
        assert refused(path).startswith("not the course's Classifier.pth")
    torch.save({**good, "epoch": 3}, path)
    assert refused(path) == "1 weights do not fit: unknown epoch"
    torch.save({"state_dict": {k: v for k, v in good.items() if "fc3" not in k}}, path)
    assert refused(path) == "2 weights do not fit: missing fc3.weight; missing fc3.bias"
    torch.save({"state_dict": {**good, "fc3.bias": torch.zeros(11)}}, path)
    assert refused(path) == "1 weights do not fit: fc3.bias is (11,), want (10,)"
    for kind, odd in (("meta", good["fc3.bias"].to("meta")), ("sparse", torch.eye(64).to_sparse())):
        torch.save({"state_dict": {**good, "fc3.bias": odd}}, path)
        assert f"it holds a tensor of kind {kind}" in refused(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torn_bytes_are_refused_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "Classifier.pth"
    torch.save({"state_dict": course_state()}, path)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for i in range(80):
        data = bytearray(whole[: len(whole) // (1 + i % 3)])
        for place in torch.randint(2000, (4,), generator=generator).tolist():
            data[place] ^= 1 << (i % 8)
        path.write_bytes(data)
        try:
            load_judge(path)
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_a_judge_for_which_memory_is_short_is_not_called_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise MemoryError

    path = tmp_path / "Classifier.pth"
    path.touch()
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(MemoryError):
        load_judge(path)


def test_our_judge_round_trip_and_wrong_kinds(tmp_path: Path) -> None:
    path, trained = tmp_path / "final.safetensors", build_judge(5)
    save_weights(path, {"net": build_judge(6), "ema": trained}, {"kind": "judge"})
    loaded = load_judge(path)
    assert not loaded.training
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    save_weights(path, {"ema": trained}, {"kind": "digit_ddpm"})
    assert refused(path).startswith("holds no judge; train one with jobs.train_judge")
    assert refused(tmp_path / "none.safetensors") == "no such file"


def test_judged_pictures_do_not_depend_on_the_batch_size() -> None:
    images, judge = some_pictures(7), build_judge(0).eval()
    digits, domains = torch.arange(7), torch.arange(7) % 2
    one = judge_pictures(judge, images, digits, domains, batch_size=3)
    two = judge_pictures(judge, images, digits, domains)
    assert torch.equal(one.predictions, two.predictions) and torch.equal(one.digits, digits)
    assert_close(one.features, two.features, rtol=1e-4, atol=1e-5)
    assert_close(one.pixels, images.flatten(1) / 127.5 - 1.0)


def test_pictures_of_another_size_are_brought_to_the_judges() -> None:
    images, judge = some_pictures(4), build_judge(0).eval()
    large = images.repeat_interleave(2, -1).repeat_interleave(2, -2)
    digits, domains = torch.arange(4), torch.arange(4) % 2
    one, two = (judge_pictures(judge, x, digits, domains) for x in (images, large))
    assert torch.equal(one.pixels, two.pixels) and torch.equal(one.features, two.features)


def test_the_mean_of_an_area_is_rounded() -> None:
    large = torch.tensor([[1, 2], [2, 2]], dtype=torch.uint8).repeat(1, 3, 28, 28)
    assert at_judge_size(large).unique().tolist() == [2]


def test_shifts_move_whole_pictures_by_at_most_two_pixels() -> None:
    images, random = some_pictures(50), CounterRandom(0, 1, range(50))
    moved = shifted(images, random)
    span = 2 * MAX_SHIFT + 1
    places = random.integers(Stream.AUGMENT, span**2).tolist()
    assert len(set(places)) > 15 and moved.dtype == torch.uint8
    for picture, result, place in zip(images, moved, places, strict=True):
        rows = (torch.arange(28) + place // span - MAX_SHIFT).clamp(0, 27)
        cols = (torch.arange(28) + place % span - MAX_SHIFT).clamp(0, 27)
        assert torch.equal(result, picture[:, rows][:, :, cols])


def test_objective_is_the_smoothed_cross_entropy() -> None:
    batch = DigitBatch(
        some_pictures(5), torch.tensor([0, 9, 4, 4, 7]), torch.tensor([0, 1, 1, 0, 1])
    )
    judge, random = build_judge(0).eval(), CounterRandom(0, 1, range(5))
    loss, extra = judge_objective(judge, batch, random)
    logits, _ = judge(to_unit(shifted(batch.images, random)), batch.domain)
    wanted = torch.full((5, 10), 0.01)
    wanted[torch.arange(5), batch.digit] = 0.91
    assert_close(loss, -(wanted * logits.log_softmax(1)).sum(1).mean())
    right = [int(row.argmax()) == int(d) for row, d in zip(logits, batch.digit, strict=True)]
    assert float(extra["accuracy"]) == pytest.approx(sum(right) / 5)
