"""The JPEG row once more, through the client that users copy: clients/jpeg_stream.py."""

from collections.abc import Iterator
from itertools import cycle

from clients.jpeg_stream import JpegStream

from ..contenders.process import Target
from ..inputs.frames import frames, is_right_frame
from .load_window import AnswerError, Tally
from .samples import Sample


async def client_frames(target: Target, in_flight: int, seconds: float) -> Sample:
    """JPEG bytes in, JPEG bytes out, `in_flight` on the wire."""
    async with JpegStream(port=target.grpc, in_flight=in_flight) as stream:
        lengths = []
        for index, frame in enumerate(frames()):
            answer = await stream(frame)
            if not is_right_frame(index, answer):
                raise AnswerError(f"frame {index} is wrong")
            lengths.append(len(answer))
        tally = Tally(target.pid, seconds)

        def while_open() -> Iterator[bytes]:
            for frame in cycle(frames()):
                if not tally.is_open():
                    return
                yield frame

        async for image in stream.map(while_open()):
            if not isinstance(image, bytes):
                raise image
            if len(image) != lengths[tally.responses % len(lengths)]:
                raise AnswerError(f"frame {tally.responses} has {len(image)} bytes")
            tally.responses += 1
            tally.received_bytes += len(image)
        return tally.close()
