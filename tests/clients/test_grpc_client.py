import asyncio
import subprocess
import sys
import threading

import grpc
import pytest
from click.testing import CliRunner

from clients.credentials import Credentials
from clients.errors import ItemError, NoResponseError, RefusedError, SourceError, UnreachableError
from clients.grpc_client import GrpcTextClient, main
from tests.clients.responses import element, failed_response, raw_response


def speak(requests, context):
    """Each word of each prompt is a response; the prompt "fail" fails alone."""
    for request in requests:
        prompt = element(request.raw_input_contents[0]).decode()
        if prompt == "fail":
            yield failed_response(request.id, "cannot say that", 422)
            continue
        for index, word in enumerate(prompt.split(" ")):
            text = word if index == 0 else f" {word}"
            yield raw_response(request.id, "output", text.encode())


def refuse(requests, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "There is no model 'x' here.")
    yield


def break_off(requests, context):
    yield raw_response(next(requests).id, "output", b"one")
    context.abort(grpc.StatusCode.INTERNAL, "the model\nbroke")


async def words(port: int, prompt: str, **options) -> list[str]:
    async with GrpcTextClient(port=port, **options) as client:
        return [word async for word in client.words(prompt)]


async def test_words_of_one_prompt(serve_grpc):
    assert await words(serve_grpc(speak), "What  is ☃") == ["What", " ", " is", " ☃"]


async def test_the_key_goes_with_the_call(serve_grpc):
    seen = []

    def record(requests, context):
        seen.append(dict(context.invocation_metadata()))
        return speak(requests, context)

    assert await words(serve_grpc(record), "a", credentials=Credentials("k", "t")) == ["a"]
    assert (seen[0]["x-api-key"], seen[0]["authorization"]) == ("k", "Bearer t")


async def test_parameters_and_model_go_along(serve_grpc):
    seen = []

    def record(requests, context):
        seen.extend(requests)
        return iter(())

    async with GrpcTextClient(port=serve_grpc(record), model="m") as client:
        assert [word async for word in client.words("x", {"delay": 0.5})] == []
    assert (seen[0].model_name, seen[0].parameters["delay"].string_param) == ("m", "0.5")


async def test_several_prompts_on_one_stream(serve_grpc):
    async with GrpcTextClient(port=serve_grpc(speak)) as client:
        responses = [r async for r in client.responses(["a b", "fail", "c"])]
    assert [(r.id, r.text) for r in responses] == [("0", "a"), ("0", " b"), ("1", ""), ("2", "c")]
    assert str(responses[2].error) == "cannot say that (error 422)"


async def test_a_response_comes_before_the_next_prompt_is_sent(serve_grpc):
    """Like a conversation: the second prompt exists only after the first answer."""
    answered = asyncio.Event()

    async def prompts():
        yield "first"
        await answered.wait()
        yield "second"

    texts = []
    async with GrpcTextClient(port=serve_grpc(speak), timeout=5) as client:
        async for response in client.responses(prompts()):
            texts.append(response.text)
            answered.set()
    assert texts == ["first", "second"]


async def test_a_failed_prompt_raises_from_words(serve_grpc):
    with pytest.raises(ItemError, match="cannot say that"):
        await words(serve_grpc(speak), "fail")


async def test_a_refused_call(serve_grpc):
    with pytest.raises(RefusedError, match="NOT_FOUND: There is no model 'x' here"):
        await words(serve_grpc(refuse), "x")


async def test_an_error_in_the_middle(serve_grpc):
    received = []
    async with GrpcTextClient(port=serve_grpc(break_off)) as client:
        with pytest.raises(RefusedError, match="INTERNAL: the model broke"):
            async for word in client.words("x"):
                received.append(word)
    assert received == ["one"]


async def test_nobody_there(closed_port):
    with pytest.raises(UnreachableError, match=f"nobody answers at 127.0.0.1:{closed_port}"):
        await words(closed_port, "x")


async def test_silence_is_a_timeout(serve_grpc):
    over = threading.Event()

    def wait(requests, context):
        context.add_callback(over.set)
        over.wait(5)
        yield from ()

    with pytest.raises(NoResponseError, match=r"within 0\.05 s"):
        await words(serve_grpc(wait), "x", timeout=0.05)


async def test_an_error_of_the_prompts_is_what_is_raised(serve_grpc):
    async def prompts():
        yield "a"
        raise SourceError("no more")

    async with GrpcTextClient(port=serve_grpc(speak)) as client:
        with pytest.raises(SourceError, match="no more"):
            async for _ in client.responses(prompts()):
                pass


def run(port: int, *arguments: str, **options):
    return CliRunner().invoke(main, ["--port", str(port), *arguments], **options)


def test_the_command_prints_a_line_for_each_prompt(serve_grpc):
    result = run(serve_grpc(speak), "What is it?", "Who knows")
    assert (result.exit_code, result.stdout) == (0, "What is it?\nWho knows\n")


def test_the_command_goes_on_after_a_failed_prompt_and_says_so(serve_grpc):
    result = run(serve_grpc(speak), "a b", "fail", "c")
    assert (result.exit_code, result.stdout) == (1, "a b\nc\n")
    assert result.stderr == "Error: prompt 1: cannot say that (error 422)\n"


def test_the_command_reads_one_prompt_from_standard_input(serve_grpc):
    result = run(serve_grpc(speak), input="two\nlines\n")
    assert (result.exit_code, result.stdout) == (0, "two\nlines\n")


def test_the_command_streams_the_lines_of_standard_input(serve_grpc):
    command = [sys.executable, "-m", "clients.grpc_client", "--stdin-lines"]
    result = subprocess.run(
        [*command, "--port", str(serve_grpc(speak))],
        input="a b\nc\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "a b\nc\n", "")


def test_the_command_takes_lines_or_arguments(closed_port):
    assert run(closed_port, "--stdin-lines", "x").exit_code == 2


def test_the_command_tells_of_an_error_on_a_line_of_its_own(serve_grpc):
    result = run(serve_grpc(break_off), "x")
    assert (result.exit_code, result.stdout) == (1, "one\n")
    assert result.stderr == "Error: the server answered INTERNAL: the model broke\n"


def test_the_command_tells_of_a_refused_connection(closed_port):
    result = run(closed_port, "x")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: nobody answers at 127.0.0.1:{closed_port}")
    assert result.stderr.count("\n") == 1
