"""What the tests of faults share with those of jobs."""

from tests.jobs.conftest import folder, judge, model, ray_folder

__all__ = ["folder", "judge", "model", "ray_folder"]
