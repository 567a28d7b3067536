"""The core: one stream from its first request to its last response, whatever its wire.

Routing, ids, turns, limits, deadlines, drain, collecting, and which models are in use. It knows no
wire, and is given its cache and its worker pools (`extension.py` puts them together) instead of
importing them.
"""
