"""Numbers as files of text hold them."""

from typing import Any

import numpy as np


def rounded(values: Any, digits: int) -> Any:
    """An array as nested lists of floats with so many significant digits; a number as a float."""
    if np.ndim(values) == 0:
        return float(f"{float(values):.{digits}g}")
    return [rounded(value, digits) for value in values]
