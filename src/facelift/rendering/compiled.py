"""Loops over pixels and triangles in machine code, kept on disk after the first call."""

import inspect
from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by Numba. Unwrapped first: the tests' type checker wraps every function of the package."""
    return numba.njit(cache=True, fastmath=True)(inspect.unwrap(function))
