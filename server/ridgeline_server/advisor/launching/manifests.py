"""A launch as a Kubernetes manifest: a Deployment, and a ConfigMap with the files that its command names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ridgeline_server.advisor.launching.yaml_text import Value, yaml_text

PORT = 8000
"""The port of every engine's setting `listen`."""
RESOURCES = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu"}
"""The resource under which a vendor's device plugin offers its devices."""
ACCELERATOR = "accelerator"
"""The label by which Kubernetes' own guide tells nodes with different devices apart
(kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus).
"""
LONGEST_NAME = 63
"""The longest name of a Kubernetes object that is a label too (RFC 1123)."""


def manifest_text(
    *,
    engine: str,
    release: str,
    model: str,
    command: Sequence[str],
    replicas: int,
    devices: int,
    vendor: str,
    accelerator: str,
    files: Mapping[str, str],
    folder: str,
) -> str:
    """The manifest of `replicas` servers of `devices` devices each, `files` mounted in `folder`.

    Its image is a name to be replaced: registries were not asked which images there are. An `accelerator`
    that is not empty selects nodes by a label of ours, since clusters have no common one.
    """
    name = _label(f"{engine}-{model.rpartition('/')[2]}")
    labels: dict[str, Value] = {"app.kubernetes.io/name": name}
    container: dict[str, Value] = {
        "name": "server",
        "image": f"registry.example/{_label(engine)}:{re.sub(r'[^A-Za-z0-9_.-]+', '-', release)}",
        "command": list(command),
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}},
    }
    if vendor in RESOURCES:
        container["resources"] = {"limits": {RESOURCES[vendor]: devices}}
    mounts: list[Value] = []
    volumes: list[Value] = []
    if devices > 1:
        # The processes of a replica exchange tensors through shared memory, of which a container has 64 MiB.
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory"}})
    if files:
        mounts.append({"name": "files", "mountPath": folder})
        volumes.append({"name": "files", "configMap": {"name": name}})
    pod: dict[str, Value] = {"containers": [container]}
    if accelerator:
        pod["nodeSelector"] = {ACCELERATOR: _label(accelerator)}
    if mounts:
        container["volumeMounts"] = mounts
        pod["volumes"] = volumes
    deployment: dict[str, Value] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    config_map: dict[str, Value] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": dict(files),
    }
    return "---\n".join(map(yaml_text, (config_map, deployment) if files else (deployment,)))


def _label(text: str) -> str:
    """The text as a name that Kubernetes takes: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:LONGEST_NAME].strip("-") or "model"
