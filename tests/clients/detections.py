"""Responses of a model that finds objects."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from mlserver.grpc.dataplane_pb2 import InferParameter, ModelInferResponse

OUTPUT = ModelInferResponse.InferOutputTensor


def detections_response(
    request_id: str,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str] | None = None,
    track_ids: Sequence[int] | None = None,
) -> ModelInferResponse:
    count = len(boxes)
    response = ModelInferResponse(
        id=request_id,
        outputs=[
            OUTPUT(name="num_dets", datatype="INT32", shape=[1]),
            OUTPUT(name="boxes", datatype="FP32", shape=[count, 4]),
            OUTPUT(name="scores", datatype="FP32", shape=[count]),
            OUTPUT(name="classes", datatype="INT32", shape=[count]),
        ],
        raw_output_contents=[
            np.array([count], np.int32).tobytes(),
            np.array(boxes, np.float32).tobytes(),
            np.full(count, 0.5, np.float32).tobytes(),
            np.arange(count, dtype=np.int32).tobytes(),
        ],
    )
    if labels is not None:
        response.parameters["labels"].CopyFrom(InferParameter(string_param=json.dumps(labels)))
    if track_ids is not None:
        response.outputs.add(name="track_ids", datatype="INT64", shape=[count])
        response.raw_output_contents.append(np.array(track_ids, np.int64).tobytes())
    return response
