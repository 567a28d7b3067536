"""The bare limit of text over SSE: events encoded beforehand, written to an asyncio socket.

`python -m benchmarks.contenders.bare_sse_writer PORT WORDS`: whatever is asked, the same WORDS
events of this project's size, chunk framing and all. asyncio's own loop sends each event as it is
written (uvloop would gather all 200 and send them once, which no stream of a model's words can).
"""

import asyncio
import json
import sys

from ..inputs.text_prompt import prompt

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


def chunks(count: int) -> list[bytes]:
    """One chunk an event, as uvicorn frames them."""
    found = []
    for index, word in enumerate(prompt(count).split(" ")):
        response = {
            "model_name": "text-model",
            "id": "0b5c5d3e-6d0a-4a0e-9a53-7f3a9c5d1e2f",
            "outputs": [
                {
                    "name": "output",
                    "shape": [1],
                    "datatype": "BYTES",
                    "parameters": {"content_type": "str"},
                    "data": [f" {word}" if index else word],
                }
            ],
        }
        event = b"data: " + json.dumps(response, separators=(",", ":")).encode() + b"\n\n"
        found.append(b"%x\r\n%b\r\n" % (len(event), event))
    return found


async def serve(port: int, count: int) -> None:
    """Serve on the loopback until killed."""
    events = chunks(count)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(HEAD)
                for event in events:
                    writer.write(event)
                writer.write(END)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
