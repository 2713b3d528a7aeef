"""Two folders of digits drawn from the same noises, compared in pairs."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from hw2.data.files import sha256_of
from hw2.digits.folder import drawn_paths, picture_path
from hw2.domains import DIGITS, DOMAINS
from hw2.errors import ConfigError, DataError
from hw2.metrics.digit_metrics import JudgedPictures
from hw2.metrics.digit_scores import MEAN, score_digits
from hw2.metrics.intervals import Interval
from hw2.metrics.jackknife import Estimate
from hw2.metrics.paired import difference_over_noises
from hw2.settings.digits import SampleDigitsConfig
from hw2.yaml_text import read_yaml


def pairs_with(config: SampleDigitsConfig) -> SampleDigitsConfig:
    """`config` of the pictures alone that its `against` has too.

    Raises ConfigError if that is no finished folder of digits, one to which pictures are just being
    added, or one of another seed, whose noises are others.
    """
    folder = config.against
    assert folder is not None
    if not (folder / "metrics.json").is_file():
        raise ConfigError(f"against={folder}: no finished folder of jobs.sample_digits")
    record = read_yaml(folder / "config.yaml")
    seed, count = record.get("seed"), record.get("num_per_class")
    told = record.get("domains", list(DOMAINS))  # a training draws both
    if not isinstance(count, int) or count < 1 or not isinstance(told, list):
        raise ConfigError(f"against={folder}: no folder of jobs.sample_digits")
    if seed != config.seed:
        raise ConfigError(
            f"against={folder}: drawn with seed={seed}, this with seed={config.seed}: pairs are "
            "drawn from the same noises"
        )
    domains = tuple(domain for domain in config.domains if domain in told)
    if not domains:
        raise ConfigError(f"against={folder}: has {', '.join(map(str, told))} alone")
    shared = {"domains": domains, "num_per_class": (last := min(count, config.num_per_class))}
    paths = (picture_path(folder, domain, digit, last) for domain in domains for digit in DIGITS)
    if missing := next((path for path in paths if not path.is_file()), None):
        raise ConfigError(f"against={folder}: {missing} is not drawn yet: its own command draws it")
    return config.model_copy(update=shared)


def hash_of_pairs(config: SampleDigitsConfig) -> str:
    """sha256 over the pictures of `against` that are compared.

    Raises ConfigError as `pairs_with`, DataError for a picture that cannot be read.
    """
    assert config.against is not None
    digest = hashlib.sha256()
    for path in drawn_paths(config.against, pairs_with(config)):
        try:
            digest.update(bytes.fromhex(sha256_of(path)))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def part_of(
    judged: JudgedPictures, config: SampleDigitsConfig, shared: SampleDigitsConfig
) -> JudgedPictures:
    """Of `judged`, all pictures of `config`, those of `shared`, as `read_drawn` would have them."""
    place = torch.arange(len(judged)).view(len(config.domains), len(DIGITS), config.num_per_class)
    domains = [config.domains.index(domain) for domain in shared.domains]
    rows = place[domains, :, : shared.num_per_class].flatten()
    return JudgedPictures(**{key: value[rows] for key, value in vars(judged).items()})


@dataclass(frozen=True)
class Apart:
    """A metric of one folder less that of another, of a domain or in the mean, over `noises`.

    Of accuracy `only_this` and `only_other` count the pictures that the judge reads right in one of
    them alone.
    """

    metric: str
    domain: str
    interval: Interval
    noises: int
    only_this: int | None = None
    only_other: int | None = None


def compare(
    this: JudgedPictures, other: JudgedPictures, real: JudgedPictures, config: SampleDigitsConfig
) -> list[Apart]:
    """The folders' differences in each domain and in the mean; pictures as `read_drawn` has them.

    Limits of accuracies are `difference_over_noises`, since all digits share the noises; those of
    diversities and of the distances from the `real` pictures are the jackknife's in pairs.
    """
    noises = config.num_per_class
    shape = len(config.domains), len(DIGITS), noises

    def right(judged: JudgedPictures) -> Tensor:
        return (judged.predictions == judged.digits).view(shape).double()

    moved = right(this) - right(other)
    parts = [*zip(config.domains, moved, strict=True), (MEAN, moved.flatten(0, 1))]
    found = [
        Apart(
            "accuracy",
            name,
            difference_over_noises(part.mean(0), len(part)),
            noises,
            int((part > 0).sum()),
            int((part < 0).sum()),
        )
        for name, part in parts
    ]
    ours, theirs = (score_digits(judged, real).scores for judged in (this, other))
    return found + [
        Apart(a.metric, a.domain, (a.found - b.found).interval, noises)
        for a, b in zip(ours, theirs, strict=True)
        if isinstance(a.found, Estimate) and isinstance(b.found, Estimate)
    ]
