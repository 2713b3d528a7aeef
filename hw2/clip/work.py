"""What is done to pictures and prompts: reading in one process, encoding in another."""

import hashlib
import time
from typing import TYPE_CHECKING

import numpy as np

from hw2.clip.preprocessing import Preprocess
from hw2.clip.store import EmbeddingStore
from hw2.data.images import decode_bytes
from hw2.data.listing.parts import Passing, read_part
from hw2.errors import DataError
from hw2.pieces import MakeWork, Piece, Work

if TYPE_CHECKING:
    from hw2.clip.finding import ClipSource

# A piece is {"part": pictures of a Part} or {"prompts": classes by their prompts}.
PART_BYTES = 16 * 2**20  # of decoded pictures
MAX_BATCHES = 8


def rows_per_part(preprocess: Preprocess, batch_size: int) -> int:
    """Pictures that are read, encoded and kept together: some batches, about PART_BYTES."""
    batch_bytes = batch_size * 3 * preprocess.size[0] * preprocess.size[1]
    return batch_size * max(1, min(MAX_BATCHES, PART_BYTES // batch_bytes))


def make_reader(preprocess: Preprocess, store: EmbeddingStore) -> Work:
    """What reads a piece of pictures: bytes to pixels of the model's size. Needs no torch.

    The result has `content`, the hash of the part's bytes, `reasons` (None: a good picture), and
    `pixels` (good, h, w, 3) uint8, unless the store has embeddings for this content.
    """

    def read(piece: Piece) -> Piece:
        if "part" not in piece:
            return piece
        digest, pixels, reasons = hashlib.sha256(), list[np.ndarray](), list[str | None]()
        for _, data, reason in read_part(piece["part"]):
            told = str(reason).encode() if data is None else data
            digest.update(hashlib.sha256(told).digest())
            if data is not None:
                try:
                    pixels.append(preprocess.pixels(decode_bytes(data)))
                except DataError as error:
                    reason = str(error)
            reasons.append(reason)
        content = digest.hexdigest()
        read_piece = {"part": piece["part"], "content": content, "reasons": reasons}
        if store.has(content):
            return read_piece
        none = np.empty((0, *preprocess.size, 3), np.uint8)
        return read_piece | {"pixels": np.stack(pixels) if pixels else none}

    return read


def make_encoder(
    source: "ClipSource", store: EmbeddingStore, batch_size: int, precision: str
) -> MakeWork:
    """What an actor does: load the model once, then encode pieces that were read.

    Embeddings (unit vectors) go to the store. The result of a part has its index `part`, the
    number of its pictures `count`, its hash `content`, and when it was `finished`.
    """

    def make(on_gpu: bool) -> Work:
        import torch
        from torch.nn import functional as F

        from hw2.clip.loading import load_clip
        from hw2.clip.zero_shot import class_embeddings
        from hw2.precision import wants_bf16

        store.refuse_other_disk()
        device = torch.device("cuda" if on_gpu else "cpu")
        model = load_clip(source, device)
        bf16 = wants_bf16(precision, device)

        @torch.no_grad()
        def encode(pixels: np.ndarray) -> np.ndarray:
            parts = []
            for batch in torch.from_numpy(pixels).split(batch_size):
                x = source.preprocess.normalised(batch.to(device))
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    found = model.net.encode_image(x)
                parts.append(F.normalize(found.float(), dim=-1).cpu())
            return torch.cat(parts).numpy()

        def work(piece: Piece) -> Piece:
            if "prompts" in piece:
                classes = class_embeddings(model.net, model.tokenize, piece["prompts"])
                store.write_texts(piece["prompts"], classes.cpu().numpy(), model.scale)
                return {}
            part, content = piece["part"], piece["content"]
            # Ray gives a piece again if a node took the answer with it: it may be kept by now.
            if "pixels" in piece and not store.has(content):
                pixels = piece["pixels"]
                embeddings = encode(pixels) if len(pixels) else np.empty((0, 1), np.float32)
                store.write(content, embeddings, piece["reasons"])
            # What was not read may be there for the next call, which nobody sees from outside.
            if not any(isinstance(reason, Passing) for reason in piece["reasons"]):
                store.remember(part, content)
            done = {"part": part.index, "count": len(part.table), "content": content}
            return done | {"finished": time.time()}

        return work

    return make
