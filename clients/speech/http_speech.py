"""A speech model over HTTP: whole recordings, as binary tensors."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from typing import Any

from ..bytes_tensors import pack
from ..errors import ItemError, ProtocolError
from ..http_model import HttpModel
from .heard import Heard


class HttpSpeech(HttpModel):
    """A speech model behind `infer` and `infer_stream`."""

    async def infer(self, recordings: Sequence[bytes]) -> list[str]:
        """Whole recordings in one request; their transcripts. Raises what `post` raises."""
        response = await self.post("infer", **_request(recordings))
        try:
            outputs = response.json()["outputs"]
            return [str(text) for text in outputs[0]["data"]]
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ProtocolError(f"the answer is no transcript: {response.text[:200]}") from error

    async def stream(
        self, recordings: Sequence[AsyncIterable[bytes]], sample_rate: int | None = None
    ) -> AsyncGenerator[Heard, None]:
        """One recording, gathered whole and sent as one request; what `events` brings."""
        data = b"".join([chunk async for chunk in recordings[0]])
        sent = time.perf_counter()
        async with aclosing(self.events("infer_stream", **_request([data]))) as events:
            async for event in events:
                if (heard := _heard_event(event.data, time.perf_counter() - sent)) is not None:
                    yield heard


def _request(recordings: Sequence[bytes]) -> dict[str, Any]:
    """JSON and the tensor's bytes behind it: the V2 protocol's binary data extension."""
    raw = pack(recordings)
    tensor = {
        "name": "audio",
        "datatype": "BYTES",
        "shape": [len(recordings)],
        "parameters": {"binary_data_size": len(raw)},
    }
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(text)),
    }
    return {"content": text + raw, "headers": headers}


def _heard_event(data: str, latency: float) -> Heard | None:
    try:
        response = json.loads(data)
        found = response.get("parameters") or {}
        if "error" in found:
            error = ItemError(str(found["error"]), found.get("error_code"))
            return Heard(0, "", True, 0, 0.0, latency, error)
        if not response["outputs"]:
            return None
        text = str(response["outputs"][0]["data"][0])
        return Heard(0, text, bool(found["final"]), found["utterance"], found["end"], latency)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ProtocolError(f"an event is no transcript: {data[:200]}") from error
