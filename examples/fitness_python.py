"""Your own fitness in plain Python, which JAX cannot trace: it runs on the host, on any executor if you like.

For processes: ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")); JAX's threads survive no fork.
"""

from concurrent.futures import ThreadPoolExecutor

import evolve


def tracking_error(gains):
    """Mean distance of a damped spring from its goal, driven for 10 s by a PID controller with these gains."""
    p, i, d = (float(gain) for gain in gains)
    position = speed = total = error = 0.0
    for _ in range(200):
        miss = 1.0 - position
        total += 0.05 * miss
        force = p * miss + i * total - d * speed
        force = max(-5.0, min(5.0, force))  # the motor's limit
        speed += 0.05 * (force - position - 0.3 * speed)
        position += 0.05 * speed
        error += abs(miss) / 200
    return error


if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:  # or processes, dask, MPI: whatever has submit()
        search, workers = evolve.CMAES(sigma=1.0), evolve.Workers(pool)
        result = evolve.minimize(tracking_error, [1.0, 0.0, 0.0], search, host=True, backend=workers, evaluations=700)
    print(f"loss {result.loss:.4f} with gains {[round(float(gain), 2) for gain in result.answer]}")
