"""The messages of Triton's gRPC dialect that MLServer's protobuf lacks.

A second `inference.*` file would collide with MLServer's in the descriptor pool, so these are
declared under a package of our own: names are not on the wire, field numbers are, and are Triton's:
https://github.com/triton-inference-server/common/tree/main/protobuf
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "mlserver_streaming.triton"

_Field = descriptor_pb2.FieldDescriptorProto
STRING, BYTES, BOOL = _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_BOOL
INT32, INT64, UINT64 = _Field.TYPE_INT32, _Field.TYPE_INT64, _Field.TYPE_UINT64

# message: {field: (number, type or message, repeated)}
MESSAGES: dict[str, dict[str, tuple[int, Any, bool]]] = {
    # A `bytes` field looks on the wire as a message does: ModelInferResponse, already serialised.
    "ModelStreamInferResponse": {
        "error_message": (1, STRING, False),
        "infer_response": (2, BYTES, False),
    },
    "ModelRequest": {"name": (1, STRING, False), "version": (2, STRING, False)},
    "ModelInput": {
        "name": (1, STRING, False),
        "data_type": (2, INT32, False),
        "dims": (4, INT64, True),
    },
    "ModelOutput": {
        "name": (1, STRING, False),
        "data_type": (2, INT32, False),
        "dims": (3, INT64, True),
    },
    "ModelTransactionPolicy": {"decoupled": (1, BOOL, False)},
    "ModelVersionPolicy": {"all": (2, "Nothing", False)},
    "ModelDynamicBatching": {"max_queue_delay_microseconds": (2, UINT64, False)},
    "ModelResponseCache": {"enable": (1, BOOL, False)},
    "ModelConfig": {
        "name": (1, STRING, False),
        "platform": (2, STRING, False),
        "version_policy": (3, "ModelVersionPolicy", False),
        "max_batch_size": (4, INT32, False),
        "input": (5, "ModelInput", True),
        "output": (6, "ModelOutput", True),
        "dynamic_batching": (11, "ModelDynamicBatching", False),
        "backend": (17, STRING, False),
        "model_transaction_policy": (19, "ModelTransactionPolicy", False),
        "response_cache": (24, "ModelResponseCache", False),
    },
    "ModelConfigResponse": {"config": (1, "ModelConfig", False)},
    "StatisticDuration": {"count": (1, UINT64, False), "ns": (2, UINT64, False)},
    "InferStatistics": {
        "success": (1, "StatisticDuration", False),
        "fail": (2, "StatisticDuration", False),
        "queue": (3, "StatisticDuration", False),
        "compute_input": (4, "StatisticDuration", False),
        "compute_infer": (5, "StatisticDuration", False),
        "compute_output": (6, "StatisticDuration", False),
        "cache_hit": (7, "StatisticDuration", False),
        "cache_miss": (8, "StatisticDuration", False),
    },
    "InferBatchStatistics": {
        "batch_size": (1, UINT64, False),
        "compute_input": (2, "StatisticDuration", False),
        "compute_infer": (3, "StatisticDuration", False),
        "compute_output": (4, "StatisticDuration", False),
    },
    "ModelStatistics": {
        "name": (1, STRING, False),
        "version": (2, STRING, False),
        "last_inference": (3, UINT64, False),
        "inference_count": (4, UINT64, False),
        "execution_count": (5, UINT64, False),
        "inference_stats": (6, "InferStatistics", False),
        "batch_stats": (7, "InferBatchStatistics", True),
    },
    "ModelStatisticsResponse": {"model_stats": (1, "ModelStatistics", True)},
    # A map is on the wire what a list of its entries is. The values of these are on the wire what
    # MLServer's InferParameter is, which knows whether there is one.
    "NamedValue": {"key": (1, STRING, False), "value": (2, BYTES, False)},
    "LogSettings": {"settings": (1, "NamedValue", True)},
    "RepositoryModelRequest": {
        "model_name": (2, STRING, False),
        "parameters": (3, "NamedValue", True),
    },
    "TraceValue": {"value": (1, STRING, True)},
    "NamedTraceValue": {"key": (1, STRING, False), "value": (2, "TraceValue", False)},
    "TraceSettings": {
        "settings": (1, "NamedTraceValue", True),
        "model_name": (2, STRING, False),
    },
    # CUDA's registrations have other fields, which nobody here reads.
    "SharedMemoryName": {"name": (1, STRING, False)},
    "SystemRegion": {
        "name": (1, STRING, False),
        "key": (2, STRING, False),
        "offset": (3, UINT64, False),
        "byte_size": (4, UINT64, False),
    },
    "SystemSharedMemoryStatusResponse": {"regions": (1, "SystemRegionEntry", True)},
    "SystemRegionEntry": {
        "key": (1, STRING, False),
        "value": (2, "SystemRegion", False),
    },
    "Nothing": {},
}

# Triton's DataType numbers; BYTES is called TYPE_STRING there.
DATA_TYPES = {
    "BOOL": 1,
    "UINT8": 2,
    "UINT16": 3,
    "UINT32": 4,
    "UINT64": 5,
    "INT8": 6,
    "INT16": 7,
    "INT32": 8,
    "INT64": 9,
    "FP16": 10,
    "FP32": 11,
    "FP64": 12,
    "BYTES": 13,
    "BF16": 14,
}


def _declared() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="mlserver_streaming/triton.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            declared = message.field.add(name=field, number=number)
            declared.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                declared.type = _Field.TYPE_MESSAGE
                declared.type_name = f".{PACKAGE}.{kind}"
            else:
                declared.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


CLASSES = _declared()
ModelStreamInferResponse = CLASSES["ModelStreamInferResponse"]
ModelRequest = CLASSES["ModelRequest"]
ModelConfig = CLASSES["ModelConfig"]
ModelConfigResponse = CLASSES["ModelConfigResponse"]
ModelStatistics = CLASSES["ModelStatistics"]
ModelStatisticsResponse = CLASSES["ModelStatisticsResponse"]
