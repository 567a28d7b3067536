"""Streams that outlive their connection: kept, heard again, gone on with elsewhere."""
