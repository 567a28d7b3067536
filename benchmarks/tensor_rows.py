"""FP32 1x3x640x640 in, three numbers out, over one gRPC stream."""

from functools import partial

from .contenders import BARE, OURS, STOCK, bare, ours, stock
from .grpc_load import grpc_messages
from .load_process import LoadProcess
from .rows import PINNED, Plan, Row
from .samples import alternate, ratio
from .tensor_request import is_right_answer, tensor_request

MODEL = "tensor"
MODES = {"lockstep": 1, "8 in flight": 8}
STOCK_TARGET, BARE_TARGET = 15.0, 0.85


def tensor(plan: Plan) -> list[Row]:
    """Messages a second, 4.9 MB each."""
    request = [tensor_request(MODEL)]
    with (
        ours(plan.folder / "tensor-ours", plan.server_cores, MODEL) as our_server,
        stock(plan.folder / "tensor-stock", plan.server_cores, MODEL) as stock_server,
        bare(plan.folder / "tensor-bare", plan.server_cores) as bare_server,
        LoadProcess(plan.client_cores) as load,
    ):
        servers = {OURS: our_server, STOCK: stock_server, BARE: bare_server}
        rows = []
        for mode, in_flight in MODES.items():
            samples = alternate(
                plan.rounds,
                {
                    who: partial(
                        load.measure,
                        server,
                        grpc_messages,
                        request,
                        is_right_answer,
                        in_flight,
                        plan.seconds,
                    )
                    for who, server in servers.items()
                },
            )
            ratios = (
                ratio(samples, OURS, STOCK, at_least=STOCK_TARGET),
                ratio(samples, OURS, BARE, at_least=BARE_TARGET),
            )
            rows.append(Row(f"FP32 tensor, gRPC, {mode}", "message", PINNED, samples, ratios))
        return rows
