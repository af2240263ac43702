"""Makes text from other sources, such as names in a file, safe to print on a terminal."""

from __future__ import annotations

import unicodedata

# Control characters, which a terminal obeys; characters that change the order of others, or
# cannot be seen; halves of a pair, among them the bytes of a file's name that are no UTF-8;
# separators of lines.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_BYTES = range(0xDC80, 0xDD00)
"""How Python spells bytes that it cannot decode."""

LONGEST = 1 << 14
"""Most characters of one text: a longer one would hide what was printed before."""


def shown(text: object, keep: str = "") -> str:
    r"""Return text in which nothing is hidden and nothing controls the terminal.

    Parameters
    ----------
    text : object
        Anything; ``str`` makes text of it.
    keep : str
        Characters to leave as they are, such as ``"\n"``.

    Returns
    -------
    str
        At most :data:`LONGEST` characters of the text, with ``\x1b`` for an escape character
        and ``\u202e`` for one that reverses the order of others.
    """
    text = str(text)
    if text.isascii() and text.isprintable() and len(text) <= LONGEST:
        return text
    cut = f"… ({len(text)} characters)" if len(text) > LONGEST else ""
    return "".join(c if c in keep else _spelled(c) for c in text[:LONGEST]) + cut


def _spelled(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    number = ord(character)
    if number in _BYTES:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
