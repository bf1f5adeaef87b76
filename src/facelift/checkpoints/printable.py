"""What files say, as a terminal may see it: text of others can hold sequences that move its cursor and hide lines."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of control, format (right to left among them), lone surrogate, line and paragraph."""


def printable(text: str, keep: str = "") -> str:
    """The text with such characters written out, as \\x1b; those of `keep` stay."""
    return "".join(
        sign.encode("unicode_escape").decode() if sign not in keep and unicodedata.category(sign) in _HIDDEN else sign
        for sign in text
    )
