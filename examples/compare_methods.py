"""Compare methods fairly: same starts, same budget, several seeds; a gradient counts as three evaluations."""

import optax

import evolve
import zeroth
from problems import Function

comparison = evolve.compare(
    Function("ackley", dimension=10, rotation=1),
    {
        "CMA-ES": evolve.CMAES(sigma=10.0),
        "OpenAI-ES": evolve.OpenES(population=32, sigma=1.0, learning_rate=0.3),
        "SPSA": zeroth.SPSA(sigma=0.1, learning_rate=1.0),
        "Adam": evolve.Gradient(optax.adam(0.3)),
    },
    seeds=3,
    evaluations=10_000,
)

print(comparison)
print("report:", comparison.save("runs/compare-ackley") / "report.html")
