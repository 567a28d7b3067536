"""What deploy/ tells Kubernetes, KServe, compose and systemd: valid, and true of the service."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import yaml
from jsonschema import Draft202012Validator

from deploy.replicas import STEP, Ports
from mlserver_streaming.settings import StoreSettings, StreamingSettings
from tests.live.service import ROOT
from tests.redis_server import BINARY, RedisServer, needs_redis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate

DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
KUSTOMIZED = sorted(path.parent for path in DEPLOY.rglob("kustomization.yaml"))
CRDS = Path(__file__).with_name("kserve")
VERSION = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
# As old as the fields that are used allow, and the newest that is known.
KUBERNETES = ("1.25", "1.37")
# Not Kubernetes' own.
OTHERS = {
    "Kustomization",
    "Component",
    "ScaledObject",
    "ServingRuntime",
    "InferenceService",
    "Server",
    "Model",
}
PORTS = {"rest": 8080, "grpc": 8081, "metrics": 8082, "triton": 8001}
STORE = "streaming-store"
Object = dict[str, Any]


def read(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def all_of(kind: str, *files: Path) -> list[Object]:
    return [each for file in files for each in read(file) if each["kind"] == kind]


FILES = sorted(
    path
    for folder in ("kubernetes", "haproxy", "kserve", "seldon")
    for path in (DEPLOY / folder).rglob("*.yaml")
)
STANDARD = [each for file in FILES for each in read(file) if each["kind"] not in OTHERS]
KSERVE = [each for file in (DEPLOY / "kserve").glob("*.yaml") for each in read(file)]
[DEPLOYMENT] = all_of("Deployment", BASE / "deployment.yaml")
[RUNTIME] = all_of("ServingRuntime", DEPLOY / "kserve" / "runtime.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
# How often HAProxy asks who is ready, and hears that one stops.
CHECK_SECONDS = 0.5
# Each says how long it may take, where its containers are, and how long a drain lasts there.
PODS = {
    "kubernetes": (POD["terminationGracePeriodSeconds"], POD["containers"][0]),
    "kserve": (
        all_of("InferenceService", DEPLOY / "kserve" / "service.yaml")[0]["spec"]["predictor"][
            "terminationGracePeriodSeconds"
        ],
        RUNTIME["spec"]["containers"][0],
    ),
}


def named(value: Any) -> str:
    return f"{value['kind']}-{value['metadata']['name']}" if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("manifest", STANDARD, ids=named)
def test_kubernetes_takes_it(manifest: Object, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("manifest", KSERVE, ids=named)
def test_kserve_takes_it(manifest: Object) -> None:
    schema = json.loads((CRDS / f"{manifest['kind']}.json").read_text())
    Draft202012Validator(schema).validate(manifest)


@cache
def built(folder: Path) -> list[Object]:
    """What kustomize makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, which has kustomize in it")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("folder", KUSTOMIZED, ids=lambda folder: folder.name)
def test_kustomize_builds_what_kubernetes_takes(folder: Path) -> None:
    for manifest in built(folder):
        if manifest["kind"] not in OTHERS:
            kubernetes_validate.validate(manifest, KUBERNETES[1], strict=True)


@pytest.mark.parametrize("name", ["hpa", "keda"])
def test_replicas_are_the_autoscalers(name: str) -> None:
    [deployment] = [
        each
        for each in built(DEPLOY / "kubernetes" / "overlays" / name)
        if each["kind"] == "Deployment"
    ]
    assert "replicas" not in deployment["spec"]


def test_the_open_overlay_has_no_keys_and_only_it() -> None:
    def settings(folder: Path) -> tuple[dict[str, str], set[str]]:
        [deployment] = [each for each in built(folder) if each["kind"] == "Deployment"]
        pod = deployment["spec"]["template"]["spec"]
        given = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
        return given, {volume["name"] for volume in pod["volumes"]}

    given, volumes = settings(DEPLOY / "kubernetes" / "overlays" / "open")
    assert given["STREAMING_AUTH__KEYS_FILE"] == "null" and volumes == {"tmp"}
    given, volumes = settings(BASE)
    assert "STREAMING_AUTH__KEYS_FILE" not in given and volumes == {"tmp", "keys"}


@pytest.mark.parametrize("where", PODS)
def test_the_grace_covers_pre_stop_and_the_drain(where: str) -> None:
    grace, container = PODS[where]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    environment = {each["name"]: each["value"] for each in container["env"]}
    drain = float(environment["STREAMING_DRAIN_SECONDS"])
    notice = float(environment["STREAMING_NOTICE_SECONDS"])
    assert grace >= pause + notice + drain + 10
    assert StreamingSettings(drain_seconds=drain, notice_seconds=notice).drain_seconds == drain
    assert notice >= 3 * CHECK_SECONDS


@pytest.mark.parametrize("where", PODS)
def test_a_container_may_do_no_more_than_it_needs(where: str) -> None:
    container = PODS[where][1]
    context = (POD["securityContext"] if where == "kubernetes" else {}) | container[
        "securityContext"
    ]
    assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    # Whom the image's files and the secret are for.
    assert f"USER {context['runAsUser']}\n" in (ROOT / "Dockerfile").read_text()
    assert "PYTHONPATH" not in {each["name"] for each in container["env"]}  # KServe refuses it
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert places == {"/tmp", "/etc/streaming"}


@pytest.mark.parametrize("where", PODS)
def test_probes_ask_where_the_service_answers(where: str) -> None:
    container = PODS[where][1]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    asked = {
        probe: (ports.get(get["port"], get["port"]), get["path"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        for get in [container[probe]["httpGet"]]
    }
    assert asked == {
        "startupProbe": (8080, "/v2/health/ready"),
        "readinessProbe": (8080, "/v2/health/ready"),
        "livenessProbe": (8082, "/v2/health/live"),
    }


def test_every_port_has_one_name() -> None:
    assert {each["name"]: each["containerPort"] for each in POD["containers"][0]["ports"]} == PORTS
    for file in FILES:
        for service in all_of("Service", file):
            targets = {each["targetPort"]: each["port"] for each in service["spec"]["ports"]}
            if service["metadata"]["name"] != STORE:
                assert targets.items() < PORTS.items()  # all but the metrics
    [policy] = all_of("NetworkPolicy", BASE / "network.yaml")
    rules = policy["spec"]["ingress"]
    assert [{port["port"] for port in rule["ports"]} for rule in rules] == [
        {"rest", "grpc", "triton"},
        {"metrics"},
    ]


def test_every_selector_finds_the_replicas() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    [service] = all_of("Service", BASE / "service.yaml")
    [budget] = all_of("PodDisruptionBudget", BASE / "disruption.yaml")
    [policy] = all_of("NetworkPolicy", BASE / "network.yaml")
    found = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        policy["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in found)
    # HAProxy asks by this name, and must keep those that drain.
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    [balancer] = all_of("Deployment", DEPLOY / "haproxy" / "kubernetes.yaml")
    given = balancer["spec"]["template"]["spec"]["containers"][0]["env"]
    assert given[1]["value"].partition(".")[0] == service["metadata"]["name"]
    [allowed] = policy["spec"]["ingress"][0]["from"]
    assert allowed["podSelector"]["matchLabels"] == balancer["spec"]["selector"]["matchLabels"]


def test_all_name_the_image_of_this_version() -> None:
    assert VERSION is not None
    texts = {file: file.read_text() for file in [*FILES, DEPLOY / "compose.yaml"]}
    found = {
        tag for text in texts.values() for tag in re.findall(r"mlserver-streaming:(\S+)", text)
    }
    assert found == {VERSION[1]}


def test_compose_gives_haproxy_and_prometheus_what_they_look_for() -> None:
    [compose] = read(DEPLOY / "compose.yaml")
    services = compose["services"]
    replica = services["streaming"]
    assert services["balancer"]["environment"]["SERVICE"] == "streaming"
    [scrape] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert scrape["dns_sd_configs"][0]["names"] == ["streaming"]
    assert scrape["dns_sd_configs"][0]["port"] == PORTS["metrics"]
    # Whoever may call without a key comes from this machine.
    published = [port for each in services.values() for port in each.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert "ports" not in replica
    servers = json.loads(replica["environment"]["STREAMING_CACHE__SERVERS"])
    assert StreamingSettings(cache={"backend": "memcached", "servers": servers})
    notice = float(replica["environment"]["STREAMING_NOTICE_SECONDS"])
    assert notice >= 3 * CHECK_SECONDS
    drain = notice + StreamingSettings().drain_seconds
    for name in ("streaming", "balancer"):
        assert float(services[name]["stop_grace_period"].removesuffix("s")) >= drain + 10
    for each in services.values():
        for volume in each.get("volumes", []):
            assert (DEPLOY / volume.partition(":")[0]).exists()


def store_settings(environment: dict[str, str]) -> StoreSettings:
    """What these variables tell the service of its store."""
    prefix = "STREAMING_RESUME__STORE__"
    given = {name: value for name, value in environment.items() if name.startswith(prefix)}
    found = {name.removeprefix(prefix).lower(): value for name, value in given.items()}
    assert found.keys() == {"url", "password_file", "secret_file"}
    return StoreSettings(**found)


def test_the_store_overlay_gives_replicas_a_store_and_the_way_to_it() -> None:
    objects = built(DEPLOY / "kubernetes" / "overlays" / "store")
    named = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in objects}
    pod = named["Deployment", "streaming"]["template"]["spec"]
    [container] = pod["containers"]
    settings = store_settings({each["name"]: each["value"] for each in container["env"]})
    assert settings.url is not None
    url = urlsplit(settings.url.get_secret_value())
    service = named["Service", STORE]
    assert (url.hostname, url.port) == (STORE, service["ports"][0]["port"])
    store = named["Deployment", STORE]["template"]
    assert service["selector"] == store["metadata"]["labels"]
    # Both read the same secret, each where it looks for it.
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    [mounted] = [
        each for each in pod["volumes"] if each.get("secret", {}).get("secretName") == STORE
    ]
    assert settings.password_file == f"{mounts[mounted['name']]}/password"
    assert settings.secret_file == f"{mounts[mounted['name']]}/seal"
    [volume] = store["spec"]["volumes"]
    assert volume["secret"]["secretName"] == STORE
    # Replicas may go there, and only they.
    egress = named["NetworkPolicy", "streaming"]["egress"][-1]
    assert egress["to"][0]["podSelector"]["matchLabels"] == store["metadata"]["labels"]
    assert egress["ports"] == [{"port": url.port}]
    [ingress] = named["NetworkPolicy", STORE]["ingress"]
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert ingress["from"] == [{"podSelector": {"matchLabels": labels}}]
    context = store["spec"]["containers"][0]["securityContext"] | store["spec"]["securityContext"]
    assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_compose_with_a_store_gives_replicas_its_secrets() -> None:
    [compose] = read(DEPLOY / "compose.store.yaml")
    replica, store = compose["services"]["streaming"], compose["services"]["store"]
    settings = store_settings(replica["environment"])
    assert settings.url is not None
    assert urlsplit(settings.url.get_secret_value()).hostname in compose["services"]
    for name, file in (("password", settings.password_file), ("seal", settings.secret_file)):
        secret = f"store-{name}"
        assert file == f"/run/secrets/{secret}"
        assert secret in replica["secrets"] and secret in compose["secrets"]
    assert store["secrets"] == ["store-password"] and "ports" not in store
    ignored = subprocess.run(
        ["git", "check-ignore", DEPLOY / "secrets" / "store-seal"], cwd=ROOT, check=False
    )
    assert ignored.returncode == 0


@needs_redis
@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_the_store_asks_for_the_password_and_is_bounded(where: str, tmp_path: Path) -> None:
    if where == "compose":
        [script] = read(DEPLOY / "compose.store.yaml")[0]["services"]["store"]["command"]
        file = "/run/secrets/store-password"
    else:
        component = DEPLOY / "kubernetes" / "components" / "store" / "store.yaml"
        [deployment] = all_of("Deployment", component)
        [script] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        file = "/etc/store/password"
    (tmp_path / "password").write_text("a" * 64 + "\n")
    assert BINARY is not None
    (tmp_path / "valkey-server").symlink_to(BINARY)
    server = RedisServer()
    script = script.replace(file, str(tmp_path / "password"))
    script = script.replace("appendonly no\n", f"appendonly no\nport {server.port}\n")
    path = f"{tmp_path}:{os.environ['PATH']}"
    server.run(["sh", "-c", script], "-NOAUTH", PATH=path)
    try:
        with redis.Redis(port=server.port, password="a" * 64) as client:
            found = client.config_get("*")
    finally:
        server.kill()
    assert found["maxmemory"] == str(512 * 1024 * 1024)
    assert (found["maxmemory-policy"], found["save"]) == ("noeviction", "")
    assert found["appendonly"] == "no"


def test_systemd_gives_replicas_a_store_by_credentials() -> None:
    text = (DEPLOY / "systemd" / "store.conf").read_text()
    given = dict(re.findall(r"(STREAMING_RESUME__STORE__\w+)=(\S+)", text))
    settings = store_settings(given)
    credentials = re.findall(r"^LoadCredential=([\w-]+):/", text, re.MULTILINE)
    named = [settings.password_file, settings.secret_file]
    assert named == [f"%d/{each}" for each in credentials]


def test_the_image_has_the_stores_client() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "make install-serving SERVING_EXTRAS=store${EXTRAS:+,$EXTRAS}\n" in text


def test_systemd_runs_replicas_where_haproxy_looks_for_them() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    text = (DEPLOY / "systemd" / "mlserver-streaming@.service").read_text()
    unit.read_string(text)
    ports = {name: text for name, text in re.findall(r"(\w+_PORT)=(\S+)", text)}
    for number in (1, 9):
        expected = Ports().further(STEP * number)
        assert {name: int(port.replace("%i", str(number))) for name, port in ports.items()} == {
            "MLSERVER_HTTP_PORT": expected.http,
            "MLSERVER_GRPC_PORT": expected.grpc,
            "MLSERVER_METRICS_PORT": expected.metrics,
            "STREAMING_TRITON_PORT": expected.triton,
        }
    [notice] = re.findall(r"STREAMING_NOTICE_SECONDS=(\d+)", text)
    assert int(notice) >= 3 * CHECK_SECONDS
    drain = int(notice) + StreamingSettings().drain_seconds
    assert int(unit["Service"]["TimeoutStopSec"]) >= drain + 10
