"""The same statistics gathered by the workers of a Dask scheduler: each maps parts of the samples, which are merged.

The workers see model and samples under the same paths as this process (a shared file system), and run the same version
of tnnquant. A worker that dies costs time, not results: its parts are done again by others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tnnquant.config import QuantizeConfig
from tnnquant.errors import CalibrationError, ConfigError, InputError
from tnnquant.format.files import read_file
from tnnquant.inputs import Samples, scan
from tnnquant.inputs.grouping import group_files
from tnnquant.pipeline.models import model_files, open_model
from tnnquant.pipeline.settings import graph_inputs, input_config
from tnnquant.quantization.calibrate import make_observers
from tnnquant.quantization.parts import Part, gather, merge, model_digest, require_complete
from tnnquant.quantization.parts_file import dump_part, load_part
from tnnquant.quantization.plan import QuantPlan
from tnnquant.quantization.quantize import plan_graph

if TYPE_CHECKING:
    from distributed import Client

    from tnnquant.base.progress import Progress
    from tnnquant.engine.executor import Executor
    from tnnquant.graph import InputSpec

__all__ = ["gather_distributed", "split_files"]

#: Parts per worker thread: a slow or dead one then holds up the others little.
_PARTS_A_THREAD = 4
#: Seconds that a scheduler may take to answer.
_PATIENCE = 15

#: Kernels of one process run one model at a time, whatever number of threads its Dask worker has.
_turn = threading.Lock()


@dataclass(frozen=True)
class _Job:
    """What a worker needs: picklable, and small."""

    proto: str
    model: str | None
    digest: str
    config: QuantizeConfig
    files: tuple[str, ...]
    before: bytes


def gather_distributed(
    address: str,
    proto: str | os.PathLike,
    model: str | os.PathLike | None,
    inputs: str | os.PathLike | Sequence,
    config: QuantizeConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    unseen: Sequence[str | os.PathLike] = (),
) -> Part:
    """All passes over the samples, on a Dask cluster.

    Parameters
    ----------
    address : str
        Of the scheduler: ``tcp://host:8786``.
    proto, model : path
        Of an .onnx the second is None.
    inputs : path or sequence of path
        As for :func:`tnnquant.quantize_model`.
    config : QuantizeConfig, optional
    progress : callable (stage, done, total), optional
        Told of samples, as parts are done.
    unseen : sequence of path
        Some of the inputs that a second model is made without: ``without`` of the result are the statistics of the
        others.

    Raises
    ------
    ConfigError
        Dask is not installed, or no scheduler answers.
    TnnQuantError
        What a worker met; the first one ends the run.
    """
    config = config or QuantizeConfig()
    source = model_files(proto, model)
    places = os.path.abspath(proto), None if model is None else os.path.abspath(model)
    digest = model_digest([read_file(path) for path in source])
    given, (graph, config) = config, open_model(source, config)
    files, specs = scan(inputs), graph_inputs(graph, config)
    _, plan = plan_graph(graph, config)
    with _connected(address) as client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise ConfigError(f"the scheduler at {address} has no workers; start some with `dask worker`")
        aside = {Path(path) for path in unseen}
        chunks = split_files([path for path in files if path not in aside], specs, _PARTS_A_THREAD * threads)
        others = len(chunks)
        chunks += split_files([path for path in files if path in aside], specs, threads) if aside else []
        before, without = b"", []
        while True:
            jobs = [_Job(*places, digest, given, chunk, before) for chunk in chunks]
            parts = _mapped(client, jobs, progress)
            part = merge(parts, plan)
            if not part.samples:
                raise InputError(f"none of the {len(part.skipped)} calibration files can be used: {part.skipped[0]}")
            require_complete(part)
            without += [merge(parts[:others], plan)] if aside else []
            if part.is_last:
                return replace(part, without=_joined(without, plan))
            before = dump_part(part)


def split_files(files: Sequence[Path], specs: Mapping[str, InputSpec], count: int) -> list[tuple[str, ...]]:
    """Files in at most ``count`` groups of whole samples and whole batches, in order, as absolute paths."""
    sources = group_files(files, specs)
    rows = {spec.dims[0] for spec in specs.values()}
    batch = rows.pop() if len(rows) == 1 else 1
    batches = -(-len(sources) // batch)
    size = -(-batches // min(count, batches)) * batch
    return [
        tuple(os.path.abspath(path) for source in sources[start : start + size] for _, path in source.files)
        for start in range(0, len(sources), size)
    ]


def _connected(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("a scheduler needs Dask: pip install 'tnnquant[dask]'") from None
    try:
        return Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"no Dask scheduler answers at {address!r}: {reason}") from None


def _joined(passes: Sequence[Part], plan: QuantPlan) -> Part | None:
    """The last of the passes, with the statistics of those blobs that it did not look at from the passes before: parts
    carry these on, but as they are of all samples."""
    if not passes or not passes[-1].samples:
        return None
    last = {name: passes[observer.passes - 1].states[name] for name, observer in make_observers(plan).items()}
    return replace(passes[-1], states=last)


def _mapped(client: Client, jobs: list[_Job], progress: Progress | None) -> list[Part]:
    from distributed import KilledWorker, as_completed

    futures = client.map(_gather_part, jobs, pure=False)
    total, done, parts = sum(len(job.files) for job in jobs), 0, {}
    try:
        for future in as_completed(futures, loop=client.loop):
            number = futures.index(future)
            parts[number] = load_part(future.result(), f"part {number + 1}")
            done += len(jobs[number].files)
            if progress:
                progress("ranges" if parts[number].number == 0 else "histograms", done, total)
    except KilledWorker as error:
        raise CalibrationError(
            f"Dask gave up on a part of the samples: the workers that tried it died ({error}); have they enough memory?"
        ) from None
    finally:
        client.cancel(futures)
    return [parts[number] for number in range(len(jobs))]


def _gather_part(job: _Job) -> bytes:
    """On a worker: the file of one part."""
    with _turn:
        executor, plan, config = _prepared(job.proto, job.model, job.digest, job.config)
        files = [Path(path) for path in job.files]
        samples = Samples(files, graph_inputs(executor.graph, config), input_config(config))
        before = load_part(job.before, "the pass before") if job.before else None
        return dump_part(gather(executor, plan, samples, job.digest, config, before=before, may_be_empty=True))


def _prepared(
    proto: str, model: str | None, digest: str, config: QuantizeConfig
) -> tuple[Executor, QuantPlan, QuantizeConfig]:
    if model_digest([read_file(path) for path in model_files(proto, model)]) != digest:
        raise InputError(f"{proto}: a worker sees another model under this path than the one who asked")
    return _planned(proto, model, digest, _Key(config))


class _Key:
    """A configuration as a key: it holds a dict, which has no hash."""

    def __init__(self, config: QuantizeConfig):
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.config == other.config

    def __hash__(self) -> int:
        return hash(repr(self.config))


@lru_cache(maxsize=1)
def _planned(proto: str, model: str | None, digest: str, key: _Key) -> tuple[Executor, QuantPlan, QuantizeConfig]:
    """The model made ready, and the configuration by the graph's own names of its inputs."""
    graph, config = open_model(model_files(proto, model), key.config)
    executor, plan = plan_graph(graph, config)
    return executor, plan, config
