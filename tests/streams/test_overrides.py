"""What a load may change of a model's settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.settings import ModelSettings

from mlserver_streaming.streams.model_config import model_config
from mlserver_streaming.streams.overrides import Overrides, check_unload

SETTINGS = ModelSettings(
    name="m",
    implementation=MLModel,
    inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
    outputs=[{"name": "y", "datatype": "BYTES", "shape": [-1]}],
)
MODEL = MLModel(SETTINGS)


def applied(config: Any, loaded: MLModel | None = MODEL) -> ModelSettings:
    text = config if isinstance(config, str) else json.dumps(config)
    return Overrides.of_load("m", {"config": text}).applied(SETTINGS, loaded)


def test_what_is_named_changes_and_the_rest_stays() -> None:
    found = applied(
        {
            "max_batch_size": 8,
            "dynamic_batching": {"max_queue_delay_microseconds": 2500},
            "response_cache": {"enable": True},
        }
    )
    assert (found.max_batch_size, found.max_batch_time, found.cache_enabled) == (8, 0.0025, True)
    assert (found.name, found.inputs) == (SETTINGS.name, SETTINGS.inputs)
    assert found.implementation_ == SETTINGS.implementation_
    assert SETTINGS.max_batch_size == 0 and not SETTINGS.cache_enabled


def test_a_configuration_that_was_read_can_be_sent_back() -> None:
    config = model_config(MODEL)
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_STRING", "dims": [-1]}]
    assert applied(config | {"max_batch_size": 4}).max_batch_size == 4
    # As protobuf's JSON has it: large numbers are text, and what is nothing may be there.
    config["input"][0] |= {"dims": ["-1", "3"], "format": "FORMAT_NONE", "optional": False}
    config |= {"instance_group": [], "version_policy": {"all": {}}, "default_model_filename": ""}
    assert applied(config) == SETTINGS


@pytest.mark.parametrize(
    ("config", "status", "words"),
    [
        ("", 400, "JSON object"),
        ("[]", 400, "JSON object"),
        ("{", 400, "JSON object"),
        ({"max_batch_size": -1}, 400, "'max_batch_size' must be"),
        ({"max_batch_size": "many"}, 400, "'max_batch_size' must be"),
        ({"max_batch_size": True}, 400, "'max_batch_size' must be"),
        ({"max_batch_size": 2**31}, 400, "'max_batch_size' must be"),
        ({"dynamic_batching": 1}, 400, "'dynamic_batching' of 'config'"),
        ({"dynamic_batching": {"priority_levels": 2}}, 501, "priority_levels"),
        ({"response_cache": {"enable": 1}}, 400, "true or false"),
        ({"name": "other"}, 501, "'name'"),
        ({"backend": "onnxruntime"}, 501, "'backend'"),
        ({"input": []}, 501, "'input'"),
        ({"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}]}, 501, "'input'"),
        ({"parameters": {"a": {"string_value": "b"}}}, 501, "'parameters'"),
        ({"instance_group": [{"count": 2}]}, 501, "'instance_group'"),
        ({"model_transaction_policy": {"decoupled": True}}, 501, "'model_transaction_policy'"),
        ({"what\nis this": 1}, 501, "cannot be asked to change"),
    ],
)
def test_what_cannot_be_changed_is_refused_by_name(config: Any, status: int, words: str) -> None:
    with pytest.raises(MLServerError, match=words) as raised:
        applied(config)
    assert raised.value.status_code == status
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


def test_files_are_not_taken() -> None:
    with pytest.raises(MLServerError, match=r"put '1/model\.onnx' into its folder") as raised:
        Overrides.of_load("m", {"config": "{}", "file:1/model.onnx": "AAAA"})
    assert raised.value.status_code == 501


@pytest.mark.parametrize("parameters", [{"configuration": "{}"}, {"config": 7}, {"config": None}])
def test_other_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(MLServerError) as raised:
        Overrides.of_load("m", parameters)
    assert raised.value.status_code == 400


def test_a_model_that_is_not_loaded_can_be_told_the_same() -> None:
    assert applied({"name": "m", "max_batch_size": 2}, None).max_batch_size == 2
    with pytest.raises(MLServerError, match="'backend'"):
        applied({"backend": "python"}, None)


def test_unloading_has_one_parameter() -> None:
    check_unload({})
    check_unload({"unload_dependents": True})
    for parameters in ({"unload_dependents": "yes"}, {"unload_dependent": True}):
        with pytest.raises(MLServerError) as raised:
            check_unload(parameters)
        assert raised.value.status_code == 400
