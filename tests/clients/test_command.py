import click
import pytest
from click.testing import CliRunner

from clients import demo, grpc_client, sse_client, video_client
from clients.command import reported, server_options
from clients.errors import SourceError


@click.command()
@server_options(port=8080, model="text-model")
def show(host, port, model, timeout):
    click.echo(f"{host} {port} {model} {timeout}")


def test_defaults_flags_and_environment():
    runner = CliRunner()
    assert runner.invoke(show).output == "127.0.0.1 8080 text-model 30.0\n"
    environment = {"CLIENT_HOST": "h", "CLIENT_PORT": "1", "CLIENT_MODEL": "m"}
    assert runner.invoke(show, env=environment | {"CLIENT_TIMEOUT": "2"}).output == "h 1 m 2.0\n"
    assert runner.invoke(show, ["--port", "3"], env=environment).output == "h 3 m 30.0\n"


@pytest.mark.parametrize("flags", [["--port", "0"], ["--timeout", "0"], ["--port", "x"]])
def test_bad_values_are_usage_errors(flags):
    assert CliRunner().invoke(show, flags).exit_code == 2


@pytest.mark.parametrize("client", [sse_client, grpc_client, video_client, demo])
def test_help_names_an_environment_variable_for_every_flag(client):
    flags = [option for option in client.main.params if isinstance(option, click.Option)]
    assert flags
    assert all(str(flag.envvar).startswith("CLIENT_") and flag.show_envvar for flag in flags)
    output = CliRunner().invoke(client.main, ["--help"]).output
    assert all(str(flag.envvar) in output for flag in flags)


def test_an_error_is_one_line_on_stderr():
    @click.command()
    def fail():
        with reported():
            raise SourceError("there is no file\nx")

    result = CliRunner().invoke(fail)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no file x\n"
