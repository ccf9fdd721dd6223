"""Boxes from an SSD head: DetectionOutput of Caffe, DetectionPostProcess of TensorFlow Lite (reference, 4.4, 5.7)."""

from __future__ import annotations

from tnnquant.layers.base import Layer, TensorField, TextField, layer, param

__all__ = ["DetectionOutput", "DetectionPostProcess"]


@layer(34, "DetectionOutput")
class DetectionOutput(Layer):
    """Decoded boxes after non-maximum suppression, one row (image, label, score, x0, y0, x1, y1) each."""

    num_classes: int = param(default=0)
    share_location: bool = param("bool", default=False)
    background_label_id: int = param(default=0)
    variance_encoded_in_target: bool = param("bool", default=False)
    code_type: int = param(default=0)
    keep_top_k: int = param(default=0)
    confidence_threshold: float = param("float", default=0.0)
    nms_threshold: float = param("float", default=0.0)
    nms_top_k: int = param(default=0)
    eta: float = param("float", default=0.0)


@layer(197, "DetectionPostProcess")
class DetectionPostProcess(Layer):
    """Boxes, classes, scores and count of an SSD head with anchors."""

    RESOURCE = (TextField(), TensorField("anchors"))

    max_detections: int = param(default=0)
    max_classes_per_detection: int = param(default=0)
    detections_per_class: int = param(default=0)
    use_regular_nms: bool = param("bool", default=False)
    nms_score_threshold: float = param("float", default=0.0)
    nms_iou_threshold: float = param("float", default=0.0)
    num_classes: int = param(default=0)
    y_scale: float = param("float", default=0.0)
    x_scale: float = param("float", default=0.0)
    h_scale: float = param("float", default=0.0)
    w_scale: float = param("float", default=0.0)
    has_anchors: bool = param("bool", default=False)
    num_anchors: int = param(default=0)
    anchors_coord_num: int = param(default=0)
