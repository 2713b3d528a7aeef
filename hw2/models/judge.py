"""The classifiers that read digits off pictures: ours, and the course's."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

NUM_FEATURES = 64


class CourseClassifier(nn.Module):
    """The network of the course's `Classifier.pth`; `features` is its layer fc2 (b, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(256, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)

    def features(self, x: Float[Tensor, "b 3 28 28"]) -> Float[Tensor, "b 64"]:
        """Features of pictures in [-1, 1] (the course's (x - 0.5) / 0.5)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))

    def head(self, features: Float[Tensor, "b 64"]) -> Float[Tensor, "b 10"]:
        """Logits of the ten digits."""
        return self.fc3(features)


class DigitClassifier(nn.Module):
    """A small convolutional classifier with group normalisation, for 28x28 pictures."""

    def __init__(self) -> None:
        super().__init__()

        def block(inside: int, outside: int, stride: int) -> nn.Sequential:
            conv = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            return nn.Sequential(conv, nn.GroupNorm(8, outside), nn.ReLU())

        self.body = nn.Sequential(
            block(3, 32, 1),
            block(32, 64, 2),
            block(64, 64, 1),
            block(64, 128, 2),
            block(128, 128, 1),
        )
        self.embed = nn.Linear(128 * 7 * 7, NUM_FEATURES)
        self.out = nn.Linear(NUM_FEATURES, 10)

    def features(self, x: Float[Tensor, "b 3 28 28"]) -> Float[Tensor, "b 64"]:
        """Features of pictures in [-1, 1]."""
        return F.relu(self.embed(self.body(x).flatten(1)))

    def head(self, features: Float[Tensor, "b 64"]) -> Float[Tensor, "b 10"]:
        """Logits of the ten digits."""
        return self.out(features)


class Judge(nn.Module):
    """One classifier a domain: `judge[d]` reads pictures of domain d."""

    def __init__(self, classifiers: list[nn.Module]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(classifiers)

    def forward(
        self, x: Float[Tensor, "b 3 28 28"], domain: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b 10"], Float[Tensor, "b 64"]]:
        """Logits and features of pictures in [-1, 1], each by the classifier of its domain."""
        logits = x.new_zeros(len(x), 10)
        features = x.new_zeros(len(x), NUM_FEATURES)
        for index, classifier in enumerate(self.classifiers):
            assert isinstance(classifier, CourseClassifier | DigitClassifier)
            rows = (domain == index).nonzero().squeeze(1)
            found = classifier.features(x[rows])
            features = features.index_copy(0, rows, found.to(features.dtype))
            logits = logits.index_copy(0, rows, classifier.head(found).to(logits.dtype))
        return logits, features


def build_judge(seed: int) -> Judge:
    """A fresh judge of two domains, whose initial weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Judge([DigitClassifier(), DigitClassifier()])
