"""Lets the tests import `published_names`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
