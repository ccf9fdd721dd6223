"""What chooses scales: errors of histograms for many scales at once, widths of weights, moments of taps; look-ups."""

from __future__ import annotations

import numpy as np

from tnnquant.bench.cases.convolution_i8 import codes
from tnnquant.bench.operators import OTHER, Operator, Prepared, operator
from tnnquant.kernels import octave_errors as octaves
from tnnquant.kernels.largest_products import largest_products, largest_products_naive
from tnnquant.kernels.lookup_i8 import lookup_i8, lookup_i8_naive
from tnnquant.kernels.octave_errors import octave_errors, octave_errors_naive
from tnnquant.kernels.octaves import octave_edges
from tnnquant.kernels.tap_moments import tap_moments, tap_moments_naive


@operator("octave_errors")
class OctaveErrors(Operator):
    computes = "Rounding and clipping errors of many candidate scales at once, read off octave histograms."
    naive = staticmethod(octave_errors_naive)
    # slots, bins, trials
    cases = {"21 slots, 3 scales": (21, 90, 3), "512 slots, 16 scales": (512, 120, 16)}
    writes = (-2, -1)
    tolerance, why = 1e-9, "sums over bins are taken from running sums"
    unit = OTHER

    def make(self, rng: np.random.Generator, slots: int, bins: int, trials: int) -> tuple:
        counts, first = rng.integers(0, 9, (slots, bins)).astype(np.float32), 400
        rows = rng.integers(first - 200, first, (slots, trials)).astype(np.int32)
        tables = octaves._moments(), octaves._rounding_table(), octaves._last_bins(127)
        return counts, first, rows, octave_edges()[1:-1].copy(), 127, *tables, *np.zeros((2, slots, trials))

    def builtin(
        self, counts: np.ndarray, first: int, rows: np.ndarray, scales: np.ndarray, levels: int, moments: np.ndarray,
        table: np.ndarray, ends: np.ndarray, rounding: np.ndarray, clipping: np.ndarray,
    ) -> Prepared:  # fmt: skip
        def call() -> None:
            made = octave_errors(counts, first, rows, levels)
            np.copyto(rounding, made[0])
            np.copyto(clipping, made[1])

        return Prepared(call=call)

    def work(self, counts: np.ndarray, first: int, rows: np.ndarray, *rest: object) -> int:
        return int(counts.size * rows.shape[1])


@operator("largest_products")
class LargestProducts(Operator):
    computes = "For every row and trial the largest product of magnitudes and factors."
    naive = staticmethod(largest_products_naive)
    # rows, columns, trials
    cases = {"33 of 27, 5 vectors": (33, 27, 5), "256 of 1152, 16 vectors": (256, 1152, 16)}
    unit = OTHER

    def make(self, rng: np.random.Generator, rows: int, columns: int, trials: int) -> tuple:
        arrays = [rng.random(shape, np.float32) for shape in ((rows, columns), (columns, trials))]
        return *arrays, np.empty((rows, trials), np.float32)

    def builtin(self, magnitudes: np.ndarray, factors: np.ndarray, largest: np.ndarray) -> Prepared:
        return Prepared(call=lambda: np.copyto(largest, largest_products(magnitudes, factors)))

    def work(self, magnitudes: np.ndarray, factors: np.ndarray, largest: np.ndarray) -> int:
        return int(magnitudes.size * factors.shape[1])


@operator("tap_moments")
class TapMoments(Operator):
    computes = "Second moments of the taps of convolution windows, per channel, in int32."
    naive = staticmethod(tap_moments_naive)
    # windows, taps, channels
    cases = {"50 windows of 9, 17": (50, 9, 17), "3072 windows of 9, 96": (3072, 9, 96)}
    unit = OTHER

    def make(self, rng: np.random.Generator, windows: int, taps: int, channels: int) -> tuple:
        return codes(rng, (windows, taps, channels)), np.empty((channels, taps, taps), np.int32)

    def builtin(self, windows: np.ndarray, moments: np.ndarray) -> Prepared:
        return Prepared(call=lambda: np.copyto(moments, tap_moments(windows)))

    def work(self, windows: np.ndarray, moments: np.ndarray) -> int:
        return int(windows.size * windows.shape[1])


@operator("lookup_i8")
class LookupI8(Operator):
    computes = "int8 to int8 through a table of 256 values per channel."
    naive = staticmethod(lookup_i8_naive)
    cases = {"odd sizes": (35, 17), "64 at 56": (56 * 56, 64), "1000 values": (1, 1000)}

    def make(self, rng: np.random.Generator, pixels: int, channels: int) -> tuple:
        return codes(rng, (pixels, channels)), codes(rng, (channels, 256)), np.empty((pixels, channels), np.int8)

    def builtin(self, x: np.ndarray, table: np.ndarray, out: np.ndarray) -> Prepared:
        return Prepared(call=lambda: lookup_i8(x[None, :, None], table, out[None, :, None]))
