"""Any Flax model, unmodified, with a dataset: evolved, not backpropagated."""

from flax import linen as nn
from sklearn.datasets import load_wine

import evolve
from problems import Classification, Dataset, flax_network


class Net(nn.Module):
    """One hidden layer, normalized."""

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.relu(nn.Dense(32)(x)))
        return nn.Dense(3)(x)


data = Dataset.split(*load_wine(return_X_y=True), held_out=0.3).standardized()
problem = Classification(data, flax_network(Net(), example=data.inputs), batch=None)
optimizer = evolve.OpenES(sigma=0.1, learning_rate=0.05, perturbation=evolve.Antithetic(evolve.LowRank(1)))

result = evolve.run(problem, optimizer, seed=0, evaluations=50_000)
print(f"loss {result.loss:.4f}, held-out accuracy {problem.report(result.answer)['accuracy']:.3f}")
