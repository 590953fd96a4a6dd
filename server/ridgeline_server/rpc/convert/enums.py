"""The contract's enums and the domain's, by name: `DTYPE_INT4` is `Dtype.INT4`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import EnumDescriptor

from ridgeline.v1 import (
    analysis_service_pb2,
    common_pb2,
    efficiency_profile_pb2,
    measured_case_pb2,
    measurement_pb2,
    recommendation_service_pb2,
    types_pb2,
)
from ridgeline_server.advisor import results as advice
from ridgeline_server.domain.confidence import Confidence
from ridgeline_server.domain.deployment import AttentionKernel, CostBasis
from ridgeline_server.domain.dtypes import Dtype
from ridgeline_server.domain.efficiency import OperatorClass, ProfileLevel
from ridgeline_server.domain.measured_case import CaseClass
from ridgeline_server.domain.measurement import MeasuredMetric, Phase, Tier
from ridgeline_server.domain.speculation import Draft
from ridgeline_server.roofline import results as analysis
from ridgeline_server.roofline.operators.layer import Stage
from ridgeline_server.store import entries

E = TypeVar("E", bound=StrEnum)


class EnumMap(Generic[E]):
    """Numbers of a contract's enum and members of a domain's, both ways. Number 0, UNSPECIFIED, has no
    member.

    `to_proto[member]` is the number; its type is left open because each enum of the contract has one of its
    own.
    """

    def __init__(self, wire: EnumDescriptor, prefix: str, domain: type[E]) -> None:
        self.to_proto: Mapping[E, Any] = MappingProxyType(
            {member: wire.values_by_name[f"{prefix}_{member.name}"].number for member in domain}
        )
        self.from_proto: Mapping[int, E] = MappingProxyType(
            {number: member for member, number in self.to_proto.items()}
        )
        self.wire = wire
        self.choices = ", ".join(member.name for member in domain)

    def number(self, member: E | None) -> Any:
        """The number of a member, 0 for None."""
        return 0 if member is None else self.to_proto[member]


DTYPE = EnumMap(types_pb2.Dtype.DESCRIPTOR, "DTYPE", Dtype)
STAGE = EnumMap(types_pb2.Stage.DESCRIPTOR, "STAGE", Stage)
BOUND = EnumMap(types_pb2.Bound.DESCRIPTOR, "BOUND", analysis.Bound)
CONFIDENCE = EnumMap(types_pb2.Confidence.DESCRIPTOR, "CONFIDENCE", Confidence)
ORIGIN = EnumMap(types_pb2.Origin.DESCRIPTOR, "ORIGIN", entries.Origin)
ATTENTION = EnumMap(common_pb2.AttentionKernel.DESCRIPTOR, "ATTENTION_KERNEL", AttentionKernel)
DRAFT = EnumMap(common_pb2.Draft.DESCRIPTOR, "DRAFT", Draft)
LEVER = EnumMap(analysis_service_pb2.Lever.DESCRIPTOR, "LEVER", analysis.Lever)
BASIS = EnumMap(common_pb2.CostBasis.DESCRIPTOR, "COST_BASIS", CostBasis)
NOTICE_CODE = EnumMap(common_pb2.NoticeCode.DESCRIPTOR, "NOTICE_CODE", analysis.NoticeCode)
OPERATOR_CLASS = EnumMap(efficiency_profile_pb2.OperatorClass.DESCRIPTOR, "OPERATOR_CLASS", OperatorClass)
PROFILE_LEVEL = EnumMap(efficiency_profile_pb2.ProfileLevel.DESCRIPTOR, "PROFILE_LEVEL", ProfileLevel)
GOAL = EnumMap(recommendation_service_pb2.Goal.DESCRIPTOR, "GOAL", advice.Goal)
VERDICT = EnumMap(recommendation_service_pb2.Verdict.DESCRIPTOR, "VERDICT", advice.Verdict)
REASON_CODE = EnumMap(recommendation_service_pb2.ReasonCode.DESCRIPTOR, "REASON_CODE", advice.ReasonCode)
NEARNESS = EnumMap(recommendation_service_pb2.Nearness.DESCRIPTOR, "NEARNESS", advice.Nearness)
EFFORT = EnumMap(recommendation_service_pb2.Effort.DESCRIPTOR, "EFFORT", advice.Effort)
CASE_CLASS = EnumMap(measured_case_pb2.CaseClass.DESCRIPTOR, "CASE_CLASS", CaseClass)
PHASE = EnumMap(measurement_pb2.MeasurementPhase.DESCRIPTOR, "MEASUREMENT_PHASE", Phase)
MEASURED_METRIC = EnumMap(measurement_pb2.MeasurementMetric.DESCRIPTOR, "MEASUREMENT_METRIC", MeasuredMetric)
TIER = EnumMap(measurement_pb2.MeasurementTier.DESCRIPTOR, "MEASUREMENT_TIER", Tier)
