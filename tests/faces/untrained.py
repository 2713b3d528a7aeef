"""A face network that was never trained, and yet moves its pictures."""

import torch

from hw2.models.face_unet import FaceUNet


def lively_face_unet(channels: tuple[int, ...] = (64,) * 6, seed: int = 0) -> FaceUNet:
    """Random weights, the predicted noise enlarged.

    As it comes it is so small that the steps amplify float32's rounding up to other pictures.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net = FaceUNet(channels)
        net.unet.conv_out.weight *= 30
    return net.eval()
