"""The vocabulary against open_clip's own tokenizer."""

import open_clip
import pytest

from hw2.text2image.model import tokens_of
from hw2.text2image.vocabulary import END, NUM_MERGES, small_tokenizer, words_of

CAPTIONS = ("a photo of gravel", "a Motorcycle next to  a retina, in the style of blueprint!")


def test_the_whole_vocabulary_is_clips() -> None:
    ours, theirs = small_tokenizer((), NUM_MERGES, 77), open_clip.SimpleTokenizer()
    assert len(ours) == theirs.vocab_size
    texts = [*CAPTIONS, "it's 3 cats' é-handwriting", ""]
    for mine, their in zip(tokens_of(ours, texts), theirs(texts), strict=True):
        end = theirs.eot_token_id
        kept = mine.tolist().index(end) + 1
        # CLIP's own text encoder reads ends as padding where open_clip has zeros.
        assert mine[:kept].tolist() == their[:kept].tolist() and set(mine[kept:].tolist()) <= {end}


@pytest.mark.parametrize("num_merges", [0, 300])
def test_words_of_the_captions_are_the_tokens_that_they_are_in_clip(num_merges: int) -> None:
    small = small_tokenizer(CAPTIONS, num_merges, 24)
    whole = small_tokenizer((), NUM_MERGES, 77)
    assert num_merges < len(small) < num_merges + 700
    for word in words_of(CAPTIONS):
        assert small.tokenize(word) == whole.tokenize(word)
    # Others are cut into pieces, down to letters, and never lost.
    assert len(small.tokenize("zebra")) > 1 and "".join(small.tokenize("zebra")) == "zebra</w>"
    assert small.convert_ids_to_tokens(len(small) - 1) == END
    assert tokens_of(small, [" ".join(["cat"] * 40)]).shape == (1, 24)
