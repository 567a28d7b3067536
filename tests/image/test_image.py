"""The image: it asks for keys, serves what it can run, writes nowhere, and drains."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.image.container import ASK, ENGINE, Container, engine, labels
from tests.live.keyed import add_key
from tests.live.service import ROOT

OPEN = ("--env", "STREAMING_AUTH__KEYS_FILE=null")
PROMPT = "What is the capital of France?"
DEPLOYMENT = ROOT / "deploy" / "kubernetes" / "base" / "deployment.yaml"
EXTRAS = os.environ.get("EXTRAS", "")
ALWAYS = {"jpeg-model", "motion", "text-model"}
BY_EXTRA = {"video": "detector", "speech": "speech-model", "language": "language-model"}


@pytest.fixture(scope="module")
def running() -> Iterator[Container]:
    with Container(*OPEN) as container:
        print(f"\nready {container.wait_until_ready():.1f} s after it was started")
        yield container


def test_it_says_what_it_is() -> None:
    found = labels()
    assert found["title"] == "mlserver-streaming" and found["licenses"] == "Apache-2.0"
    assert f'version = "{found["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert re.fullmatch(r"[0-9a-f]{40}", found["revision"])
    assert "python" in found["base.name"]
    size = engine("image", "inspect", "--format", "{{.Size}}", os.environ["IMAGE_TEST"])
    print(f"\n{int(size) / 1e6:.0f} MB")


def test_without_keys_it_does_not_start_unless_told() -> None:
    with Container() as container:
        assert container.wait() != 0
        assert "/etc/streaming/keys.json cannot be used" in container.log()
        assert "Traceback" not in container.log()


def test_with_keys_it_asks_for_one(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "operator", "--role", "admin")
    (tmp_path / "keys.json").chmod(0o644)  # the image's user is another
    with Container("--volume", f"{tmp_path}/keys.json:/etc/streaming/keys.json:ro") as container:
        container.wait_until_ready()
        assert container.ask("/v2/models/text-model")[0] == 401
        assert container.ask("/v2/models/text-model", f"x-api-key: {key}")[0] == 200


def test_it_serves_what_it_can_run(running: Container) -> None:
    models = ALWAYS | {BY_EXTRA[extra] for extra in EXTRAS.split(",") if extra in BY_EXTRA}
    found = running.run("sh", "-c", "cat model-settings/*/model-settings.json")
    assert set(re.findall(r'^  "name": "(.*?)"', found, re.MULTILINE)) == models
    for model in models:
        assert running.ask(f"/v2/models/{model}/ready")[0] == 200


def test_it_can_reach_a_store_of_streams(running: Container) -> None:
    running.run("python", "-c", "import redis, hiredis")


def test_its_user_writes_nowhere_but_in_tmp(running: Container) -> None:
    assert running.run("id", "-u").strip() == "10001"
    for place in ("/app", "/app/model-settings", "/home/service", "/etc/streaming"):
        assert "refused" in running.run("sh", "-c", f"touch {place}/x || echo refused")
    running.run("touch", "/tmp/x")


def test_a_stop_drains() -> None:
    with Container(*OPEN) as container:
        container.wait_until_ready()
        command = [ENGINE, "exec", container.name, "python", "-c", ASK, f"stream:{PROMPT}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stream:
            assert stream.stdout is not None
            first = [stream.stdout.readline(), stream.stdout.readline()]
            assert first[0] == "200\n"
            engine("stop", "--time", "40", container.name)
            rest = stream.stdout.read().splitlines()
        events = [line.removeprefix("data: ") for line in [first[1], *rest] if line.strip()]
        assert "".join(json.loads(event)["text_output"] for event in events) == PROMPT
        assert container.status() == 0


def test_podman_runs_the_manifest_for_kubernetes(tmp_path: Path) -> None:
    """One replica, since podman gives its ports to the machine; and keys as a ConfigMap, since
    podman 4.3 does not decode what is in a Secret. In a network of its own."""
    if ENGINE.rpartition("/")[2] != "podman":
        pytest.skip("docker has no `kube play`")
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("a network of its own for podman takes root and unshare")
    key = add_key(tmp_path / "keys.json", "operator", "--role", "infer")
    manifest = yaml.safe_load(DEPLOYMENT.read_text())
    manifest["spec"]["replicas"] = 1
    pod = manifest["spec"]["template"]["spec"]
    [keys] = [volume for volume in pod["volumes"] if "secret" in volume]
    keys["configMap"] = {"name": keys.pop("secret")["secretName"], "optional": False}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "streaming-keys"},
        "data": {"keys.json": (tmp_path / "keys.json").read_text()},
    }
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump_all([config, manifest]))
    script = f"""
        ip link set lo up
        {ENGINE} kube play {file}
        trap '{ENGINE} kube down {file}' EXIT
        name=$({ENGINE} ps --filter label=app.kubernetes.io/name=mlserver-streaming \\
            --format '{{{{.Names}}}}' | grep mlserver)
        for try in {{1..60}}; do
            {ENGINE} exec $name python -m mlserver_streaming.ready && break
        done
        echo "without: $({ENGINE} exec $name python -c "$ASK" /v2/models/text-model | head -1)"
        echo "with: $({ENGINE} exec $name python -c "$ASK" /v2/models/text-model \\
            "x-api-key: {key}" | head -1)"
        echo "user: $({ENGINE} exec $name id -u)"
        echo "root: $({ENGINE} exec $name touch /app/x 2>&1)"
    """
    done = subprocess.run(
        ["unshare", "--net", "bash", "-c", script],
        env=os.environ | {"ASK": ASK},
        capture_output=True,
        text=True,
    )
    said = done.stdout
    assert "without: 401" in said and "with: 200" in said, said + done.stderr
    assert "user: 10001" in said and "Read-only file system" in said
