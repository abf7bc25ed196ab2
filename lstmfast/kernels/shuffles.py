"""Squares of numbers turned in registers: LLVM's shuffles of vectors, for simd.py."""

from llvmlite import ir

__all__ = ["LANE", "transposed", "turned_columns"]

I64 = ir.IntType(64)
LANE = 16  # bytes within which all shuffles are cheap


def turned_columns(builder, rows, k, width, align):
    """The columns from k on of rows in memory, as many as there are numbers in LANE bytes.

    Pieces of so many numbers are put into their places as they are read, and only then turned, each
    lane by itself: that takes half the shuffles of a whole square (`transposed`).
    """
    real = rows[0].type.pointee
    count, index = LANE // align, ir.IntType(32)
    piece = ir.VectorType(real, count).as_pointer()

    def read(row):
        p = builder.bitcast(builder.gep(row, [I64(k)]), piece)
        return builder.load(p, align=align)

    def joined(parts):
        if len(parts) == 1:
            return parts[0]
        half = len(parts) // 2
        pair, order = (joined(parts[:half]), joined(parts[half:])), list(range(len(parts) * count))
        return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(index, len(order)), order))

    found, run = [joined([read(row) for row in rows[i::count]]) for i in range(count)], 1
    while run < count:
        pairs = [(found[i], found[i + run]) for i in range(count) if i // run % 2 == 0]
        orders = [_within_lanes(start, run, count, width) for start in (0, count // 2)]
        found = [
            builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(index, width), order))
            for a, b in pairs
            for order in orders
        ]
        run *= 2
    return found


def _within_lanes(start, run, count, width):
    """Runs of one vector and of another by turns, from `start` on in each `count` of numbers."""
    runs = range(start, start + count // 2, run)
    return [
        lane + first + r + of
        for lane in range(0, width, count)
        for first in runs
        for of in (0, width)
        for r in range(run)
    ]


def transposed(builder, rows, width):
    """Turn rows of runs of lanes, as many runs as rows: interleave row i with row i + half."""
    half, run = len(rows) // 2, width // len(rows)
    starts = [start for i in range(half) for start in (i * run, width + i * run)]
    low = [start + r for start in starts for r in range(run)]
    high = [lane + width // 2 for lane in low]
    index = ir.VectorType(ir.IntType(32), width)
    for _ in range(half.bit_length()):
        pairs = [(rows[i], rows[i + half]) for i in range(half)]
        rows = [
            builder.shuffle_vector(a, b, ir.Constant(index, order))
            for a, b in pairs
            for order in (low, high)
        ]
    return rows
