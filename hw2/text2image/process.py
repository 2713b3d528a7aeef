"""The process that a Stable Diffusion in a folder was trained for, as its scheduler states it."""

from typing import Any

from diffusers import DDIMScheduler

from hw2.claims import MAX_NUMBER
from hw2.diffusion.schedule import NoiseSchedule, scaled_linear_schedule, schedule_of_betas
from hw2.errors import CheckpointError, ConfigError

NUM_TRAIN_TIMESTEPS = 1000  # where a scheduler does not tell, as diffusers has it


def scheduler_in(place: str) -> DDIMScheduler:
    """The model's own, as a DDIM; ValueError for one without betas, which would get DDIM's."""
    told = DDIMScheduler.load_config(place, subfolder="scheduler")
    steps = told.get("num_train_timesteps", NUM_TRAIN_TIMESTEPS)
    if type(steps) is not int or not 0 < steps <= MAX_NUMBER:
        raise ValueError(f"num_train_timesteps={str(steps)[:80]}: want 1 to {MAX_NUMBER}")
    if "beta_schedule" not in told and told.get("trained_betas") is None:
        name = str(told.get("_class_name"))[:80]
        raise ValueError(f"{name} has neither beta_schedule nor trained_betas: want one of DDPM")
    given = told.get("trained_betas")
    if given is not None and not (isinstance(given, list) and given):
        raise ValueError(f"trained_betas={str(given)[:80]}: want a list of numbers")
    return DDIMScheduler.from_config(told)


def schedule_of(model: str, scheduler: DDIMScheduler) -> NoiseSchedule:
    """In float64, from the betas that the scheduler states."""
    config = scheduler.config
    if config.rescale_betas_zero_snr:
        raise CheckpointError(
            f"model={model}: its scheduler has rescale_betas_zero_snr, whose last step has no "
            "signal: want a model of a process without"
        )
    try:
        if config.beta_schedule == "scaled_linear" and config.trained_betas is None:
            return scaled_linear_schedule(
                config.num_train_timesteps, config.beta_start, config.beta_end
            )
        return schedule_of_betas(scheduler.betas)
    except ConfigError as error:
        raise CheckpointError(f"model={model}: its scheduler has {error}") from None


def prediction_type_of(model: str, scheduler: DDIMScheduler) -> Any:
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise CheckpointError(f"model={model}: predicts {kind}, want epsilon or v_prediction")
    return kind
