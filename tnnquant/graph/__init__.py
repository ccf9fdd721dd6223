"""What a model is: nodes, tensors and scales, the shapes that follow from them, and the rewrites of one graph into
another."""

from tnnquant.graph.graph import Graph, InputSpec, Node, QuantParams, Resource, StandIn

__all__ = ["Graph", "InputSpec", "Node", "QuantParams", "Resource", "StandIn"]
