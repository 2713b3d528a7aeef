"""Between two noises: along the sphere, and along the chord.

Noise of d numbers lies near the sphere of radius sqrt(d), and a network has seen no other. The
chord leaves it: between two independent noises its middle is shorter by sqrt(2).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hw2.errors import ConfigError

SMALLEST_ANGLE = 1e-6


@dataclass(frozen=True)
class Interpolants:
    """Both ways from one noise to another at `alphas` (n,), 0 to 1, and how long each is.

    `slerp` and `lerp` are (n, c, h, w), their Euclidean norms `slerp_norms` and `lerp_norms` (n,).
    """

    alphas: Float[Tensor, " n"]
    slerp: Float[Tensor, "n c h w"]
    lerp: Float[Tensor, "n c h w"]
    slerp_norms: Float[Tensor, " n"]
    lerp_norms: Float[Tensor, " n"]


def lerp(
    a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"], alpha: float
) -> Float[Tensor, "*shape"]:
    """(1 - alpha) a + alpha b, `alpha` in [0, 1]."""
    return (1 - alpha) * a + alpha * b


def slerp(
    a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"], alpha: float
) -> Float[Tensor, "*shape"]:
    """(sin((1 - alpha) theta) a + sin(alpha theta) b) / sin(theta) (Shoemake 1985, section 3.3).

    `theta` is the angle between `a` and `b`, each taken whole as one vector, in float64. Vectors of
    one direction (theta < 1e-6) are interpolated linearly, which is the limit.

    Raises:
        ConfigError: one of them is zero, or they are opposite, so that no arc is the shortest.
    """
    theta = _angle(a.double().flatten(), b.double().flatten())
    if theta < SMALLEST_ANGLE:
        return lerp(a, b, alpha)
    to_a = torch.sin((1 - alpha) * theta) / torch.sin(theta)
    to_b = torch.sin(alpha * theta) / torch.sin(theta)
    return (to_a * a.double() + to_b * b.double()).to(a.dtype)


def _angle(a: Float[Tensor, " d"], b: Float[Tensor, " d"]) -> Float[Tensor, ""]:
    """The angle between two vectors, by the arctangent, exact near 0 and pi (Kahan 2006)."""
    norms = a.norm(), b.norm()
    for norm, which in zip(norms, ("first", "second"), strict=True):
        if norm == 0:
            raise ConfigError(
                f"slerp: the {which} noise has norm 0 and so no direction: choose another"
            )
    a, b = a / norms[0], b / norms[1]
    theta = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    if torch.pi - theta < SMALLEST_ANGLE:
        raise ConfigError(
            "slerp: the noises are opposite (180 degrees apart), so no arc between them is the "
            "shortest: choose others"
        )
    return theta


def interpolants(
    a: Float[Tensor, "c h w"], b: Float[Tensor, "c h w"], num_alphas: int
) -> Interpolants:
    """`num_alphas` >= 2 noises from `a` to `b`, both ends included. Raises as `slerp` does."""
    alphas = torch.linspace(0, 1, num_alphas, dtype=torch.float64)
    along = torch.stack([slerp(a, b, alpha) for alpha in alphas.tolist()])
    straight = torch.stack([lerp(a, b, alpha) for alpha in alphas.tolist()])
    return Interpolants(alphas, along, straight, _norms(along), _norms(straight))


def _norms(x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    return x.double().flatten(1).norm(dim=1)


def smoothness(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n-1"]:
    """How far each picture is from the next: root mean square difference on the scale 0..255.

    `images` in [-1, 1], n >= 1.
    """
    return (127.5 * images.diff(dim=0)).square().flatten(1).mean(1).sqrt()
