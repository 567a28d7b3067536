"""What a stream said: its responses taken down, and as compact bytes.

recorded    one response of a run
texts       responses in a row that are one text each, as tokens come
recording   a run's responses as bytes, and back
packing     the same as one payload

The cache remembers such, and streams that can be resumed are kept so. It knows no wire, not who
asked, and not what a tensor means.
"""
