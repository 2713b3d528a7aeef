"""Build the hw2_data tree: offline from installed packages, or the real digits by torchvision.

python -m jobs.prepare_data --out hw2_data
"""

from hw2.job import run_job
from hw2.settings.data import PrepareDataConfig


def main(config: PrepareDataConfig) -> None:
    """Write the parts of the tree; continue one that was interrupted."""
    from hw2.data.clip_tree import clip_recipe, describe_clip, write_clip
    from hw2.data.concept_tree import concepts_recipe, write_concepts
    from hw2.data.face_tree import describe_faces, faces_recipe, write_faces
    from hw2.data.text2image_tree import text2image_recipe, write_text2image
    from hw2.data.tree import prepare_digits
    from hw2.data.writing import writable

    faces = config.seed, config.num_faces, config.num_noises
    scenes = config.seed, config.num_clip_train, config.num_clip_val
    with writable(config.out):
        # A refusal comes before the digits, which take minutes.
        faces_recipe(config.out, *faces).check()
        clip_recipe(config.out, *scenes).check()
        if config.num_text2image:
            text2image_recipe(config.out, config.seed, config.num_text2image).check()
        concepts_recipe(config.out, config.seed).check()
        prepare_digits(
            config.out,
            config.seed,
            config.num_train,
            config.num_val,
            source=config.source,
            cache=config.cache,
        )
        write_clip(config.out, *scenes)
        print(describe_clip(config.out))
        write_text2image(config.out, config.seed, config.num_text2image)
        write_concepts(config.out, config.seed)
        write_faces(config.out, *faces)
        print(describe_faces(config.out))


if __name__ == "__main__":
    raise SystemExit(run_job(PrepareDataConfig, main, doc=__doc__))
