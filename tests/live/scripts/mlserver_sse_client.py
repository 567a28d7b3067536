"""A stock MLServer user's SSE client: MLServer's types and codecs over httpx-sse."""

import sys

import httpx
from httpx_sse import connect_sse
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

url, model = sys.argv[1:]
request = InferenceRequest.model_validate(
    {
        "inputs": [
            {
                "name": "prompt",
                "shape": [1],
                "datatype": "BYTES",
                "data": ["What is the capital of France?"],
                "parameters": {"content_type": "str"},
            }
        ],
        "outputs": [{"name": "output"}],
        # The sample has none; without it the words come at the model's pace.
        "parameters": {"delay": 0},
    }
)
with (
    httpx.Client() as client,
    connect_sse(
        client, "POST", f"{url}/v2/models/{model}/generate_stream", json=request.model_dump()
    ) as source,
):
    for event in source.iter_sse():
        response = InferenceResponse.model_validate_json(event.data)
        print(StringCodec.decode_output(response.outputs[0]))
