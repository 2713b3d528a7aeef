"""Files of Custom Diffusion: what it moved of a base model (Kumari et al. 2023, section 3.1)."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPTextModel

from hw2.claims import refuse_infinite, refuse_misfits, shapes_of
from hw2.data.files import sha256_of
from hw2.errors import CheckpointError, ConfigError
from hw2.personalize.embeddings import (
    FLOATS,
    TokenEmbedding,
    read_embeddings,
    read_tensors,
    save_embedding,
)
from hw2.weights import described, write_tensors

WEIGHTS = "pytorch_custom_diffusion_weights.safetensors"  # diffusers' name
LOW_RANK = "hw2_custom_diffusion_low_rank.safetensors"
LEFT, RIGHT = ".left", ".right"
CROSS = re.compile(r"(.+\.attn)2\.to_([kv])\.weight")
# From its beginning: names from outside may be long, and each place in them would be tried.
PROCESSOR = re.compile(r"^(.+\.attn2)\.processor\.to_([kv])_custom_diffusion\.weight")


@dataclass(frozen=True)
class Deltas:
    """What Custom Diffusion learned for one base model.

    `base` is its `base_hash`; `weights` are the new keys' and values' projections (out, in), not
    differences, by the names of `cross_attention_weights`; `rows` (width,) are the new tokens'.
    `place` is what errors call it: where it was read.
    """

    base: str
    weights: dict[str, Tensor]
    rows: dict[str, Tensor]
    about: dict[str, Any]
    place: str = "concepts"


def cross_attention_weights(unet: nn.Module) -> dict[str, nn.Parameter]:
    """The projections of text to keys and values, (out, in), in the order of the network."""
    return {name: w for name, w in unet.named_parameters() if CROSS.fullmatch(name)}


def base_hash(unet: nn.Module, text_encoder: CLIPTextModel) -> str:
    """Hex digest of what a training changes, before it or any new token changed it.

    Taken of values in half precision, in which most models are handed around.
    """
    table = text_encoder.get_input_embeddings().get_parameter("weight")
    digest = hashlib.sha256()
    for name, weight in {**cross_attention_weights(unet), "token_embedding": table}.items():
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().half().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def save_deltas(
    folder: Path, deltas: Deltas, base_weights: Mapping[str, Tensor], rank: int | None = None
) -> float:
    """Write `deltas` to `folder`, each token's row as a textual inversion beside the weights.

    Without a rank diffusers reads it: `pipe.unet.load_attn_procs(folder, weight_name=WEIGHTS,
    _pipeline=pipe)`. With one only the best approximation of each difference to `base_weights` of
    that rank is kept (Kumari et al. 2023, section 4.2), which `read_deltas` alone reads.

    Returns:
        The share of the differences' energy (sum of squared singular values) that is kept, in
        [0, 1]; the file's header has it for each matrix too.

    Raises:
        CheckpointError: the weights are not those of the base, or not finite.
        ConfigError: `rank` is under 1.
    """
    if rank is not None and rank < 1:
        raise ConfigError(f"rank={rank}: want at least 1, or none for whole matrices")
    refuse_unfit(str(folder), deltas.weights, base_weights)
    folder.mkdir(parents=True, exist_ok=True)
    meta: dict[str, Any] = {"base": deltas.base, "rank": rank, "about": deltas.about}
    meta |= {"kept_energy": 1.0, "tokens": []}  # pairs, in the order of the captions: JSON sorts
    if rank is None:
        name, other, tensors = WEIGHTS, LOW_RANK, _as_processors(deltas.weights)
    else:
        name, other = LOW_RANK, WEIGHTS
        tensors, energies = _factors(deltas.weights, base_weights, rank)
        total = sum(whole for _, whole in energies.values())
        meta["kept_energy"] = _share(sum(kept for kept, _ in energies.values()), total)
        meta["kept_energies"] = {k: _share(kept, whole) for k, (kept, whole) in energies.items()}
    for token, row in deltas.rows.items():
        path = folder / row_file(token)
        save_embedding(path, TokenEmbedding(token, row), {"base": deltas.base})
        meta["tokens"].append((token, sha256_of(path)))
    write_tensors(folder / name, tensors, described(meta))
    (folder / other).unlink(missing_ok=True)
    return meta["kept_energy"]


def read_deltas(folder: Path, base: str, base_weights: Mapping[str, Tensor]) -> Deltas:
    """What `save_deltas` wrote to `folder`, in float32, for the model whose `base_hash` is `base`.

    Raises CheckpointError if it is missing, torn, of another base model, not ours, has not all
    layers or others, and for values that are not finite floats.
    """
    path = next((p for p in (folder / WEIGHTS, folder / LOW_RANK) if p.exists()), None)
    if path is None:
        raise CheckpointError(
            f"{folder}: no {WEIGHTS} there: give a folder that jobs.custom_diffusion wrote"
        )
    tensors, meta = read_tensors(path, max_bytes(base_weights))
    try:
        made_for, tokens, about = str(meta["base"]), dict(meta["tokens"]), dict(meta["about"])
        "".join(tokens).encode()  # no half of a surrogate pair
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path}: has no hw2 metadata, so that its base model and captions are not known: give "
            "a folder that jobs.custom_diffusion wrote; what others trained is drawn by "
            "generate_concepts --joint"
        ) from None
    if made_for != base:
        raise CheckpointError(
            f"{path}: was made for another base model (hash {made_for[:8]}.., this is {base[:8]}..)"
        )
    weights = (
        of_processors(tensors) if path.name == WEIGHTS else _of_factors(path, tensors, base_weights)
    )
    refuse_unfit(str(path), weights, base_weights)
    width = next(iter(base_weights.values())).shape[1]
    return Deltas(
        base,
        {name: weights[name].float() for name in base_weights},
        {token: _row(folder, token, digest, width) for token, digest in tokens.items()},
        about,
    )


def max_bytes(base_weights: Mapping[str, Tensor]) -> int:
    """The size of the largest file of deltas: two factors of full rank, in float64, a header."""
    return 16 * sum(weight.numel() for weight in base_weights.values()) + 2**20


def apply_weights(unet: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give `unet` all its `cross_attention_weights`, in place.

    Raises CheckpointError unless they are its layers' and finite.
    """
    own = cross_attention_weights(unet)
    refuse_unfit("deltas", weights, own)
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])


def row_file(token: str) -> str:
    """Name of the file of a token's row: token_new1.safetensors for <new1>."""
    plain = re.fullmatch(r"<([A-Za-z0-9_-]{1,40})>", token)
    name = plain[1] if plain else hashlib.sha256(token.encode()).hexdigest()[:16]
    return f"token_{name}.safetensors"


def _row(folder: Path, token: str, digest: str, width: int) -> Float[Tensor, " width"]:
    path = folder / row_file(token)
    [embedding] = read_embeddings(path, width, token)
    if sha256_of(path) != digest:
        raise CheckpointError(f"{path}: is not the row of {token} that was saved with the weights")
    return embedding.row


def _as_processors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In diffusers' form: a weight an attention processor, nothing for those of self-attention."""
    tensors = {}
    for name, weight in weights.items():
        start, kind = CROSS.fullmatch(name).groups()  # type: ignore[union-attr]
        tensors[f"{start}1.processor"] = torch.empty(0)
        tensors[f"{start}2.processor.to_{kind}_custom_diffusion.weight"] = _plain(weight)
    return tensors


def of_processors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `_as_processors` made, by the names of `cross_attention_weights`."""
    return {
        PROCESSOR.sub(r"\1.to_\2.weight", name): weight
        for name, weight in tensors.items()
        if not name.endswith(".attn1.processor")
    }


def _factors(
    weights: Mapping[str, Tensor], base: Mapping[str, Tensor], rank: int
) -> tuple[dict[str, Tensor], dict[str, tuple[float, float]]]:
    """Two factors a difference, and its energy: kept and whole (Eckart and Young 1936)."""
    tensors, energies = {}, {}
    for name, weight in weights.items():
        difference = weight.detach().double().cpu() - base[name].detach().double().cpu()
        u, s, vh = torch.linalg.svd(difference, full_matrices=False)
        tensors[name + LEFT] = _plain(u[:, :rank] * s[:rank])
        tensors[name + RIGHT] = _plain(vh[:rank])
        energies[name] = (float(s[:rank].square().sum()), float(s.square().sum()))
    return tensors, energies


def _of_factors(
    path: Path, tensors: dict[str, Tensor], base: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    weights = {}
    for name in dict.fromkeys(n.removesuffix(LEFT).removesuffix(RIGHT) for n in tensors):
        pair = [tensors[name + end] for end in (LEFT, RIGHT) if name + end in tensors]
        if name not in base or len(pair) < 2 or any(factor.dtype not in FLOATS for factor in pair):
            raise CheckpointError(f"{path}: {name} is no layer of this model, or not two factors")
        (left, right), whole = pair, base[name].detach().float().cpu()
        if (*left.shape[:1], *right.shape[1:]) != whole.shape or left.shape[1:] != right.shape[:1]:
            raise CheckpointError(
                f"{path}: the factors of {name} do not fit: {tuple(left.shape)} and "
                f"{tuple(right.shape)}, want {tuple(whole.shape)}"
            )
        weights[name] = whole + left.float() @ right.float()
    return weights


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().contiguous().clone()


def _share(kept: float, whole: float) -> float:
    return kept / whole if whole else 1.0


def refuse_unfit(place: str, found: Mapping[str, Tensor], want: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless `found` are finite floats of the names and shapes of `want`."""
    refuse_misfits(place, shapes_of(found), shapes_of(want))
    for name, value in found.items():
        if value.dtype not in FLOATS:
            raise CheckpointError(f"{place}: {name} is {value.dtype}, want floats")
    refuse_infinite(place, found)
