"""What the jobs of a report leave, in small: real files with made-up numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hw2.config import JobConfig, dump
from hw2.faces.report import eta_name, interpolation_names
from hw2.personalize.generating import picture_path, source_stem, together_stem
from hw2.report.steps import Planned, StepResult
from hw2.settings.digits import SampleDigitsConfig
from hw2.settings.faces import EtaSheetConfig, InterpolateFacesConfig, SampleFacesConfig
from hw2.settings.grading import GradeConceptsConfig
from hw2.settings.personalize import (
    CustomDiffusionConfig,
    GenerateConceptsConfig,
    MergeConceptsConfig,
    TextualInversionConfig,
)
from hw2.settings.sweeps import TuneEtaConfig, TuneGuidanceConfig
from hw2.settings.zero_shot import ClipZeroShotConfig
from hw2.sweeps.trial import trial_folder

WEIGHTS = (-1, 0, 1, 2)
ETAS = (0.0, 0.5, 1.0)
CLASSES = ("brick", "red <b>grass</b>", "coin")  # one tries to be markup
TOKENS = ("<new1>", "<new3>")
TOGETHER = "a photo of a <new1> next to a <new3>"
RUN = "0123456789abcdef0123456789abcdef"


def interval(value: float, width: float = 0.02) -> dict[str, float]:
    """As metrics.json keeps it."""
    return {"value": value, "low": value - width, "high": value + width}


class SmallReport:
    """The folders of a report at `root`; `results` is what its steps came to."""

    def __init__(self, root: Path) -> None:
        self.root, self.out, self.data = root, root / "report", root / "hw2_data"
        self.random = np.random.default_rng(0)
        self.results: dict[str, StepResult] = {}
        self._digits()
        self._faces()
        self._clip()
        self._concepts()

    def all(self) -> tuple[StepResult, ...]:
        """The results in their order."""
        return tuple(self.results.values())

    def tile(self, side: int) -> np.ndarray:
        """A picture (side, side, 3)."""
        return self.random.integers(0, 256, (side, side, 3), np.uint8)

    def draw(self, path: Path, side: int) -> None:
        """A picture in a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.tile(side)).save(path)

    def step(self, name: str, job: str, config: JobConfig, metrics: Mapping[str, Any]) -> Path:
        """A finished job's folder with what every job leaves."""
        out = self.out / name
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(dump(config))
        (out / "metrics.json").write_text(json.dumps(metrics))
        run = {"run_id": RUN, "tracking_uri": f"sqlite:///{self.root}/mlflow.db"}
        (out / "mlflow_run.json").write_text(json.dumps(run))
        step = Planned(name, job, ("--out", f"report/{name}"), out, ())
        self.results[name] = StepResult(step, "done", 1.5)
        return out

    def _digits(self) -> None:
        (self.data / "digits").mkdir(parents=True)
        (self.data / "digits/offline.json").write_text("{}")
        data: Any = {"root": self.data}
        metrics: dict[str, Any] = {"eval/network_calls": 34}
        for end in ("", "/mnistm", "/svhn"):
            for key in ("accuracy", "accuracy_real", "diversity", "diversity_pixels"):
                metrics[f"eval/{key}{end}"] = interval(0.9) | {"n": 40}
            for key in ("frechet_judge", "kernel_judge"):
                metrics[f"eval/{key}{end}"] = interval(1.5) | {"n": 40}
        config = SampleDigitsConfig(out=self.out / "samples", data=data, num_per_class=2)
        out = self.step("samples", "sample_digits", config, metrics)
        for domain in ("mnistm", "svhn"):
            for digit in range(10):
                for index in (1, 2):
                    self.draw(out / domain / f"{digit}_{index:03d}.png", 28)
            for t in (0, 200, 400, 600, 800, 999):
                self.draw(out / "reverse" / f"{domain}_t{t:04d}.png", 28)
        space: Any = {"guidance_weight": {"grid": WEIGHTS}}
        sweep = TuneGuidanceConfig(out=self.out / "guidance", data=data, space=space, samples=5)
        trials = []
        for w in WEIGHTS:
            scores = {k.removeprefix("eval/"): v for k, v in metrics.items() if isinstance(v, dict)}
            scores["accuracy"] = interval(0.1 if w < 0 else 0.7 + 0.1 * w)
            scores["diversity"] = interval(1.5 - 0.3 * w)
            scores["diversity_pixels"] = interval(1.0 + 0.1 * w)
            for domain in ("mnistm", "svhn"):
                scores[f"frechet_judge/{domain}"] = interval((w - 1) ** 2 + 1.0)
            trial = {"point": {"guidance_weight": w}, "samples": 5, "scores": scores}
            trials.append(trial | {"error": ""})
        better = {"metric": "accuracy", "n": 5, **interval(0.2)}
        pair = {"point": {"guidance_weight": 2}, "baseline": {"guidance_weight": 0}, **better}
        best = {"point": {"guidance_weight": 2}, "scores": {}}
        found = {"best": best, "trials": trials, "differences": [pair]}
        out = self.step("guidance", "tune_guidance", sweep, found)
        for w in WEIGHTS:
            self.chunk(out, {"guidance_weight": w}, (5, 2, 10, 3, 28, 28))

    def chunk(self, out: Path, point: dict[str, Any], shape: tuple[int, ...]) -> None:
        """The first pictures of a trial."""
        folder = trial_folder(out, point)
        folder.mkdir(parents=True)
        images = self.random.integers(0, 256, shape, np.uint8)
        np.savez_compressed(folder / "chunk_000000.npz", images=images)

    def _faces(self) -> None:
        names = [f"{n:02d}" for n in range(4)]
        errors = dict.fromkeys(names, 0.25)
        metrics = {"mse": interval(0.25), "pass_mark": 20, "passed": True}
        metrics |= {"pictures": 4, "compared": 4}
        config: JobConfig = SampleFacesConfig(out=self.out / "faces")
        out = self.step("faces", "sample_faces", config, {**metrics, "mse_by_picture": errors})
        for name in names:
            self.draw(out / f"{name}.png", 32)
        apart = {f"{eta:g}": interval(50 * eta, 30.0 * eta) for eta in ETAS}
        metrics = {"distance_from_first_eta": apart}
        metrics["added_to_the_eta_below"] = {f"{eta:g}": interval(20, 2) for eta in ETAS[1:]}
        config = EtaSheetConfig(out=self.out / "eta_sheet", etas=ETAS)
        out = self.step("eta_sheet", "eta_sheet", config, metrics)
        for name in names:
            for eta in ETAS:
                self.draw(out / f"{eta_name(name, eta)}.png", 32)
        space: Any = {"eta": {"grid": ETAS}}
        trials = []
        for eta in ETAS:
            scores = {"distance": apart[f"{eta:g}"], "repeated": interval(float(eta == 0), 0.0)}
            scores |= {"frechet": interval(0.01 + eta, 0.001), "mse": interval(0.2 + eta)}
            trial = {"point": {"eta": eta}, "samples": 5, "scores": scores, "error": ""}
            trials.append(trial)
        sweep = TuneEtaConfig(out=self.out / "eta", space=space)
        point, base = {"eta": 1.0}, {"eta": 0}
        pair = {"metric": "frechet", "n": 5, "point": point, "baseline": base, **interval(1.0)}
        found = {"best": {"point": base}, "trials": trials, "differences": [pair]}
        out = self.step("eta", "tune_eta", sweep, found)
        for eta in ETAS:
            self.chunk(out, {"eta": eta}, (5, 3, 32, 32))
        norms = {"norm_at_the_ends": 55.0, "length_of_the_path": 60.0}
        ways = {
            "slerp": {**norms, "norm_at_the_middle": 55.0, "largest_step": 8.0}
            | {"contrast_at_the_middle": 50.0},
            "lerp": {**norms, "norm_at_the_middle": 39.0, "largest_step": 12.0}
            | {"contrast_at_the_middle": 40.0},
        }
        config = InterpolateFacesConfig(out=self.out / "interpolation", num_alphas=5)
        out = self.step("interpolation", "interpolate_faces", config, ways)
        for way in ways:
            for name in interpolation_names(way, 5):
                self.draw(out / f"{name}.png", 32)

    def _clip(self) -> None:
        val = self.data / "clip_zeroshot/val"
        labels = [0, 0, 0, 1, 1, 1, 2, 2, 2]
        said = [0, 0, 1, 1, 1, 1, 2, 2, 0]
        paths = [f"{label}_{n}.png" for n, label in enumerate(labels)]
        for path in paths:
            self.draw(val / path, 32)
        names = {str(i): name for i, name in enumerate(CLASSES)}
        (val.parent / "id2label.json").write_text(json.dumps(names))
        top = {"top1": 7 / 9, "top5": 1.0, "mean_per_class_recall": 7 / 9, "ece": 0.05}
        scores = {key: {**interval(value), "n": 9} for key, value in top.items()}
        pair = {"a": "simple", "b": "cifar", "only_a_right": 1, "only_b_right": 2}
        pair |= {"difference": interval(0.1), "p": 0.01, "p_holm": 0.01}  # type: ignore[dict-item]
        metrics = {
            "chance": 1 / 3,
            "prompt_sets": {"simple": scores, "cifar": scores},
            "comparisons": [pair],
        }
        config = ClipZeroShotConfig(out=self.out / "clip", images=str(val))
        out = self.step("clip", "clip_zero_shot", config, metrics)
        rank = [[CLASSES[(first + i) % 3] for i in range(3)] for first in said]
        table = {
            "path": paths,
            "label": [CLASSES[label] for label in labels],
            "top5": rank,
            "top5_probability": [[0.7, 0.2, 0.1]] * 9,
        }
        (out / "predictions/simple").mkdir(parents=True)
        pq.write_table(pa.table(table), out / "predictions/simple/part-00000.parquet")
        self.draw(out / "figures/similarity_simple.png", 200)

    def _concepts(self) -> None:
        folder = self.data / "textual_inversion"
        entries = {}
        for source, token in zip(("0", "2"), TOKENS, strict=True):
            for n in range(3):
                self.draw(folder / source / f"{n}.jpg", 40)
            entries[source] = {
                "src_image": source,
                "token_name": token,
                "prompt": [f"a photo of a {token}"],
                "prompt_4_clip_eval": ["a photo of a thing"],
                "baseline": [[70, 30]],
            }
        (folder / "input.json").write_text(json.dumps(entries))
        losses = {f"eval/loss{end}": interval(0.5) for end in ("_untrained", "")}
        metrics: dict[str, Any] = {**losses, "eval/loss_change": interval(-0.1)}
        metrics["prediction_type"] = "epsilon"
        inversion = TextualInversionConfig(out=self.out / "inversion_0")
        self.step("inversion_0", "textual_inversion", inversion, metrics)
        custom = CustomDiffusionConfig(out=self.out / "custom_0")
        self.step("custom_0", "custom_diffusion", custom, metrics)
        layer = {
            "residual": 1e-6,
            "rounded_residual": 2e-4,
            "objective": 0.3,
            "moved": 0.25,
            "rank": 6,
            "unmet": [],
        }
        layers = {"up.attn2.to_k": layer, "up.attn2.to_v": layer}
        totals: dict[str, Any] = {"worst_residual": 1e-6, "worst_rounded_residual": 2e-4}
        totals |= {"objective": 0.4, "targets": ["<new1>", "<new3>"]}
        merging = MergeConceptsConfig(out=self.out / "merged", concepts=(Path("a"),))
        self.step("merged", "merge_concepts", merging, {**totals, "layers": layers})
        drawing = GenerateConceptsConfig(
            out=self.out / "concepts", together=(TOGETHER,), input=folder / "input.json"
        )
        out = self.step("concepts", "generate_concepts", drawing, {})
        self.step("concepts_untrained", "generate_concepts", drawing, {})
        for source in ("0", "2"):
            for n in range(5):
                self.draw(picture_path(out, source_stem(source, 0), n), 24)
        for way in ("separate", "joint", "merged", "untrained"):
            place = self.out / "concepts_untrained" if way == "untrained" else out
            for n in range(5):
                self.draw(picture_path(place, together_stem(way, 0), n), 24)
        (out / "together/prompts.json").write_text(json.dumps({"prompts": [TOGETHER]}))
        self._grades(folder / "input.json")

    def _grades(self, file: Path) -> None:
        concepts = {}
        for source, token in zip(("0", "2"), TOKENS, strict=True):
            prompt = {"prompt": f"a photo of a {token}", "pictures": 5, "best": [0, 1, 2, 3, 4]}
            prompt |= {"best_image": 80.0, "best_text": 31.0, "baseline": [70, 30]}
            prompt |= {"passed": True, "image": interval(78.0, 1), "text": interval(30.0, 1)}
            prompt |= {"image_change": interval(9.0, 2)}
            concepts[source] = {"token": token, "prompts": [prompt]}
        ways = {
            way: {
                "image": {"0": interval(60.0 + n, 1), "2": interval(62.0 + n, 1)},
                "both": interval(58.0 + n, 1),
                "both_there": interval(0.1 * n, 0.05),
            }
            for n, way in enumerate(("separate", "joint", "merged"))
        }
        differences = {
            "joint - separate": interval(1.0, 0.4),
            "merged - separate": interval(2.0, 0.4),
            "merged - joint": interval(1.0, 1.4),
        }
        together = {"prompt": TOGETHER, "concepts": ["0", "2"], "pictures": 5, "ways": ways}
        metrics = {
            "clip": "asset:clip",
            "concepts": concepts,
            "together": [{**together, "differences_of_both": differences}],
        }
        config = GradeConceptsConfig(
            out=self.out / "grades", generated=self.out / "concepts", input=file
        )
        self.step("grades", "grade_concepts", config, metrics)
