"""Features of pictures from a network that was never trained."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 32
WIDTHS = (32, 64, 64)
SEED = 0


class RandomFeatures(nn.Module):
    """A fixed random convolutional network, for distances between sets of pictures.

    Untrained features compare generators of pictures that no classifier was trained on about as
    well as trained ones (Naeem et al. 2020, section 4), need no download, and are the same for
    everybody. Numbers cannot be compared with FID, which is measured in Inception's features.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            pairs = zip((3, *WIDTHS), WIDTHS, strict=False)
            layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairs]
            for layer in layers:
                nn.init.orthogonal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.layers = nn.ModuleList(layers)
        self.eval().requires_grad_(False)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 64"]:
        """Features of square pictures in [-1, 1], h >= 4, averaged down to 32 x 32 where larger."""
        x = images
        if min(x.shape[-2:]) > SIDE:
            x = F.interpolate(x, (SIDE, SIDE), mode="area")
        for number, layer in enumerate(self.layers):
            x = F.relu(layer(x))
            if number + 1 < len(self.layers):
                x = F.avg_pool2d(x, 2)
        return x.mean((2, 3))
