"""Weights of interpolating polynomials under an integral: what the Adams-Bashforth family needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def integrals(nodes: Sequence[float], a: float, b: float, density: Callable[[Any], Any] = np.ones_like) -> list[float]:
    """Return the integrals from a to b of density(u) L_j(u) du, L_j the Lagrange polynomials on `nodes`.

    Gauss-Legendre with 16 points: exact for polynomials up to degree 31.
    """
    points, weights = np.polynomial.legendre.leggauss(16)
    u = (b - a) / 2 * points + (a + b) / 2
    w = (b - a) / 2 * weights * density(u)
    rows = [np.prod([(u - m) / (n - m) for m in nodes if m != n], axis=0) for n in nodes]
    return [float(np.sum(w * row)) for row in rows]
