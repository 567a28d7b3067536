"""Real time: how many cameras, how many streams of tokens, before p99 lateness passes 100 ms.

Server and client share two cores, as they would on one small machine; the client is the same for
all.
"""

from collections.abc import Mapping, Sequence

from ..contenders import contenders as named
from ..contenders.contenders import KSERVE, OURS, OURS_OTHER_GRPC, STOCK
from ..contenders.peer_servers import model_of, starts
from ..inputs.frames import frame_requests, frames
from ..loads.paced_load import Items, Tokens, paced_fit
from ..loads.samples import Target
from .asked import HTTP_ONLY, STREAMING, events, messages, upload, way
from .measured import Call, Case, Plan, Row, measured, of_both
from .stock_model_rows import BOTH, both

FPS, TOKENS_A_SECOND = 25.0, 30.0
FIRST_CAMERAS, FIRST_STREAMS = 8, 64
# A search takes as long as many windows; there is one for so many rounds of the other rows.
WINDOWS = 3
# More than the default 256 streams at once is asked of ours here.
MANY_STREAMS = {"limits": {"streams": 8192}}


def paced(plan: Plan) -> list[Row]:
    """Cameras, and streams of tokens."""
    # A stream lasts as long as it is watched, and not much longer: who does not see that its client
    # has gone works on.
    prompt = f"{TOKENS_A_SECOND:g} {int(TOKENS_A_SECOND * (plan.paced_seconds + 0.5))}"
    pace = f"token streams at {TOKENS_A_SECOND:g}/s"

    run = (plan.paced_seconds, plan.most_streams)

    def tokens(way: str, request: bytes) -> Call:
        return (paced_fit, way, Tokens, [request], TOKENS_A_SECOND, FIRST_STREAMS, *run)

    def frames_of(way: str, requests: Sequence[bytes]) -> Call:
        return (paced_fit, way, Items, requests, FPS, FIRST_CAMERAS, *run)

    sse = {
        who: tokens("http", events(who, "ticker", prompt).request)
        for who in (OURS, STOCK, named.TRITON, *HTTP_ONLY, named.BY_HAND_SSE)
    }
    grpc = {who: tokens(way(who), messages(who, "ticker", prompt).request) for who in STREAMING}
    cameras = {
        who: frames_of(way(who), frame_requests(model_of(who, "jpeg")))
        for who in STREAMING
        if who != OURS_OTHER_GRPC
    }
    cameras[KSERVE] = frames_of("unary", frame_requests("jpeg"))
    for who in HTTP_ONLY:
        uploads = [upload(who, "jpeg", each, bool).request for each in frames()]
        cameras[who] = frames_of("http", uploads)
    # Of both the same model.
    same = dict.fromkeys(BOTH, sse[STOCK])
    tickers = starts("ticker", *sse, *grpc, workers=2, streaming=MANY_STREAMS)
    fps = _case(f"cameras at {FPS:g} fps", "camera", cameras)
    found = measured(plan, starts("jpeg", *cameras, workers=2), [fps], shared=True)
    cases = [_case(f"{pace}, SSE", "stream", sse), _case(f"{pace}, gRPC", "stream", grpc)]
    found += measured(plan, tickers, cases, shared=True)
    unchanged = _case(f"a stock model, unchanged, {pace}, SSE", "stream", same)
    alike = both("ticker", streaming=MANY_STREAMS)
    return found + measured(plan, alike, [unchanged], shared=True)


def _case(title: str, unit: str, calls: Mapping[str, Call]) -> Case:
    others = [who for who in calls if who not in (OURS, OURS_OTHER_GRPC)]
    targets = of_both(*(Target(who, at_least=1.0, figure="most") for who in others))
    return Case(f"paced, {title}", unit, calls, targets, windows=WINDOWS)
