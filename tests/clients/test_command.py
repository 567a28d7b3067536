import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clients import demo, grpc_client, speech_client, sse_client, video_client
from clients.command import reported, server_options
from clients.credentials import Credentials
from clients.errors import SourceError
from clients.tls import Tls


@click.command()
@server_options(port=8080, model="text-model")
def show(host, port, model, timeout, tls, credentials):
    click.echo(f"{host} {port} {model} {timeout}")


def test_defaults_flags_and_environment():
    runner = CliRunner()
    assert runner.invoke(show).output == "127.0.0.1 8080 text-model 30.0\n"
    environment = {"CLIENT_HOST": "h", "CLIENT_PORT": "1", "CLIENT_MODEL": "m"}
    assert runner.invoke(show, env=environment | {"CLIENT_TIMEOUT": "2"}).output == "h 1 m 2.0\n"
    assert runner.invoke(show, ["--port", "3"], env=environment).output == "h 3 m 30.0\n"


def test_each_of_several_protocols_has_its_own_port():
    @click.command()
    @server_options(port={"grpc": 1, "http": 2}, model="m")
    def show_port(port, **_others):
        click.echo(repr(port))

    runner = CliRunner()
    assert runner.invoke(show_port).output == "None\n"
    assert runner.invoke(show_port, ["--port", "3"]).output == "3\n"
    assert "grpc 1, http 2" in runner.invoke(show_port, ["--help"]).output


@click.command()
@server_options(port=8080, model="text-model")
def show_tls(tls, **_others):
    click.echo(repr(tls))


@pytest.mark.parametrize(
    ("flags", "environment", "wanted"),
    [
        ([], {}, None),
        (["--tls"], {}, Tls()),
        (["--ca", "a.pem"], {}, Tls(Path("a.pem"))),
        (["--cert", "c.pem"], {}, Tls(None, Path("c.pem"))),
        (
            ["--ca", "a.pem", "--cert", "c.pem", "--key", "c.key"],
            {},
            Tls(Path("a.pem"), Path("c.pem"), Path("c.key")),
        ),
        ([], {"CLIENT_TLS": "1"}, Tls()),
        (
            [],
            {"CLIENT_CA": "a.pem", "CLIENT_CERT": "c.pem", "CLIENT_KEY": "c.key"},
            Tls(Path("a.pem"), Path("c.pem"), Path("c.key")),
        ),
        ([], {"CLIENT_TLS": "0"}, None),
    ],
)
def test_tls_is_one_value(flags, environment, wanted):
    assert CliRunner().invoke(show_tls, flags, env=environment).output == f"{wanted!r}\n"


@click.command()
@server_options(port=8080, model="text-model")
def show_credentials(credentials, **_others):
    click.echo(json.dumps(credentials.headers()))


@pytest.mark.parametrize(
    ("flags", "environment", "headers"),
    [
        ([], {}, {}),
        ([], {"CLIENT_API_KEY": "", "CLIENT_BEARER": ""}, {}),
        (["--api-key", "k"], {}, {"x-api-key": "k"}),
        (["--bearer", "t"], {}, {"authorization": "Bearer t"}),
        (
            ["--bearer", "t"],
            {"CLIENT_API_KEY": "k", "CLIENT_BEARER": "no"},
            {"x-api-key": "k", "authorization": "Bearer t"},
        ),
    ],
)
def test_credentials_are_one_value(flags, environment, headers):
    output = CliRunner().invoke(show_credentials, flags, env=environment).output
    assert json.loads(output) == headers


@pytest.mark.parametrize("secret", ["sesame\n", "sésame", "open sesame"])
def test_a_secret_that_cannot_be_sent_is_not_quoted(secret):
    for variable in ("CLIENT_API_KEY", "CLIENT_BEARER"):
        result = CliRunner().invoke(show_credentials, env={variable: secret})
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: the ")
        assert "same" not in result.output


def test_a_secret_does_not_show():
    credentials = Credentials("sesame", "sesame")
    assert "sesame" not in repr(credentials)
    environment = {"CLIENT_API_KEY": "sesame", "CLIENT_BEARER": "sesame"}
    result = CliRunner().invoke(sse_client.main, ["--help"], env=environment)
    assert (result.exit_code, "sesame" in result.output) == (0, False)


def test_a_key_needs_its_certificate():
    result = CliRunner().invoke(show_tls, ["--tls", "--key", "c.key"])
    assert (result.exit_code, "--key goes with --cert" in result.stderr) == (2, True)


@pytest.mark.parametrize("flags", [["--port", "0"], ["--timeout", "0"], ["--port", "x"]])
def test_bad_values_are_usage_errors(flags):
    assert CliRunner().invoke(show, flags).exit_code == 2


@pytest.mark.parametrize("client", [sse_client, grpc_client, video_client, speech_client, demo])
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
