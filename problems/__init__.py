"""Problems to search: test functions, and networks on data."""

from evolve.core.noise import Averaged, CommonRandomNumbers, IndependentNoise
from evolve.core.problem import Problem, wrap
from problems.bbob import BBOB
from problems.bbob_catalog import BBOB_FUNCTIONS, BBOBFunction
from problems.catalog import FUNCTIONS, Formula
from problems.classification import Classification, Regression
from problems.datasets import Dataset
from problems.digits import Digits
from problems.functions import Function
from problems.networks import Network, equinox_network, flax_network, mlp, nnx_network
from problems.readers import read_idx, read_npz
from problems.tables import read_csv

__all__ = [
    "BBOB",
    "BBOB_FUNCTIONS",
    "FUNCTIONS",
    "Averaged",
    "BBOBFunction",
    "Classification",
    "CommonRandomNumbers",
    "Dataset",
    "Digits",
    "Formula",
    "Function",
    "IndependentNoise",
    "Network",
    "Problem",
    "Regression",
    "equinox_network",
    "flax_network",
    "mlp",
    "nnx_network",
    "read_csv",
    "read_idx",
    "read_npz",
    "wrap",
]
