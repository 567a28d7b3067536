"""The command `mlserver-streaming`: quick help, and texts that name the command that was run."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from mlserver_streaming.cli.command import SUB_COMMANDS, main

HEAVY = {"mlserver", "grpc", "cv2", "numpy", "pydantic", "httpx", "av"}


def run(*arguments: str) -> str:
    ended = CliRunner().invoke(main, arguments, prog_name="mlserver-streaming")
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
    return ended.output


def test_help_names_every_sub_command_and_imports_none() -> None:
    code = (
        "import sys; from mlserver_streaming.cli.command import main\n"
        "try: main(['--help'])\n"
        f"finally: print(sorted({HEAVY} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"
    for name, command in SUB_COMMANDS.items():
        assert f"  {name} " in said.stdout
        assert command.help in said.stdout


@pytest.mark.parametrize("name", SUB_COMMANDS)
def test_help_of_a_sub_command_names_it(name: str) -> None:
    said = run(name, "--help")
    assert said.startswith(f"Usage: mlserver-streaming {name} ")
    assert "python -m" not in said


def test_text_has_two_clients_each_with_its_own_options() -> None:
    over_rest, over_grpc = run("text", "--help"), run("text", "--grpc", "--help")
    assert "8080" in over_rest and "--raw" in over_rest and "--stdin-lines" not in over_rest
    assert "8081" in over_grpc and "--stdin-lines" in over_grpc and "--raw" not in over_grpc
    assert over_grpc.startswith("Usage: mlserver-streaming text --grpc ")


def test_a_prompt_behind_two_dashes_is_no_option() -> None:
    # Nobody listens on that port: the REST client was asked, and says so.
    said = run("text", "--port", "1", "--", "--grpc")
    assert said.startswith("Error: nobody answers at 127.0.0.1:1")
    assert "ipv4" not in said


def test_an_unknown_sub_command_is_told() -> None:
    assert "No such command 'serve'" in run("serve")


def test_the_version_is_the_distribution_s_and_the_engine_s() -> None:
    ours, mlserver = version("mlserver-streaming"), version("mlserver")
    assert run("--version") == f"mlserver-streaming {ours}, on mlserver {mlserver}\n"
