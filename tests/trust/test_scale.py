"""Memory does not grow with the number of pictures."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import save_pictures

_PEAK = """
import resource, sys
from tnnquant.api import quantize_model
from tnnquant.config import QuantizeConfig, VerifyConfig
proto, model, pictures, output = sys.argv[1:]
quantize_model(proto, model, pictures, output, QuantizeConfig(blob_method="kl"), verify=VerifyConfig(no_verify=True))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes, from Linux")
def test_5000_pictures_take_the_memory_of_64(case, tmp_path):
    folders = {}
    for count in (64, 5000):
        folders[count] = tmp_path / str(count)
        save_pictures(folders[count], min(count, 64))
    firsts = sorted(folders[5000].iterdir())
    for number in range(5000 - len(firsts)):
        os.link(firsts[number % len(firsts)], folders[5000] / f"link{number}.png")
    peaks = {}
    for count, folder in folders.items():
        command = [sys.executable, "-c", _PEAK, *map(str, (case.proto, case.model, folder, tmp_path / "out"))]
        peaks[count] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peaks[5000] < 1.1 * peaks[64]
