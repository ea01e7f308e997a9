"""Train a network without backpropagation: 64-32-10 on handwritten digits, with OpenAI-ES."""

import evolve
from evolve.run import progress_bar
from problems import Digits

problem, evaluations, population = Digits(), 40_000, 64
optimizer = evolve.OpenES(
    population,
    sigma=0.1,
    learning_rate=evolve.Cosine(0.02, 0.0, evaluations // population),
    # Rank-one perturbations are never formed: a population costs little more than plain inference.
    perturbation=evolve.Antithetic(evolve.LowRank(1)),
)

with progress_bar("digits") as bar:
    result = evolve.run(problem, optimizer, seed=0, evaluations=evaluations, watch=[bar])

report = problem.report(result.answer)
print(f"loss {result.loss:.3f}, held-out accuracy {report['accuracy']:.3f}, {result.seconds:.1f} s")
