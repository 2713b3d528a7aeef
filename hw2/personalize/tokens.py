"""New words of a tokenizer."""

from collections.abc import Sequence

from transformers import CLIPTokenizer

from hw2.errors import ConfigError


def add_token(tokenizer: CLIPTokenizer, token: str) -> int:
    """Add `token` at the end of the vocabulary; its id. Raises ConfigError if it cannot be added.

    It must be without spaces and control characters, and be no word of the vocabulary, upper or
    lower case: added tokens are found in lowered text.
    """
    if not token or not token.isprintable() or any(c.isspace() for c in token):
        raise ConfigError(
            f"token_name={token!r}: want one word of printable characters, for instance <new1>"
        )
    if token.lower() in {word.removesuffix("</w>").lower() for word in tokenizer.get_vocab()}:
        raise ConfigError(
            f"token_name={token!r} is already in the vocabulary: choose another token_name"
        )
    place = len(tokenizer)
    tokenizer.add_tokens(token)
    return place


def initializer_id(tokenizer: CLIPTokenizer, word: str) -> int:
    """The id of `word`, which is one token; its row is where a new token's begins.

    Raises ConfigError, with the pieces, if it is several or none.
    """
    ids = tokenizer(word, add_special_tokens=False).input_ids
    if len(ids) != 1:
        pieces = [piece.removesuffix("</w>") for piece in tokenizer.convert_ids_to_tokens(ids)]
        raise ConfigError(
            f"initializer_token={word!r} is {len(ids)} tokens ({', '.join(pieces)}): "
            "give a word that is one token of this model (docs/personalization.md: the small one's)"
        )
    return int(ids[0])


def rename_clashing(tokens: Sequence[str]) -> list[str]:
    """The tokens of several concepts made distinct, in their order; the first keeps its name.

    A second "<new1>" becomes "<new1_2>", or the next number that no given token has. Upper and
    lower case are alike, as in `add_token`.
    """
    taken = {token.lower() for token in tokens}
    names: list[str] = []
    for token in tokens:
        name, number = token, 1
        if any(token.lower() == earlier.lower() for earlier in tokens[: len(names)]):
            stem, end = (token[:-1], ">") if token.endswith(">") else (token, "")
            while name.lower() in taken:
                number += 1
                name = f"{stem}_{number}{end}"
        taken.add(name.lower())
        names.append(name)
    return names
