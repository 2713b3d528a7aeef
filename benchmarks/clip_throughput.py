"""Zero-shot embedding: jobs.clip_zero_shot, a plain DataLoader loop and clip-benchmark's own loop.

python benchmarks/clip_throughput.py --images hw2_data/clip_zeroshot/val --rounds 3

Whole processes on the same files and weights, in turns. Seconds to the first batch count from the
start of the process, of hw2 from when its settings are read, some tenths later; pictures a second
are the slope of those done against time after it, by least squares. `--model ViT-B-32` takes random
weights, which are as fast as trained ones. `floor` is the network's calls alone on a batch that
stays, a process a core at once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frame import ROOT, arguments, finish, in_turns, ratios, spread

SIDES = ("hw2", "dataloader", "clip-benchmark", "floor")
BATCH = 64
TEMPLATES = ["a photo of a {c}."]


def load(model: str, weights: str) -> tuple[Any, Any, Any]:
    """Network, open_clip's own preprocessing, and tokenizer."""
    import open_clip

    if model == "asset:clip":
        from open_clip.transform import PreprocessCfg, image_transform_v2

        from hw2.clip.finding import find_clip
        from hw2.clip.loading import load_clip
        from hw2.weights import read_meta

        source = find_clip(None, weights)
        loaded = load_clip(source)
        config = read_meta(source.weights)["preprocess_cfg"] | {"size": source.preprocess.size}
        return loaded.net, image_transform_v2(PreprocessCfg(**config), False), loaded.tokenize
    net, _, preprocess = open_clip.create_model_and_transforms(model, pretrained=weights)
    return net.eval(), preprocess, open_clip.get_tokenizer(model)


class Files:
    """The pictures of a folder {class}_{n}.png, as a DataLoader takes them."""

    def __init__(self, folder: str, transform: Any) -> None:
        self.paths, self.transform = sorted(Path(folder).iterdir()), transform
        self.classes = json.loads((Path(folder).parent / "id2label.json").read_text()).values()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        path = self.paths[index]
        return self.transform(Image.open(path)), int(path.name.split("_")[0])


class Timed:
    """A DataLoader that notes when each batch was asked for, hence when the last was done."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.times = loader, []

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield batch
            self.times.append((time.time(), len(batch[1])))


def bare_calls(model: str, weights: str, images: str, began: float) -> None:
    """One process of the floor: its share of the calls, on the first batch; prints as `peer`."""
    import torch

    from hw2.clip.plan import rate_of

    torch.set_num_threads(1)
    net, transform, _ = load(model, weights)
    files = Files(images, transform)
    pictures = torch.stack([files[index][0] for index in range(min(BATCH, len(files)))])
    calls = max(2, len(files) // BATCH // (os.cpu_count() or 1))
    times: list[tuple[float, int]] = []
    with torch.no_grad():
        for _ in range(calls):
            net.encode_image(pictures)
            times.append((time.time(), len(pictures)))
    print(json.dumps({"first": times[0][0] - began, "rate": rate_of(times)}))


def peer(side: str, model: str, weights: str, images: str, began: float) -> None:
    """One of the others, in this process; prints what it measured."""
    if side == "floor":
        bare_calls(model, weights, images, began)
        return
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader

    net, transform, tokenize = load(model, weights)
    files = Files(images, transform)
    workers = os.cpu_count() or 1
    timed = Timed(DataLoader(files, batch_size=BATCH, num_workers=workers))  # type: ignore
    names = [name.replace("_", " ") for name in files.classes]
    if side == "clip-benchmark":
        from clip_benchmark.metrics import zeroshot_classification as benchmark

        classifier = benchmark.zero_shot_classifier(
            net, tokenize, names, TEMPLATES, "cpu", amp=False
        )
        benchmark.run_classification(net, classifier, timed, "cpu", amp=False)
    else:
        with torch.no_grad():
            texts = tokenize([TEMPLATES[0].format(c=name) for name in names])
            classes = F.normalize(net.encode_text(texts), dim=-1)
            for pictures, _ in timed:
                embeddings = F.normalize(net.encode_image(pictures), dim=-1)
                (100 * embeddings @ classes.T).softmax(1).topk(5)
    from hw2.clip.plan import rate_of

    print(json.dumps({"first": timed.times[0][0] - began, "rate": rate_of(timed.times)}))


def run(side: str, model: str, weights: str, images: str) -> dict[str, float]:
    """One side as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        if side != "hw2":
            words = [side, model, weights, images, str(began)]
            command = [sys.executable, str(Path(__file__)), "--peer", *words]
            processes = [
                subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
                for _ in range((os.cpu_count() or 1) if side == "floor" else 1)
            ]
            told = [process.communicate()[0] for process in processes]
            assert not any(process.returncode for process in processes)
            found = [json.loads(lines.splitlines()[-1]) for lines in told]
            rate = sum(one["rate"] for one in found)
            return {"first": max(one["first"] for one in found), "rate": rate}
        words = ["--images", images, "--pretrained", weights, "--batch_size", str(BATCH)]
        words += ["--out", f"{folder}/out"]
        words += [] if model == "asset:clip" else ["--model", model]
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        command = [sys.executable, "-m", "jobs.clip_zero_shot", *words]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=ROOT, env=environment)
        found = json.loads(Path(folder, "out/metrics.json").read_text())
        rate, first = found["pictures_per_second"], found["seconds_to_first_part"]
        return {"first": first, "rate": rate}


def linked(images: Path, count: int, folder: Path) -> Path:
    """`count` names for the pictures of `images`, in turn."""
    val = folder / "val"
    val.mkdir()
    (folder / "id2label.json").write_bytes((images.parent / "id2label.json").read_bytes())
    paths = sorted(images.iterdir())
    for index in range(count):
        path = paths[index % len(paths)]
        label = path.name.split("_")[0]
        os.link(path, val / f"{label}_{index}{path.suffix}")
    return val


def main(argv: list[str] | None = None) -> None:
    """Each figure's median and range, and the ratios within a round."""
    parser = arguments("clip_throughput", __doc__)
    parser.add_argument("--images", type=Path, default=Path("hw2_data/clip_zeroshot/val"))
    parser.add_argument("--model", default="asset:clip", help="or an open_clip model")
    parser.add_argument("--weights", help="file; default: the asset, or random ones")
    parser.add_argument("--count", type=int, default=20_000, help="pictures (links to the files)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--peer", nargs=5, help=argparse.SUPPRESS)
    words = parser.parse_args(argv)
    if words.peer:
        peer(*words.peer[:4], float(words.peer[4]))
        return
    # Beside the pictures: links do not cross file systems.
    with tempfile.TemporaryDirectory(dir=words.images.parent) as temporary:
        folder = Path(temporary)
        images = str(linked(words.images, words.count, folder))
        weights = words.weights or "asset:clip"
        if words.model != "asset:clip" and not words.weights:
            import open_clip
            from safetensors.torch import save_file

            weights = str(folder / "random.safetensors")
            save_file(open_clip.create_model(words.model).state_dict(), weights)
        sides = {
            side: lambda side=side: run(side, words.model, weights, images) for side in words.sides
        }
        found = in_turns(sides, words.rounds)
    rows = []
    for key, unit in (("first", "s to the first batch"), ("rate", "pictures/s after it")):
        for side, measured in found.items():
            rows.append({"side": side, "unit": unit, **spread([one[key] for one in measured])})
    rates = {side: [one["rate"] for one in measured] for side, measured in found.items()}
    for side in words.sides[1:]:
        first = words.sides[0]
        times = ratios(rates[first], rates[side])
        rows.append({"side": f"{first} / {side}", "unit": "times", **times})
    finish(words.json, vars(words), rows)


if __name__ == "__main__":
    main()
