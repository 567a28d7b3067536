"""Triton's replies on a stream, read without its protobuf, which collides with MLServer's.

ModelStreamInferResponse is {1: string error_message, 2: ModelInferResponse infer_response}; here it
has another name, and the response stays bytes.
"""

from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

_file = FileDescriptorProto(name="benchmarks_reply.proto", package="benchmarks", syntax="proto3")
_optional, _fields = FieldDescriptorProto.LABEL_OPTIONAL, _file.message_type.add(name="Reply").field
_fields.add(name="error", number=1, label=_optional, type=FieldDescriptorProto.TYPE_STRING)
_fields.add(name="response", number=2, label=_optional, type=FieldDescriptorProto.TYPE_BYTES)
_pool: Any = descriptor_pool.Default()
_pool.AddSerializedFile(_file.SerializeToString())
Reply: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("benchmarks.Reply"))


def split_reply(message: bytes) -> tuple[str, bytes]:
    """The error, empty where there is none, and the serialised ModelInferResponse.

    Raises:
        google.protobuf.message.DecodeError: bytes that are no reply in Triton's dialect.
    """
    reply = Reply.FromString(message)
    return reply.error, reply.response


def unwrapped(message: bytes) -> bytes:
    """The serialised ModelInferResponse of a reply."""
    return split_reply(message)[1]


def plain(message: bytes) -> bytes:
    """The same for MLServer's dialect, whose reply is the response itself."""
    return message
