"""What holds for any config: a model that is whole, or one of the two refusals."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ridgeline_server.domain.config.keys import set_keys
from ridgeline_server.domain.config_reader import read_config
from ridgeline_server.domain.errors import InvalidFieldsError, UnsupportedConfigError
from ridgeline_server.domain.families import FAMILIES
from ridgeline_server.domain.mixers import Attention
from ridgeline_server.domain.model import Model
from ridgeline_server.domain.parts.facts import Family
from tests.unit.domain.hybrid_configs import COUNTED
from tests.unit.domain.model_configs import FAMILY_COUNTS, PUBLISHED, TRANSFORMERS, small

CONFIGS: list[dict[str, Any]] = [
    *(entry["config"] for entry in PUBLISHED.values()),
    *(entry["config"] for entry in (*TRANSFORMERS, *FAMILY_COUNTS, *COUNTED)),
]
NESTED = ("text_config", "quantization_config", "sparse_attention_config", "linear_attn_config", "ffn_config")
KEYS = sorted(
    {key for config in CONFIGS for part in (config, *map(config.get, NESTED)) for key in part or ()}
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-4, max_value=300),
    st.integers(),
    st.sampled_from([2**31, 2**63, 10**30, 10**400]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["yarn", "linear", "sliding_attention", "float16", "fp8", "awq", *FAMILIES]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.text(max_size=8), st.sampled_from(["rope_type", "factor", "quant_method", "bits"])),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
mutations = st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=12)), values, max_size=6)

methods = st.sampled_from(["fp8", "awq", "gptq", "bitsandbytes", "compressed-tensors", "modelopt", "hqq"])
quantised = st.dictionaries(
    st.sampled_from(
        [
            "activation_scheme",
            "bits",
            "config_groups",
            "group_size",
            "ignore",
            "load_in_4bit",
            "load_in_8bit",
            "modules_to_not_convert",
            "quant_algo",
            "sparsity_config",
            "weight_block_size",
        ]
    ),
    values,
    max_size=5,
)


def outcome(config: dict[str, Any]) -> Model | InvalidFieldsError | UnsupportedConfigError:
    """The model or its refusal; anything else that is raised is a fault."""
    try:
        return read_config(config)
    except (InvalidFieldsError, UnsupportedConfigError) as refusal:
        return refusal


def assert_whole_or_told(found: Model | InvalidFieldsError | UnsupportedConfigError) -> None:
    if isinstance(found, InvalidFieldsError):
        assert found.violations
        assert all(violation.description for violation in found.violations)
    elif isinstance(found, UnsupportedConfigError):
        assert found.keys
        assert str(found)
    else:
        assert_whole(found)


def assert_whole(model: Model) -> None:
    assert model.parameter_count > 0
    assert model.parameter_count >= model.active_parameter_count > 0
    assert model.kv_elements_per_token + model.state_bytes_per_sequence > 0
    assert len(model.layer_sequence) == sum(kind.count for kind in model.layer_kinds)
    assert {*model.layer_sequence} == {*range(len(model.layer_kinds))}
    assert model.max_context_len is None or model.max_context_len > 0
    for kind in model.layer_kinds:
        assert kind.count > 0
        for mixer in kind.mixers:
            assert mixer.window is None or mixer.window > 0
            if isinstance(mixer, Attention):
                assert mixer.head_count % mixer.kv_head_count == 0
                assert 0 <= mixer.rotary_dim <= mixer.head_dim
        assert all(size > 0 for tensor in kind.tensors for size in tensor.shape)
    names = [kind.name for kind in model.layer_kinds]
    assert len(set(names)) == len(names)
    assert str(model).isascii()


@settings(max_examples=600, deadline=None)
@given(config=st.sampled_from(CONFIGS), changes=mutations)
def test_a_mutated_config_gives_a_whole_model_or_a_refusal(
    config: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert_whole_or_told(outcome({**config, **changes}))


@settings(max_examples=300, deadline=None)
@given(config=st.sampled_from(CONFIGS), within=st.sampled_from(NESTED), changes=mutations)
def test_a_config_mutated_within_gives_a_whole_model_or_a_refusal(
    config: dict[str, Any], within: str, changes: dict[str, Any]
) -> None:
    assert_whole_or_told(outcome({**config, within: {**(config.get(within) or {}), **changes}}))


@settings(max_examples=600, deadline=None)
@given(config=st.sampled_from(CONFIGS), data=st.data())
def test_a_misspelt_key_is_told_where_it_changes_the_model(
    config: dict[str, Any], data: st.DataObject
) -> None:
    # A key that is false or null says that something is not there, as a key that is absent does.
    key = data.draw(st.sampled_from(sorted({*set_keys(config)} & {*config})))
    misspelt = {f"{name}x" if name == key else name: value for name, value in config.items()}
    before, after = outcome(config), outcome(misspelt)
    if isinstance(before, Model) and isinstance(after, Model):
        same = (before.layer_kinds, before.tensors) == (after.layer_kinds, after.tensors)
        assert same or before.assumptions != after.assumptions


@settings(max_examples=300, deadline=None)
@given(config=st.sampled_from(CONFIGS), data=st.data())
def test_a_config_with_keys_left_out_gives_a_whole_model_or_a_refusal(
    config: dict[str, Any], data: st.DataObject
) -> None:
    left_out = data.draw(st.sets(st.sampled_from(sorted(config)), max_size=8))
    assert_whole_or_told(outcome({key: value for key, value in config.items() if key not in left_out}))


@settings(max_examples=300, deadline=None)
@given(
    scheme=st.one_of(
        values, st.builds(lambda method, more: {"quant_method": method, **more}, methods, quantised)
    )
)
def test_any_quantisation_is_known_or_refused(scheme: object) -> None:
    assert_whole_or_told(outcome(small(quantization_config=scheme)))


@given(heads=st.integers(1, 16), group=st.integers(1, 8), layers=st.integers(1, 12), width=st.integers(1, 64))
def test_kv_heads_layers_and_widths_count_once_each(heads: int, group: int, layers: int, width: int) -> None:
    sizes = {"num_attention_heads": heads * group, "num_key_value_heads": heads, "num_hidden_layers": layers}
    model = read_config(small(**sizes, head_dim=8, intermediate_size=width))
    assert model.kv_elements_per_token == layers * 2 * heads * 8
    wider = read_config(small(**sizes, head_dim=8, intermediate_size=width + 1))
    assert wider.parameter_count - model.parameter_count == layers * 3 * 64


def test_every_fact_that_a_key_changes_is_a_fact_of_families() -> None:
    facts = set(Family.__dataclass_fields__)
    for name, family in FAMILIES.items():
        for stated in family.when:
            assert set(stated.facts) <= facts, name
