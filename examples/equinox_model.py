"""Any Equinox model, unmodified, with a dataset: trained by MeZO in the memory of inference."""

import equinox as eqx
from sklearn.datasets import load_breast_cancer

import evolve
import zeroth
from problems import Classification, Dataset, equinox_network


def make(key):
    return eqx.nn.MLP(30, 2, width_size=32, depth=1, key=key)


data = Dataset.split(*load_breast_cancer(return_X_y=True), held_out=0.3).standardized()
problem = Classification(data, equinox_network(make), batch=64)
optimizer = zeroth.MeZO(population=8, sigma=0.01, learning_rate=0.01)

result = evolve.run(problem, optimizer, seed=0, evaluations=40_000)
print(f"loss {result.loss:.4f}, held-out accuracy {problem.report(result.answer)['accuracy']:.3f}")
