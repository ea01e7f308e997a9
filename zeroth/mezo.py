"""Memory-efficient zeroth-order optimization (Malladi et al. 2023, arXiv:2305.17333)."""

from evolve.core.estimator import Estimator
from evolve.core.schedule import Number


class MeZO(Estimator):
    """MeZO: one Gaussian pair a step, the raw difference, plain descent (Malladi et al. 2023, algorithm 1).

    Made for fine-tuning large models in the memory of inference: nothing is kept but the parameters, and the
    direction is drawn again for the update from the very key that it was probed with. The weights are never
    perturbed in place, so nothing drifts.

    Parameters
    ----------
    population
        Twice the number of pairs averaged a step; even.
    sigma
        The probe radius (the paper's epsilon), > 0, or a schedule.
    learning_rate
        > 0, or a schedule; 0.01 if neither it nor `update` is given. Smaller than a gradient method's by about
        the number of parameters that matter.
    perturbation, shaping, update, weight_decay
        As in `Estimator`; `update=optax.adam(...)` gives the paper's MeZO-Adam (appendix B.2).

    Time a step: O(population x size); memory O(size).
    """

    sigma: Number = 1e-3
