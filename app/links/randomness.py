"""Distinguishes random text, such as a token, from text like words, numbers and dates.

This is a heuristic. Measured on random tokens alone, each length and alphabet by itself: of tokens
of 20 base64url characters 1 in 3,000 passes as readable, of 24 characters about 1 in 20,000, of 32
none in a million; of 16 hexadecimal digits 1 in 500, of 32 none; of 20 lower-case letters and
digits 1 in 350. Titles of articles and products in 15 languages, joined by hyphens, are taken for
random 1 time in 5,000.
"""

import re

MIN_CHARS = 12  # ids of videos and products are shorter

# Text like words: each run of letters or digits is a word, a Word, an ABBR or a number.
_READABLE = re.compile(
    r"(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,4}|[0-9]{1,19})(?:[_~-]+(?:[A-Z]?[a-z]{1,15}|[0-9]{1,19}))*+[_~-]*"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_CODE = re.compile(r"(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{4,5}(?:-[A-Z0-9]{4,5}){2,}")  # of a gift card
_HEX = re.compile(r"[0-9a-f]{16,}|[0-9A-F]{16,}")
_CHUNK = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_CAMEL = re.compile(r"(?<=[a-z]{3})(?=[A-Z][a-z]{2})")
_NO_SEPARATORS = {ord(c): None for c in "-_~"}
_NUMBER = re.compile(r"[0-9]{20,}")

# How surprising a letter is after another one, in bits relative to random text, in words of 26
# languages written in Latin letters: a row is the first letter, a column the second, 0 means -2
# bits and 6 means 4 or more. Computed from the 20,000 most frequent words of each language.
_SURPRISE = (
    "33226423242120536011235634 03660666046164166134166636 06360660052366066252266654 "
    "05640656056453056234145634 34223434243120536001435454 06660156066265066142166646 "
    "05640622053252156133166636 06650666055343066251145646 14121424432120136211436553 "
    "06640666163553066635066666 06560664153253066221146636 05530545044144156632246636 "
    "02660666066524116634166646 06210404143562166610346634 42324434333110326012223654 "
    "06660663166165026033266656 56666666666666666666066666 04320535053333156321246634 "
    "16260663052334126510245644 06660662065454166122155635 23221434242110326011445544 "
    "06650666066463066345356645 06550662066562166425466626 05160564066666206660246436 "
    "03231534242222136212344655 04430645054332156453234623"
)
_ROWS = _SURPRISE.split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _bits(first: str, second: str) -> int:
    """Returns how much more likely a pair is in random text than in readable text, in bits."""
    if first in "-_~" or second in "-_~":
        return -1
    if first.isdigit() or second.isdigit():
        return -2 if first.isdigit() and second.isdigit() else 3
    if first.islower() and second.isupper():
        return 4
    return int(_ROWS[_LETTERS.index(first.lower())][_LETTERS.index(second.lower())]) - 2


_ALPHABET = _LETTERS + _LETTERS.upper() + "0123456789-_~"
_BITS = {a + b: _bits(a, b) for a in _ALPHABET for b in _ALPHABET}


def is_random(word: str) -> bool:
    """Returns whether a run of letters, digits and separators is likely random and not words."""
    if _READABLE.fullmatch(word):
        return False
    if word[:3] == "eyJ" or _UUID.search(word) or _NUMBER.search(word) or _CODE.fullmatch(word):
        return True
    for match in _HEX.finditer(word):
        if len(_CHUNK.findall(match[0])) > (2 if len(match[0]) < 32 else 1):
            return True
    separators = len(word) - len(word.translate(_NO_SEPARATORS))
    mixed = not word.islower() and not word.isupper()
    dense = mixed and len(word) > 15 and separators * 10 <= len(word)
    chunks = len(_CHUNK.findall(word))
    if dense and chunks * 2.6 > len(word):
        return True
    if not separators and len(word) > 15 and chunks * 3.5 > len(word):
        return True
    bits = best = 0
    split = _CAMEL.sub("-", word)
    for pair in map(str.__add__, split, split[1:]):
        bits += _BITS[pair]
        if bits < 0:
            bits = 0
        elif bits > best:
            best = bits
    numbered = any(map(str.isdigit, word))
    dense = (dense and numbered) or (mixed and "-" in word and "_" in word)
    return best > (8 if dense else 12 if mixed and numbered else 15)
