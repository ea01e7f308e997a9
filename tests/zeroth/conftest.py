"""Many small programs, each of which runs for some generations only."""

import pytest


@pytest.fixture(autouse=True)
def _quickly(unoptimized):
    """For all of this folder."""
