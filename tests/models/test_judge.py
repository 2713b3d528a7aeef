"""The judge sends each picture to its domain's classifier; the course's network in NumPy."""

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.testing import assert_close

from hw2.models.judge import CourseClassifier, DigitClassifier, Judge, build_judge


def pictures(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 28, 28, generator=generator, dtype=dtype) * 2 - 1


def test_routes_by_domain() -> None:
    judge = build_judge(0).eval()
    x, domain = pictures(5), torch.tensor([1, 0, 0, 1, 0])
    with torch.no_grad():
        logits, features = judge(x, domain)
        for i in range(5):
            classifier = judge.classifiers[int(domain[i])]
            own = classifier.features(x[i : i + 1])
            assert_close(features[i : i + 1], own, rtol=1e-4, atol=1e-5)
            assert_close(logits[i : i + 1], classifier.head(own), rtol=1e-4, atol=1e-5)


def test_a_domain_without_pictures() -> None:
    judge = build_judge(0).eval()
    logits, features = judge(pictures(2), torch.tensor([1, 1]))
    assert logits.shape == (2, 10) and features.shape == (2, 64)
    logits.sum().backward()
    grads = [c.out.weight.grad.abs().sum() for c in judge.classifiers]
    assert float(grads[0]) == 0 < float(grads[1])


def test_initial_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    one, two, other = build_judge(1), build_judge(1), build_judge(2)
    assert torch.equal(torch.get_rng_state(), before)
    key = "classifiers.1.out.weight"
    assert torch.equal(one.state_dict()[key], two.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], one.state_dict()["classifiers.0.out.weight"])
    assert all(isinstance(c, DigitClassifier) for c in one.classifiers)


def test_the_courses_classifier_in_numpy() -> None:
    torch.manual_seed(0)
    net = CourseClassifier().double()
    w = {k: v.numpy() for k, v in net.state_dict().items()}
    x = pictures(3, torch.float64)

    def conv_relu_pool(x: np.ndarray, name: str) -> np.ndarray:
        windows = sliding_window_view(x, (5, 5), axis=(2, 3))
        y = np.einsum("bchwij,ocij->bohw", windows, w[f"{name}.weight"])
        y = np.maximum(y + w[f"{name}.bias"][:, None, None], 0)
        b, c, h, v = y.shape
        return y.reshape(b, c, h // 2, 2, v // 2, 2).max((3, 5))

    h = conv_relu_pool(conv_relu_pool(x.numpy(), "conv1"), "conv2").reshape(3, -1)
    h = np.maximum(h @ w["fc1.weight"].T + w["fc1.bias"], 0)
    h = np.maximum(h @ w["fc2.weight"].T + w["fc2.bias"], 0)
    with torch.no_grad():
        features = net.features(x)
        assert_close(features.numpy(), h)
        assert_close(net.head(features).numpy(), h @ w["fc3.weight"].T + w["fc3.bias"])
        logits, _ = Judge([net, net])(x, torch.tensor([0, 1, 0]))
    assert_close(logits, net.head(features))
