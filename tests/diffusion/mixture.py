"""A class-conditional mixture of Gaussians: a denoiser, a judge and a Frechet distance, all exact.

Class c of three is N(mean_c, cov_c) in the plane, all as likely; points are pictures of shape
(b, 1, 1, 2), float64. Noised to timestep t they are N(a mean_c, a^2 cov_c + s^2), so all that a
network would have to learn is known in closed form.
"""

import torch
from torch import Tensor

from hw2.diffusion.counter import CounterRandom, Stream
from hw2.diffusion.guidance import Guidance, GuidedDenoiser
from hw2.diffusion.samplers import Denoise, Fresh, timesteps
from hw2.diffusion.schedule import NoiseSchedule
from hw2.diffusion.solvers.ddim import ddim
from hw2.diffusion.solvers.ddpm import ddpm
from hw2.metrics.frechet import frechet_distance


def noises(count: int, seed: int = 0) -> Fresh:
    """Fresh noise (count, 1, 1, 2) for a timestep, the same whoever asks; t = -1 is the start."""

    def fresh(t: int) -> Tensor:
        row = CounterRandom(seed, t + 1, [0]).normal(Stream.ANCESTRAL, count, 1, 1, 2)
        return row[0].double()

    return fresh


def trajectory(
    denoise: Denoise,
    schedule: NoiseSchedule,
    start: Tensor,
    fresh: Fresh,
    num_inference_steps: int,
    eta: float | None,
) -> list[Tensor]:
    """The states of DDIM, or of `ddpm` where eta is None, without clipping."""
    steps = timesteps(schedule.num_train_timesteps, num_inference_steps)
    if eta is None:
        states = ddpm(denoise, schedule, start, fresh, steps)
    else:
        states = ddim(denoise, schedule, start, fresh, steps, eta=eta, clip_x0=False)
    return [state.xt for state in states]


class Mixture:
    """Three classes 0..2 that overlap, and the null label 3 for all of them.

    It is called like a network, net(xt (b, 1, 1, 2), t (b,), digit (b,), domain (b,)), and
    answers with E[eps | xt, digit]; the domain counts for nothing. Two faults of a network of
    limited capacity: `blur` widens what it learnt of each class to cov_c + blur^2, `leak` in
    [0, 1) is the share of the unconditional answer in its conditional ones.
    """

    def __init__(self, schedule: NoiseSchedule, blur: float = 0.0, leak: float = 0.0) -> None:
        self.schedule, self.leak = schedule, leak
        angle = 2 * torch.pi * torch.arange(3, dtype=torch.float64) / 3
        outward = torch.stack([angle.cos(), angle.sin()], 1)
        self.mean = 0.4 * outward  # (3, 2)
        along = outward[:, :, None] * outward[:, None, :]
        # Standard deviation 0.4 away from the centre and 0.25 across.
        self.cov = 0.4**2 * along + 0.25**2 * (torch.eye(2) - along)  # (3, 2, 2)
        self.learnt_cov = self.cov + blur**2 * torch.eye(2)

    def _per_class(self, xt: Tensor, alpha_bar: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
        """-grad log p(xt | c) (b, 3, 2), and log p(xt | c) (b, 3) but for a constant."""
        offset = xt.reshape(-1, 1, 2) - alpha_bar.sqrt() * self.mean
        noised = alpha_bar * cov + (1 - alpha_bar) * torch.eye(2)
        precision = torch.linalg.inv(noised)
        # Written out: a matrix product's last bits would depend on the size of the batch.
        pull = offset[..., :1] * precision[:, 0] + offset[..., 1:] * precision[:, 1]
        distance = pull[..., 0] * offset[..., 0] + pull[..., 1] * offset[..., 1]
        return pull, -0.5 * (distance + torch.logdet(noised))

    def __call__(self, xt: Tensor, t: Tensor, digit: Tensor, domain: Tensor) -> Tensor:
        """eps = -s grad log p(xt | digit) (Dhariwal & Nichol 2021, eq. 11).

        The unconditional one is the mean over the classes, each by its posterior p(c | xt).
        """
        alpha_bar = self.schedule.alphas_cumprod[t[0]]
        pull, log_density = self._per_class(xt, alpha_bar, self.learnt_cov)
        told = torch.nn.functional.one_hot(digit, 4)[:, :3].double()
        posterior = log_density.softmax(1)
        share = torch.where(digit == 3, 1.0, self.leak)[:, None]
        weight = (1 - share) * told + share * posterior
        return (1 - alpha_bar).sqrt() * (pull * weight[..., None]).sum(1).view_as(xt)

    def denoiser(self, digit: Tensor, w: float) -> GuidedDenoiser:
        """The product's guidance around this network, for the classes `digit` (b,)."""
        null = torch.full_like(digit, 3)
        # Domains count for nothing, so the digits will do.
        told = (digit, digit), (null, digit)
        return GuidedDenoiser(self, self.schedule, Guidance(w), "epsilon", *told)

    def draw(
        self, digit: Tensor, w: float, num_inference_steps: int = 50, eta: float = 0.0
    ) -> Tensor:
        """DDIM's ends (b, 1, 1, 2) for classes `digit` (b,), the same noise at every call."""
        denoise, fresh = self.denoiser(digit, w), noises(len(digit))
        return trajectory(denoise, self.schedule, fresh(-1), fresh, num_inference_steps, eta)[-1]

    def exact_draw(self, digit: Tensor, seed: int = 1) -> Tensor:
        """Data (b, 1, 1, 2) of the classes `digit` (b,), from no sampler."""
        root = torch.linalg.cholesky(self.cov)[digit]
        z = noises(len(digit), seed)(-1).reshape(-1, 2, 1)
        return (self.mean[digit] + (root @ z)[..., 0]).view(-1, 1, 1, 2)

    def judged(self, x: Tensor) -> Tensor:
        """The Bayes classifier's digit (b,) for clean points: no judge is more often right."""
        return self._per_class(x, torch.ones((), dtype=torch.float64), self.cov)[1].argmax(1)

    def frechet(self, x: Tensor, digit: Tensor) -> float:
        """Frechet distance of each class's points to its exact moments, mean over the classes.

        Four points mean +- sqrt(1.5) root_i have exactly that mean and, divided by n - 1, that
        covariance: the reference has no sampling error.
        """
        found = []
        for c in digit.unique().tolist():
            root = 1.5**0.5 * torch.linalg.cholesky(self.cov[c]).T
            reference = self.mean[c] + torch.cat([root, -root])
            found.append(frechet_distance(x[digit == c].reshape(-1, 2), reference))
        return sum(found) / len(found)
