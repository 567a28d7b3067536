"""The bare limit of text over SSE: events encoded beforehand, written to an asyncio socket.

`python sse_writer.py PORT [turns]`: whatever is asked, the same words as events of this project's
size, chunk framing and all. asyncio's own loop sends each event as it is written (uvloop would
gather all 200 and send them once, which no stream of a model's words can); `turns` gives the loop a
turn after each, as a server must that is fair to its other streams.
"""

import asyncio
import sys

from benchmarks.inputs.text_prompt import pieces, prompt
from benchmarks.peers.by_hand.sse_server import event

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


async def serve(port: int, turns: bool) -> None:
    """Serve on the loopback until killed."""
    events = [event("text-model", word) for word in pieces(prompt())]
    chunks = [b"%x\r\n%b\r\n" % (len(each), each) for each in events]  # as uvicorn frames them

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(HEAD)
                for chunk in chunks:
                    writer.write(chunk)
                    if turns:
                        await asyncio.sleep(0)
                writer.write(END)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), "turns" in sys.argv))
