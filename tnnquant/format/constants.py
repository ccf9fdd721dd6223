"""Every number and word of the file formats that is not a layer's own, by name."""

from __future__ import annotations

# --- both files ---

MAGIC_V1 = 0x0FABC0002
MAGIC_V2 = 0x0FABC0004
MAGICS = (MAGIC_V1, MAGIC_V2)
MAGIC_MASK = 0xFFFFFFFF
"""The magic is an unsigned 32-bit number, in the proto printed in decimal."""

MAX_DIM = 0x7FFFFFFF
"""Dims, counts and lengths are signed 32-bit numbers."""

MAX_ITEMS = 50_000
"""Layers, blob names, constants: TNN has no limit. This one, far beyond any real model, bounds the time and memory that
a small hostile file can cost."""

# --- .tnnproto ---

PROTO_SUFFIX = ".tnnproto"
PROTO_START = b'"1 '
"""How every proto that TNN writes begins."""

SEPARATOR = b","
IGNORED_BYTES = b'"\n'
"""Deleted from the whole text before anything is split."""

TRIMMED_BYTES = bytes(range(0x21))
"""Blanks and control characters vanish at both ends of a segment."""

HEADER_SEGMENT, INPUT_SEGMENT, BLOB_SEGMENT, OUTPUT_SEGMENT, COUNT_SEGMENT, FIRST_LAYER_SEGMENT = range(6)
MIN_SEGMENTS = 6
HEADER_MAGIC_TOKEN = 3

MAX_SEGMENT_BYTES = 4095
"""TNN cuts longer segments off, and then reads beyond the tokens of a layer that was cut."""

MAX_PROTO_BYTES = 16 << 20
"""A net of ten thousand layers takes two megabytes; anything beyond this is no proto."""

QUANTIZED_PREFIX = "Quantized"
DYNAMIC_RANGE_PREFIX = "DynamicRangeQuantized"

# --- .tnnmodel ---

MODEL_SUFFIX = ".tnnmodel"
INT_BYTES = 4

COUNT_MASK = 0x1FFFFFFF
"""Older files keep flags in the top three bits of the resource count."""

RESOURCE_LIMIT = 10000
"""TNN takes fewer resources than this."""

MIN_TYPE_ID, MAX_TYPE_ID = 0, 10000

MIN_HEADER_BYTES = 2 * INT_BYTES
"""Of a resource: the type number and the length of the name (legacy layout)."""

MIN_BUFFER_BYTES = 3 * INT_BYTES
"""Of a raw buffer: magic, data type, length 0."""

MIN_CONSTANT_BYTES = INT_BYTES + MIN_BUFFER_BYTES

BLOB_SCALE_TYPE_ID = 600
BLOB_SCALE_TYPE = "BlobScale"
BLOB_SCALE_SUFFIX = "_scale_data_"

TYPE_IDS_WITHOUT_BODY = frozenset((5, 7, 39, 41, 125, 130, 141, 147, 176, 309, 322, 324, 325, 327))
"""Types that TNN runs but has no resource reader for, so that it cannot know where a body ends: an error there."""
