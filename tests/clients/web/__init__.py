"""clients/web/streaming.js under Node."""
