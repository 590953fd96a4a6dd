"""deploy/kubernetes is accepted by Kubernetes' schemas, and its parts agree with each other and the code."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ridgeline_server.health import SERVICE_NAME
from ridgeline_server.settings import PREFIX, Settings
from ridgeline_server.store.database import POOL_SIZE

OLDEST = "1.30"
"""The first release that knows everything that the manifests say."""

POSTGRES_CONNECTIONS = 100
"""What PostgreSQL takes unless told otherwise."""

Manifest = dict[str, Any]


def read(folder: Path) -> dict[tuple[str, str], Manifest]:
    """What a folder's kustomization lists, by kind and name."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in folder.iterdir()} == {"kustomization.yaml", *listed}
    return {
        (document["kind"], document["metadata"]["name"]): document
        for name in listed
        for document in yaml.safe_load_all((folder / name).read_text(encoding="utf-8"))
    }


@pytest.fixture(scope="module")
def base(repository: Path) -> dict[tuple[str, str], Manifest]:
    """The manifests of the service."""
    return read(repository / "deploy" / "kubernetes" / "base")


@pytest.fixture(scope="module")
def migration(repository: Path) -> Manifest:
    """The migration's job."""
    (job,) = read(repository / "deploy" / "kubernetes" / "migration").values()
    return job


@pytest.fixture(scope="module")
def deployment(base: dict[tuple[str, str], Manifest]) -> Manifest:
    """The deployment of the servers."""
    return base["Deployment", "ridgeline"]


@pytest.fixture(scope="module")
def pod(deployment: Manifest) -> Manifest:
    """A server's pod."""
    found: Manifest = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def version(repository: Path) -> str:
    """The project's version."""
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    found: str = tomllib.loads(text)["project"]["version"]
    return found


def containers(pod: Manifest) -> Iterator[Manifest]:
    """All containers of a pod, those that go first among them."""
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def settings_of(pod: Manifest, base: dict[tuple[str, str], Manifest]) -> dict[str, str]:
    """The settings of all containers of a pod; secrets have no value here."""
    found: dict[str, str] = {}
    for container in containers(pod):
        for source in container.get("envFrom", []):
            found |= base["ConfigMap", source["configMapRef"]["name"]]["data"]
        found |= {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}
    return {name: value for name, value in found.items() if name.startswith(PREFIX)}


@pytest.mark.parametrize("release", [OLDEST, kubernetes_validate.latest_version()])
def test_every_manifest_is_of_its_schema(
    base: dict[tuple[str, str], Manifest], migration: Manifest, release: str
) -> None:
    for manifest in (*base.values(), migration):
        kubernetes_validate.validate(manifest, release, strict=True)


def test_a_misspelt_field_is_none_of_the_schema(deployment: Manifest) -> None:
    wrong = {**deployment, "spec": {**deployment["spec"], "progressDeadline": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="progressDeadline"):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_nothing_is_missing(base: dict[tuple[str, str], Manifest]) -> None:
    assert set(base) == {
        ("ServiceAccount", "ridgeline"),
        ("ConfigMap", "ridgeline"),
        ("Deployment", "ridgeline"),
        ("Service", "ridgeline"),
        ("Service", "ridgeline-replicas"),
        ("PodDisruptionBudget", "ridgeline"),
        ("HorizontalPodAutoscaler", "ridgeline"),
        ("NetworkPolicy", "ridgeline"),
    }


def test_all_that_select_the_servers_select_them_and_not_the_migration(
    base: dict[tuple[str, str], Manifest], deployment: Manifest, migration: Manifest
) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        base["Service", "ridgeline"]["spec"]["selector"],
        base["Service", "ridgeline-replicas"]["spec"]["selector"],
        base["PodDisruptionBudget", "ridgeline"]["spec"]["selector"]["matchLabels"],
        deployment["spec"]["selector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    others = migration["spec"]["template"]["metadata"]["labels"].items()
    for selector in selectors:
        assert selector.items() <= labels
        assert not selector.items() <= others
    guarded = base["NetworkPolicy", "ridgeline"]["spec"]["podSelector"]["matchLabels"].items()
    assert guarded <= labels
    assert guarded <= others
    target = base["HorizontalPodAutoscaler", "ridgeline"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_images_are_of_this_release(pod: Manifest, migration: Manifest, version: str) -> None:
    pods = (pod, migration["spec"]["template"]["spec"])
    assert {part["image"] for one in pods for part in containers(one)} == {f"ridgeline:{version}"}
    assert migration["metadata"]["name"] == f"ridgeline-migrate-{version.replace('.', '-')}"


def test_every_setting_is_one_and_is_accepted(
    base: dict[tuple[str, str], Manifest], pod: Manifest, migration: Manifest
) -> None:
    for settings in (settings_of(pod, base), settings_of(migration["spec"]["template"]["spec"], base)):
        assert Settings.load(settings).database_url.startswith("postgresql+psycopg://ridgeline@postgres")


def test_service_links_add_no_variables_that_are_no_settings(pod: Manifest, migration: Manifest) -> None:
    """The service `ridgeline` would make one named RIDGELINE_PORT."""
    assert pod["enableServiceLinks"] is False
    assert migration["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_port_is_the_same_everywhere(base: dict[tuple[str, str], Manifest], pod: Manifest) -> None:
    listen = int(settings_of(pod, base)["RIDGELINE_LISTEN"].rpartition(":")[2])
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["grpc"] == listen
    metrics = settings_of(pod, base)["RIDGELINE_METRICS_LISTEN"].rpartition(":")[2]
    assert ports["metrics"] == int(metrics)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"]["port"] == listen
    for name in ("ridgeline", "ridgeline-replicas"):
        (port,) = base["Service", name]["spec"]["ports"]
        assert (port["port"], port["targetPort"]) == (listen, "grpc")
    rules = base["NetworkPolicy", "ridgeline"]["spec"]["ingress"]
    assert listen in {port["port"] for rule in rules for port in rule["ports"]}


def test_prometheus_is_told_where_and_let_in(
    base: dict[tuple[str, str], Manifest], deployment: Manifest
) -> None:
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert annotations["prometheus.io/port"] == str(ports["metrics"])
    rules = base["NetworkPolicy", "ridgeline"]["spec"]["ingress"]
    assert ports["metrics"] in {port["port"] for rule in rules for port in rule["ports"]}


def test_liveness_asks_for_the_process_and_readiness_for_what_is_served(pod: Manifest) -> None:
    """A restart mends no database."""
    (container,) = pod["containers"]
    assert container["livenessProbe"]["grpc"]["service"] == SERVICE_NAME
    assert "service" not in container["readinessProbe"]["grpc"]


def test_callers_need_a_token(base: dict[tuple[str, str], Manifest], pod: Manifest) -> None:
    assert Settings.load(settings_of(pod, base)).authentication == "required"


def test_clients_that_balance_see_every_pod(base: dict[tuple[str, str], Manifest]) -> None:
    assert base["Service", "ridgeline-replicas"]["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in base["Service", "ridgeline"]["spec"]


def test_a_pod_is_killed_only_after_its_calls_had_their_time(
    base: dict[tuple[str, str], Manifest], pod: Manifest
) -> None:
    (container,) = pod["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = Settings.load(settings_of(pod, base)).grace_s
    assert pod["terminationGracePeriodSeconds"] > before + grace_s


def test_a_slow_pod_is_taken_out_long_before_it_is_killed(pod: Manifest) -> None:
    (container,) = pod["containers"]
    ready, alive = (
        container[probe]["periodSeconds"] * container[probe]["failureThreshold"]
        for probe in ("readinessProbe", "livenessProbe")
    )
    assert alive >= 5 * ready


def test_pods_meet_the_restricted_profile_of_pod_security(pod: Manifest, migration: Manifest) -> None:
    for one in (pod, migration["spec"]["template"]["spec"]):
        assert one["securityContext"]["runAsNonRoot"] is True
        assert one["securityContext"]["runAsUser"] == 10001
        assert one["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert one["automountServiceAccountToken"] is False
        for container in containers(one):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert {"cpu", "memory"} == set(container["resources"]["requests"])
        assert {next(iter(set(volume) - {"name"})) for volume in one["volumes"]} == {"emptyDir"}


def test_the_schema_comes_before_the_seed(migration: Manifest) -> None:
    pod = migration["spec"]["template"]["spec"]
    assert [container["args"] for container in containers(pod)] == [["migrate"], ["seed"]]
    rules = migration["spec"]["podFailurePolicy"]["rules"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules} == {"migrate", "seed"}


def test_the_service_and_its_migration_use_one_database_and_one_secret(
    base: dict[tuple[str, str], Manifest], pod: Manifest, migration: Manifest
) -> None:
    pods = (pod, migration["spec"]["template"]["spec"])
    assert len({settings_of(one, base)["RIDGELINE_DATABASE_URL"] for one in pods}) == 1
    secrets = {
        (variable["valueFrom"]["secretKeyRef"]["name"], variable["valueFrom"]["secretKeyRef"]["key"])
        for one in pods
        for container in containers(one)
        for variable in container["env"]
        if "valueFrom" in variable
    }
    assert secrets == {("ridgeline-database", "password")}


def test_no_manifest_holds_a_secret(base: dict[tuple[str, str], Manifest]) -> None:
    assert "Secret" not in {kind for kind, _ in base}


def test_the_database_takes_the_connections_of_as_many_pods_as_there_may_be(
    base: dict[tuple[str, str], Manifest], deployment: Manifest
) -> None:
    pods = base["HorizontalPodAutoscaler", "ridgeline"]["spec"]["maxReplicas"]
    workers = Settings.load(settings_of(deployment["spec"]["template"]["spec"], base)).workers
    surge = deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    assert (pods + surge) * workers * POOL_SIZE < POSTGRES_CONNECTIONS


def test_two_pods_serve_at_least_while_one_is_replaced_or_moved(
    base: dict[tuple[str, str], Manifest], deployment: Manifest
) -> None:
    scaler = base["HorizontalPodAutoscaler", "ridgeline"]["spec"]
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"], "a rollout would undo the autoscaler's number"
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert base["PodDisruptionBudget", "ridgeline"]["spec"]["maxUnavailable"] == 1
