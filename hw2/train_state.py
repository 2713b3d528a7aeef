"""What moves during a training, and how it is stored."""

import hashlib

import torch
from torch import Tensor, nn

from hw2.claims import is_finite, refuse_infinite, refuse_misfits, shapes_of
from hw2.errors import CheckpointError
from hw2.models.ema import PowerEma, moving
from hw2.settings.training import TrainConfig

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's


def frozen_digest(net: nn.Module) -> str:
    """sha256 over the names and bits of the frozen parameters of `net`; "" if none is."""
    frozen = {name: p for name, p in net.named_parameters() if not p.requires_grad}
    if not frozen:
        return ""
    digest = hashlib.sha256()
    for name, param in frozen.items():
        digest.update(f"{name} {param.dtype} {tuple(param.shape)}".encode())
        digest.update(param.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FrozenMoved(CheckpointError):
    """A parameter that a training was to leave alone has changed."""


class TrainState:
    """A network, its average, its optimiser (AdamW) and the number of steps done.

    Frozen parameters (`requires_grad` False) are part of the network's making: they are neither
    stored nor averaged, and `check_frozen` proves that they stay as they are.
    """

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        self.net, self.ema, self.step = net, PowerEma(net, config.ema_width), 0
        self.names, self.frozen = moving(net), frozen_digest(net)
        self.params = {k: p for k, p in net.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.params.values(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def advance(self, rate: float, clip_norm: float) -> Tensor:
        """One optimiser step at learning rate `rate`; the gradients' norm before it is clipped."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.params.values(), clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.net, self.step)
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """All of it but the step, by name: `net.*`, `ema.*`, `optimizer.<moment>.*`."""
        net, ema = self.net.state_dict(), self.ema.net.state_dict()
        out = {f"net.{name}": net[name] for name in self.names}
        out |= {f"ema.{name}": ema[name] for name in self.names}
        for name, param in self.params.items():
            for key, value in self.optimizer.state[param].items():
                out[f"optimizer.{key}.{name}"] = value
        return out

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of `tensors()` after a step."""
        net = self.net.state_dict()
        out = {f"{of}.{k}": tuple(net[k].shape) for of in ("net", "ema") for k in self.names}
        for name, param in self.params.items():
            out[f"optimizer.step.{name}"] = ()
            out |= {f"optimizer.{key}.{name}": tuple(param.shape) for key in MOMENTS}
        return out

    def load(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave after `step`; CheckpointError if they are of another run."""
        refuse_misfits(f"the checkpoint of step {step}", shapes_of(tensors), self._shapes())
        own = self.net.state_dict()
        for name, value in tensors.items():
            # Moments and their steps are floats, as are all weights but some buffers.
            weight = own.get(name.partition(".")[2]) if name.startswith(("net.", "ema.")) else None
            want = torch.float32 if weight is None else weight.dtype
            if value.is_floating_point() != want.is_floating_point:
                raise CheckpointError(
                    f"the checkpoint of step {step}: {name} is {value.dtype}, want {want}: remove "
                    "it, or choose another --out"
                )
        refuse_infinite(f"the checkpoint of step {step}", tensors)

        def part(prefix: str) -> dict[str, Tensor]:
            start = len(prefix)
            return {k[start:]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.step = step
        for net, found in ((self.net, part("net.")), (self.ema.net, part("ema."))):
            frozen = {k: v for k, v in net.state_dict().items() if k not in self.names}
            net.load_state_dict(frozen | found)
        moments = {key: part(f"optimizer.{key}.") for key in ("step", *MOMENTS)}
        moved = {
            index: {key: values[name] for key, values in moments.items()}
            for index, name in enumerate(self.params)
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moved, "param_groups": groups})

    def refuse_apart(
        self, world_size: int, done: bool, error: Exception | None
    ) -> Exception | None:
        """The first of the workers' errors, on every worker; None if none has one.

        Raises RuntimeError, on every worker, if they would go on from different steps, or not all
        see that the training is `done`. So it may be where one does not see the newest files yet;
        soon it does.
        """
        told = [(self.step, done, error)] * world_size
        torch.distributed.all_gather_object(told, (self.step, done, error))
        for _, _, found in told:
            if found is not None:
                return found
        if len(set(steps := [step for step, _, _ in told])) > 1:
            raise RuntimeError(f"the workers' newest checkpoints are of different steps: {steps}")
        if len({ended for _, ended, _ in told}) > 1:
            raise RuntimeError("not all see that the training is done")
        return None

    def is_finite(self) -> bool:
        """Whether all that would be stored is a number."""
        return all(map(is_finite, self.tensors().values()))

    def check_frozen(self) -> None:
        """Raise FrozenMoved if a frozen parameter has changed by a bit since the beginning."""
        if frozen_digest(self.net) != self.frozen:
            raise FrozenMoved(f"step {self.step}: a frozen weight changed; nothing is saved")
