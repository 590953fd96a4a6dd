"""Which role each rpc needs: one table over all that the server answers.

An rpc of the contract without a row is an error at start; what is not of the contract and has no row needs
the highest role. The health of the server is for anyone: those who probe it have no secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import ServiceDescriptor

from ridgeline_server.store.roles import Role

ROLES: Mapping[str, Mapping[str, Role]] = {
    "ridgeline.v1.AnalysisService": {"Analyze": Role.READ, "Sweep": Role.READ},
    "ridgeline.v1.RecommendationService": {"Recommend": Role.READ, "Explain": Role.READ},
    "ridgeline.v1.CatalogService": {
        "GetHardware": Role.READ,
        "ListHardware": Role.READ,
        "CreateHardware": Role.WRITE,
        "UpdateHardware": Role.WRITE,
        "DeleteHardware": Role.WRITE,
        "GetModel": Role.READ,
        "ListModels": Role.READ,
        "CreateModel": Role.WRITE,
        "UpdateModel": Role.WRITE,
        "DeleteModel": Role.WRITE,
        "ImportModel": Role.WRITE,
        "GetEfficiencyProfile": Role.READ,
        "ListEfficiencyProfiles": Role.READ,
        "CreateEfficiencyProfile": Role.WRITE,
        "UpdateEfficiencyProfile": Role.WRITE,
        "DeleteEfficiencyProfile": Role.WRITE,
        "ImportEntries": Role.WRITE,
        "ListChanges": Role.READ,
    },
    "ridgeline.v1.MeasurementService": {
        "ImportMeasurements": Role.WRITE,
        "ListMeasurements": Role.READ,
        "GetMeasurement": Role.READ,
        "DeleteMeasurements": Role.WRITE,
        "ValidateMeasurements": Role.READ,
        "SummarizeErrors": Role.READ,
        "ValidateCases": Role.READ,
        "Calibrate": Role.WRITE,
    },
}
"""The contract's rpcs, by service. A dry run needs what the call itself does."""

OTHER_SERVICES: Mapping[str, Role | None] = {
    "grpc.health.v1.Health": None,
    "grpc.reflection.v1alpha.ServerReflection": Role.READ,
    "grpc.reflection.v1.ServerReflection": Role.READ,
    "grpc.channelz.v1.Channelz": Role.ADMIN,
}
"""The services beside the contract's; None is for anyone."""


def needed_role(rpc: str) -> Role | None:
    """The role that `package.Service/Method` needs; None where anyone may call it."""
    service, _, method = rpc.partition("/")
    if service in OTHER_SERVICES:
        return OTHER_SERVICES[service]
    return ROLES.get(service, {}).get(method, Role.ADMIN)


def check_rows(services: Iterable[ServiceDescriptor]) -> None:
    """Raise ValueError where an rpc of these services has no row, or a row of theirs no rpc."""
    for service in services:
        rpcs = {method.name for method in service.methods}
        rows = ROLES.get(service.full_name, {}).keys()
        if rpcs != rows:
            raise ValueError(
                f"{__name__}.ROLES has no row for {sorted(rpcs - rows)} of {service.full_name}, and one "
                "too many for "
                f"{sorted(rows - rpcs)}: say which role each rpc needs"
            )
