# What editors and type checkers see of the lazy package: tnnquant/__init__.py imports these on first use.
from tnnquant.base.plugins import load_plugin as load_plugin
from tnnquant.bench.api import bench_latency as bench_latency
from tnnquant.bench.api import bench_shares as bench_shares
from tnnquant.config import QuantizeConfig as QuantizeConfig
from tnnquant.config import SearchConfig as SearchConfig
from tnnquant.config import VerifyConfig as VerifyConfig
from tnnquant.engine.executor import Executor as Executor
from tnnquant.errors import TnnQuantError as TnnQuantError
from tnnquant.format import write_model as write_model
from tnnquant.graph import Graph as Graph
from tnnquant.inspect.api import compare as compare
from tnnquant.inspect.api import inspect_model as inspect_model
from tnnquant.onnx.export import export_onnx as export_onnx
from tnnquant.pipeline.api import quantize_model as quantize_model
from tnnquant.pipeline.collect import collect_statistics as collect_statistics
from tnnquant.pipeline.models import read_model as read_model
from tnnquant.pipeline.report import Report as Report
from tnnquant.quantization.quantize import quantize_graph as quantize_graph

__version__: str
