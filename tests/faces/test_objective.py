"""What a face training minimises."""

from pathlib import Path

import numpy as np
from torch.testing import assert_close

from hw2.faces.training import face_objective
from hw2.settings.faces import FaceObjectiveConfig, TrainFacesConfig
from hw2.settings.training import TrainConfig


def test_weights_are_those_of_the_settings_over_the_course_s_process() -> None:
    asked = FaceObjectiveConfig(min_snr_gamma=4.0, snr_floor=0.1, timesteps="importance")
    train = TrainConfig(num_steps=1, batch_size=1)
    found = face_objective(TrainFacesConfig(out=Path("unused"), objective=asked, train=train))
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    snr = alpha_bar / (1 - alpha_bar)
    assert_close(found.weights.numpy(), np.clip(snr, 0.1, 4.0) / snr)
    assert found.timesteps == "importance"
