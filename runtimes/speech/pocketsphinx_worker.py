"""The process of one pocketsphinx decoder; runs as a script and knows nothing of the service.

pocketsphinx holds the interpreter's lock while it works, so each decoder has a process. Requests
come on the socket whose descriptor is the first argument, and the process ends with that socket.

A message, both ways: the lengths of its parts (two little-endian uint32), JSON, int16 samples.

How it hears. Acoustic features are normalised by their mean (CMN). Left alone, the decoder starts
each utterance with a mean of its own and corrects it only after eight seconds, which is why what it
hears live is worse than what it hears whole, and depends on what it heard before. So the mean is
taken from the utterance's first half second before anything is searched, and brought up to date
after each block of 100 ms. The blocks are counted from the utterance's beginning: how its samples
were sent changes nothing, and whole recognition is the same walk in one go.
"""

import json
import re
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

LENGTHS = struct.Struct("<II")
BYTES_A_SAMPLE = 2
BLOCK_BYTES = 1600 * BYTES_A_SAMPLE  # 100 ms
MEAN_BYTES = 5 * BLOCK_BYTES
FRAMES_A_SECOND = 100
# The first pass alone: the second one (fwdflat) costs time at the end, when somebody waits, and did
# not hear better.
OPTIONS = {"fwdflat": False, "loglevel": "FATAL"}
ALTERNATIVE = re.compile(r"\(\d+\)$")  # "was(2)": another way to say "was"


class Ear:
    """One decoder, one utterance after another: `start`, `feed` as often as you like, `finish`."""

    def __init__(self, decoder: Any):
        self._decoder = decoder
        self._searching = False
        self.start()

    def start(self) -> None:
        """A new utterance; one under way is forgotten."""
        if self._searching:
            self._decoder.end_utt()
        self._pending = bytearray()
        self._searching = False

    def feed(self, data: bytes) -> None:
        self._pending += data
        if not self._searching and len(self._pending) >= MEAN_BYTES:
            self._begin()
        if self._searching:
            whole = len(self._pending) - len(self._pending) % BLOCK_BYTES
            for at in range(0, whole, BLOCK_BYTES):
                self._search(bytes(self._pending[at : at + BLOCK_BYTES]))
            del self._pending[:whole]

    def text(self) -> str:
        """What was said so far."""
        found = self._decoder.hyp() if self._searching else None
        return found.hypstr if found else ""

    def finish(self) -> dict[str, Any]:
        """The whole utterance's text and words, times in seconds."""
        if not self._searching:
            if not self._pending:
                return {"text": "", "words": []}
            self._begin()
        if self._pending:
            self._search(bytes(self._pending))
        self._decoder.end_utt()
        self._searching = False
        found = self._decoder.hyp()
        words = []
        for segment in (self._decoder.seg() or []) if found else []:
            word = ALTERNATIVE.sub("", segment.word)
            if word[0] not in "<[+":  # silence and noises
                start, end = segment.start_frame, segment.end_frame + 1
                times = [start / FRAMES_A_SECOND, end / FRAMES_A_SECOND]
                words.append([word, *times, min(1.0, segment.prob)])
        self.start()
        return {"text": found.hypstr if found else "", "words": words}

    def _begin(self) -> None:
        decoder = self._decoder
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(bytes(self._pending[:MEAN_BYTES]), no_search=True)
        mean = decoder.get_cmn(True)
        decoder.end_utt()
        decoder.reinit_feat()
        decoder.set_cmn(mean)
        decoder.start_utt()
        self._searching = True

    def _search(self, block: bytes) -> None:
        self._decoder.process_raw(block)
        self._decoder.get_cmn(True)


def answer(ear: Ear, request: dict[str, Any], samples: bytes) -> dict[str, Any]:
    """What the process says to one request."""
    match request["do"]:
        case "start":
            ear.start()
            return {}
        case "feed":
            ear.feed(samples)
            return {"text": ear.text()}
        case "finish":
            return ear.finish()
        case "recognise":
            ear.start()
            ear.feed(samples)
            return ear.finish()
    raise ValueError(f"unknown request {request!r}")


def main() -> None:
    # A terminal's Ctrl-C goes to the whole group; the service decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, options = int(sys.argv[1]), json.loads(sys.argv[2])
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as incoming:
        from pocketsphinx import Decoder

        def send(message: dict[str, Any]) -> None:
            text = json.dumps(message).encode()
            connection.sendall(LENGTHS.pack(len(text), 0) + text)

        try:
            ear = Ear(Decoder(**{**OPTIONS, **options}))
        except Exception as error:
            send({"error": f"{type(error).__name__}: {error}"})
            return
        with suppress(OSError):  # nobody is left to be told, nor will anybody ask
            send({"ready": True})
        while head := incoming.read(LENGTHS.size):
            text, samples = (incoming.read(length) for length in LENGTHS.unpack(head))
            try:
                send(answer(ear, json.loads(text), samples))
            except OSError:  # nobody is left to be told
                return


if __name__ == "__main__":
    main()
