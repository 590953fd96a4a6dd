"""One config being read: its fields and what every part of the model needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ridgeline_server.domain.config.fields import ConfigFields
from ridgeline_server.domain.parts.facts import Family


@dataclass(frozen=True)
class Reading:
    """A config, its family as the config changes it, and the sizes that all parts share.

    `position_count` is the longest context, None when the config does not say.
    """

    fields: ConfigFields
    family: Family
    assumptions: list[str]
    model_type: str
    hidden_size: int
    layer_count: int
    vocab_size: int
    position_count: int | None
    activation: str

    def of_layers(self, name: str) -> Reading:
        """The reading for the layers whose mixer or MLP has a name."""
        facts = self.family.variants.get(name)
        return replace(self, family=self.family.with_facts(facts)) if facts else self

    def with_keys(self, keys: Mapping[str, int]) -> Reading:
        """The reading of a layer that has some keys of its own."""
        return replace(self, fields=self.fields.replaced(keys)) if keys else self

    def assume(self, assumption: str) -> None:
        """Notes what was taken without the config saying so, once."""
        if assumption not in self.assumptions:
            self.assumptions.append(assumption)
