"""What moves during a training, and how it is stored."""

import torch
from torch import Tensor, nn

from hw2.models.ema import PowerEma
from hw2.settings.training import TrainConfig


class TrainState:
    """A network, its average, its optimiser (AdamW) and the number of steps done."""

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        self.net, self.ema, self.step = net, PowerEma(net, config.ema_width), 0
        self.params = {k: p for k, p in net.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.params.values(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def tensors(self) -> dict[str, Tensor]:
        """All of it but the step, by name: `net.*`, `ema.*`, `optimizer.<moment>.*`."""
        out = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        out |= {f"ema.{k}": v for k, v in self.ema.net.state_dict().items()}
        for name, param in self.params.items():
            for key, value in self.optimizer.state[param].items():
                out[f"optimizer.{key}.{name}"] = value
        return out

    def load(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave after `step`."""

        def part(prefix: str) -> dict[str, Tensor]:
            start = len(prefix)
            return {k[start:]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.step = step
        self.net.load_state_dict(part("net."))
        self.ema.net.load_state_dict(part("ema."))
        moments = {key: part(f"optimizer.{key}.") for key in ("step", "exp_avg", "exp_avg_sq")}
        state = {
            index: {key: values[name] for key, values in moments.items()}
            for index, name in enumerate(self.params)
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
