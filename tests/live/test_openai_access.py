"""OpenAI's routes with keys, under another prefix; and with TLS, from worker processes."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.live.keyed import Keyed, keyed_service
from tests.live.openai_service import MODELS, client, user
from tests.live.tls import TlsService

PREFIX = "/openai/v1"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("openai-keys") / "service"
    with keyed_service(folder, openai={"prefix": PREFIX}) as running:
        yield running


def asked(keyed: Keyed, name: str) -> openai.OpenAI:
    return client(keyed.service, keyed.secrets.get(name, "mls_wrong"), PREFIX)


def ask(found: openai.OpenAI, model: str = "text-model") -> str | None:
    answer = found.chat.completions.create(
        model=model, messages=user("a b"), extra_body={"delay": 0}
    )
    return answer.choices[0].message.content


@pytest.mark.parametrize("name", ["infer", "limited", "jwt.infer", "jwt.limited"])
def test_a_key_or_a_token_is_the_clients_api_key(keyed: Keyed, name: str) -> None:
    with asked(keyed, name) as found:
        assert ask(found) == "a b"


@pytest.mark.parametrize("name", ["wrong", "expired", "jwt.expired", "jwt.forged"])
def test_without_one_it_is_a_401_in_openais_form(keyed: Keyed, name: str) -> None:
    with asked(keyed, name) as found:
        for call in (ask, lambda each: each.models.list()):
            with pytest.raises(openai.AuthenticationError) as raised:
                call(found)
            assert raised.value.code == "invalid_api_key"


def test_without_a_role_it_is_a_403(keyed: Keyed) -> None:
    with asked(keyed, "jwt.none") as found, pytest.raises(openai.PermissionDeniedError) as raised:
        ask(found)
    assert raised.value.code == "permission_denied"


def test_a_response_is_its_callers_alone(keyed: Keyed) -> None:
    with asked(keyed, "infer") as mine, asked(keyed, "jwt.infer") as other:
        made = mine.responses.create(model="text-model", input="a b", background=True)
        for call in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
            with pytest.raises(openai.NotFoundError):
                call(made.id)
        mine.responses.delete(made.id)


@pytest.mark.parametrize("name", ["limited", "jwt.limited", "limited admin"])
def test_what_a_key_may_not_see_is_not_there(keyed: Keyed, name: str) -> None:
    with asked(keyed, name) as found:
        assert [model.id for model in found.models.list()] == ["text-model"]
        for call in (
            lambda: found.models.retrieve("jpeg-model"),
            lambda: ask(found, "jpeg-model"),
            lambda: ask(found, "no-model"),
            lambda: found.audio.transcriptions.create(model="speech-model", file=b"RIFF"),
        ):
            with pytest.raises(openai.NotFoundError) as raised:
                call()
            assert raised.value.code == "model_not_found"


def test_the_prefix_is_a_setting(keyed: Keyed) -> None:
    headers = keyed.headers["infer"]
    with httpx.Client(base_url=keyed.service.url, headers=headers) as http:
        assert http.get(f"{PREFIX}/models").status_code == 200
        assert http.get("/v1/models").json() == {
            "error": "There is nothing at /v1/models; GET /v2/docs shows what there is."
        }
        document = http.get("/v2/docs/dataplane.json").json()
    assert f"{PREFIX}/chat/completions" in document["paths"]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsService]:
    folder: Path = tmp_path_factory.mktemp("openai-tls") / "service"
    made = TlsService(folder, parallel_workers=2)
    models = folder / "model-settings"
    for model in models.iterdir():  # each would be loaded twice, and is not asked
        if model.name != "text-model":
            shutil.rmtree(model)
    shutil.copytree(MODELS, models, dirs_exist_ok=True)
    with made.service:
        yield made


@pytest.mark.parametrize("model", ["language", "text-model", "two-texts"])
def test_over_tls_from_workers(secure: TlsService, model: str) -> None:
    trusted = openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=secure.ca))
    with client(secure.service, http_client=trusted) as found:
        chunks = list(
            found.chat.completions.create(
                model=model, messages=user("a b"), stream=True, extra_body={"delay": 0}
            )
        )
        with pytest.raises(openai.BadRequestError, match="'temperature'"):
            found.chat.completions.create(model=model, messages=user("a"), temperature=3)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == ("question: a b" if model == "two-texts" else "a b")
    assert chunks[-1].choices[0].finish_reason == "stop"
