"""Independent pieces of work: what one is, and who does it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hw2.config import ScalingConfig

Piece = dict[str, Any]  # and its result
Work = Callable[[Piece], Piece]
MakeWork = Callable[[bool], Work]  # told whether on a GPU; loads what the work needs
Pool = Callable[[MakeWork, Sequence[Piece], ScalingConfig], Iterable[Piece]]
