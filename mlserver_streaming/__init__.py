"""Streaming inference on Seldon's MLServer: how streams are served, for models of anyone's.

`settings.json` names `mlserver_streaming.repository.ModelSettingsRepository`; authors of runtimes
import from `mlserver_streaming.models`. Nothing here knows a model, or what a tensor means.
"""
