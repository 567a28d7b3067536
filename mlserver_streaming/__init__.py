"""How streams are served: MLServer's edges, extended. Knows no model and no tensor's meaning."""
