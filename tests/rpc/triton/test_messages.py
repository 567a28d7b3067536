"""Our declarations of Triton's messages, beside those of its own client.

Its protobuf collides with MLServer's in one process, so it is asked in a process of its own.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from mlserver_streaming.rpc.management import entries
from mlserver_streaming.rpc.triton import messages as ours
from mlserver_streaming.rpc.triton.messages import (
    DATA_TYPES,
    ModelConfigResponse,
    ModelRequest,
    ModelStatisticsResponse,
    ModelStreamInferResponse,
)

TRITON = """
import json, sys
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import model_config_pb2, service_pb2

given = json.load(sys.stdin)

def fields(name):
    outer, _, inner = name.partition(".")
    kind = getattr(service_pb2, outer, None) or getattr(model_config_pb2, outer)
    found = kind.DESCRIPTOR.nested_types_by_name[inner] if inner else kind.DESCRIPTOR
    return {
        field.name: [field.number, field.type, field.label == field.LABEL_REPEATED]
        for field in found.fields
    }

def parsed(name):
    kind = getattr(service_pb2, given["theirs"].get(name, name).replace("Request", "Response"))
    message = kind.FromString(bytes.fromhex(given["replies"][name]))
    return MessageToDict(message, preserving_proto_field_name=True)

json.dump(
    {
        "fields": {name: fields(name) for name in given["names"]},
        "replies": {name: parsed(name) for name in given["replies"]},
        "requests": [
            service_pb2.ModelConfigRequest(name="m", version="1").SerializeToString().hex(),
            service_pb2.ModelStatisticsRequest(name="m", version="1").SerializeToString().hex(),
        ],
        "data_types": dict(model_config_pb2.DataType.items()),
    },
    sys.stdout,
)
"""
REPLIES = {
    "ModelStreamInferResponse": ModelStreamInferResponse(
        error_message="no", infer_response=b"\x0a\x01m\x1a\x01r"
    ),
    "ModelConfigResponse": ModelConfigResponse(
        config={
            "name": "m",
            "backend": "python",
            "input": [{"name": "x", "data_type": 13, "dims": [-1]}],
            "output": [{"name": "y", "data_type": 11, "dims": [1, 2]}],
            "model_transaction_policy": {"decoupled": True},
        }
    ),
    "ModelStatisticsResponse": ModelStatisticsResponse(
        model_stats=[
            {"name": "m", "version": "1", "inference_stats": {"success": {"count": 2, "ns": 9}}}
        ]
    ),
    "LogSettings": ours.CLASSES["LogSettings"](
        settings=entries({"log_info": False, "log_verbose_level": 1, "log_file": ""})
    ),
    "TraceSettings": ours.CLASSES["TraceSettings"](
        settings=[{"key": "trace_level", "value": {"value": ["OFF"]}}]
    ),
}
# These are called otherwise there, or are one message for several.
THEIRS = {
    "ModelRequest": "ModelConfigRequest",
    "LogSettings": "LogSettingsRequest",
    "NamedValue": "LogSettingsRequest.SettingsEntry",
    "RepositoryModelRequest": "RepositoryModelLoadRequest",
    "TraceSettings": "TraceSettingRequest",
    "NamedTraceValue": "TraceSettingRequest.SettingsEntry",
    "TraceValue": "TraceSettingRequest.SettingValue",
    "Nothing": "ModelVersionPolicy.All",
    "SharedMemoryName": "SystemSharedMemoryStatusRequest",
    "SystemRegion": "SystemSharedMemoryRegisterRequest",
    "SystemRegionEntry": "SystemSharedMemoryStatusResponse.RegionsEntry",
}


@pytest.fixture(scope="module")
def triton() -> dict[str, Any]:
    """What Triton's client says of its messages, and reads in ours."""
    given = {
        "names": [THEIRS.get(name, name) for name in ours.MESSAGES],
        "theirs": THEIRS,
        "replies": {name: reply.SerializeToString().hex() for name, reply in REPLIES.items()},
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRITON],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ours.MESSAGES)
def test_every_field_has_triton_s_number_and_form(name: str, triton: dict[str, Any]) -> None:
    theirs = triton["fields"][THEIRS.get(name, name)]
    for field, (number, kind, repeated) in ours.MESSAGES[name].items():
        their_number, their_kind, they_repeat = theirs[field]
        assert (number, repeated) == (their_number, they_repeat), field
        assert wire_form(kind) == wire_form(their_kind), field


def wire_form(kind: Any) -> str:
    """What looks alike on the wire: a message and its bytes, an enum and its number."""
    if isinstance(kind, str) or kind in (ours.STRING, ours.BYTES, MESSAGE):
        return "with a length"
    assert kind in (ours.BOOL, ours.INT32, ours.INT64, ours.UINT64, ENUM)
    return "a number"


MESSAGE, ENUM = 11, 14


def test_triton_s_client_reads_our_replies(triton: dict[str, Any]) -> None:
    got = triton["replies"]
    assert got["ModelStreamInferResponse"] == {
        "error_message": "no",
        "infer_response": {"model_name": "m", "id": "r"},
    }
    config = got["ModelConfigResponse"]["config"]
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert config["input"] == [{"name": "x", "data_type": "TYPE_STRING", "dims": ["-1"]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": ["1", "2"]}]
    (statistics,) = got["ModelStatisticsResponse"]["model_stats"]
    assert statistics["inference_stats"] == {"success": {"count": "2", "ns": "9"}}
    assert got["LogSettings"]["settings"] == {
        "log_info": {"bool_param": False},
        "log_verbose_level": {"uint32_param": 1},
        "log_file": {"string_param": ""},
    }
    assert got["TraceSettings"]["settings"] == {"trace_level": {"value": ["OFF"]}}


def test_we_read_its_requests(triton: dict[str, Any]) -> None:
    for sent in triton["requests"]:
        request = ModelRequest.FromString(bytes.fromhex(sent))
        assert (request.name, request.version) == ("m", "1")


def test_every_datatype_has_triton_s_number(triton: dict[str, Any]) -> None:
    named = {"BYTES": "TYPE_STRING"}
    for datatype, number in DATA_TYPES.items():
        assert triton["data_types"][named.get(datatype, f"TYPE_{datatype}")] == number
