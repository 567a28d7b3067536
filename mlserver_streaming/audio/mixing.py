"""Several channels to one, as their samples come.

It is the mean of all, unless they cancel one another: of a recording whose one channel is the other
upside down (a cable, a microphone) the mean is silence. Then it is the louder one.

    now       the mean has, of what unrelated channels would leave in it     then
    the mean  less than CANCELLED                                            the loudest channel
    a channel more than ADDED                                                the mean

It is looked at in blocks that are counted from the recording's beginning, with those just before in
mind, and not in pauses: so it neither changes with each word nor depends on how the samples were
sent.
"""

import numpy as np
from numpy.typing import NDArray

from .samples import Floats

BLOCK_SECONDS = 0.02
# What a block still counts after the next: a third after a fifth of a second.
MEMORY = 0.9
# A block is a pause with less than a hundredth of the energy of the loudest one, which is forgotten
# in half a minute.
PAUSE, LOUDEST_MEMORY = 0.01, 0.9993
CANCELLED, ADDED = 0.2, 0.5
# Another channel must have so many times the energy to be taken instead.
LOUDER = 4.0


class Mixer:
    """Feed it [n, channels] samples; it gives [n] samples, a block at a time."""

    def __init__(self, rate: int, channels: int):
        """
        Args:
            rate: samples a second.
        """
        self._channels = channels
        self._block = max(1, round(rate * BLOCK_SECONDS))
        self._rest: Floats = np.zeros((0, channels), np.float32)
        self._energy = np.zeros(channels)
        self._mean_energy = self._loudest = 0.0
        self._chosen: int | None = None
        self._began = False

    def feed(self, samples: Floats) -> Floats:
        """The blocks that are whole by now, mixed; of a single channel, all samples."""
        if self._channels == 1:
            return samples.reshape(-1)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % self._block
        self._rest = samples[whole:]
        return self._mixed(samples[:whole].reshape(-1, self._block, self._channels))

    def finish(self) -> Floats:
        """The rest."""
        rest, self._rest = self._rest, self._rest[:0]
        return self._mixed(rest[None]) if len(rest) else np.zeros(0, np.float32)

    def _mixed(self, blocks: Floats) -> Floats:
        """[blocks, n, channels] as [blocks * n]."""
        found: Floats = blocks.mean(axis=2, dtype=np.float32)
        energies = np.square(blocks, dtype=np.float64).sum(axis=1)
        mean_energies = np.square(found, dtype=np.float64).sum(axis=1)
        for at, block in enumerate(blocks):
            before, began = self._chosen, self._began
            self._take(energies[at], float(mean_energies[at]))
            now = self._chosen
            if now is None and before is None:
                continue
            mean = found[at].copy()
            found[at] = mean if now is None else block[:, now]
            if now != before and began:
                # From the one to the other without a click.
                old = mean if before is None else block[:, before]
                found[at] = old + (found[at] - old) * np.linspace(0, 1, len(mean), dtype=np.float32)
        return found.reshape(-1)

    def _take(self, energy: NDArray[np.float64], mean_energy: float) -> None:
        """Listen to a block: which channel is to be taken from it on, None for the mean."""
        loud = float(energy.sum())
        self._loudest = max(self._loudest * LOUDEST_MEMORY, loud)
        if loud <= PAUSE * self._loudest:
            return
        self._began = True
        self._energy = MEMORY * self._energy + energy
        self._mean_energy = MEMORY * self._mean_energy + mean_energy
        total = float(self._energy.sum())
        left = self._mean_energy * self._channels**2 / total
        if left >= (CANCELLED if self._chosen is None else ADDED):
            self._chosen = None
            return
        loudest = int(self._energy.argmax())
        if self._chosen is None or self._energy[loudest] > LOUDER * self._energy[self._chosen]:
            self._chosen = loudest
