"""What `ray job submit --entrypoint-num-cpus` and `-gpus` keep for the job itself."""

import asyncio
import json
import os


def held_by_entrypoint() -> tuple[float, float]:
    """CPUs and GPUs of the connected cluster that this job's own process holds, beside its workers.

    Workers that want them too would wait for the job to end, and the job for them.
    """
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

    metadata = json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")).get("metadata", {})
    if not metadata:
        return 0.0, 0.0
    from ray._private.worker import global_worker
    from ray.dashboard.modules.job.common import JOB_ID_METADATA_KEY, JobInfoStorageClient

    jobs = JobInfoStorageClient(global_worker.gcs_client)
    info = asyncio.run(jobs.get_info(metadata[JOB_ID_METADATA_KEY]))
    if info is None:  # the head was started again, without what it had stored
        return 0.0, 0.0
    return info.entrypoint_num_cpus or 0.0, info.entrypoint_num_gpus or 0.0
