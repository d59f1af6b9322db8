"""The cheapest one-to-one assignment by shortest augmenting paths (Kuhn, 1955), for the few persons of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign(costs: NDArray[np.float64], most: float) -> list[tuple[int, int]]:
    """Pairs (row, column) with the least sum of `costs` [R, C], each row and column at most once.

    A pair that would cost `most` or more is left out, and rather two cheap pairs than one cheap and one forbidden.
    """
    rows, columns = costs.shape
    if rows == 0 or columns == 0:
        return []
    size = rows + columns
    square = np.full((size, size), most, np.float64)
    square[:rows, :columns] = np.minimum(costs, 2.0 * most)
    square[rows:, columns:] = 0.0
    # Staying alone costs a pair's limit, half of it for each side.
    square[:rows, columns:] = square[rows:, :columns] = 0.5 * most
    taken = _shortest_paths(square)
    return [(r, c) for c, r in enumerate(taken[:columns]) if r < rows and costs[r, c] < most]


def _shortest_paths(costs: NDArray[np.float64]) -> list[int]:
    """For each column of a square matrix its row."""
    size = len(costs)
    row_price, column_price = np.zeros(size + 1), np.zeros(size + 1)
    row_of = np.full(size + 1, size, np.int64)  # column `size` is where every search begins
    for row in range(size):
        row_of[size] = row
        column, least = size, np.full(size, np.inf)
        came_from, done = np.full(size + 1, size, np.int64), np.zeros(size + 1, bool)
        while row_of[column] != size:
            done[column] = True
            here = row_of[column]
            reduced = costs[here] - row_price[here] - column_price[:size]
            better = ~done[:size] & (reduced < least)
            least[better], came_from[:size][better] = reduced[better], column
            after = int(np.where(done[:size], np.inf, least).argmin())
            step = least[after]
            row_price[row_of[done]] += step
            column_price[done] -= step
            least[~done[:size]] -= step
            column = after
        while column != size:
            row_of[column] = row_of[came_from[column]]
            column = int(came_from[column])
    return [int(row) for row in row_of[:size]]
