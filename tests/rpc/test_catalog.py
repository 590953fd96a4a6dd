"""The catalog's rpcs, over the wire and embedded, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.message import Message
from sqlalchemy import update

import ridgeline
from ridgeline import errors, jsonform
from ridgeline.v1 import efficiency_profile_pb2, hardware_pb2, model_pb2, types_pb2
from ridgeline_server.store import tables
from ridgeline_server.store.database import create_database_engine
from tests.rpc import samples
from tests.rpc.conftest import Connect


@dataclass(frozen=True)
class Kind:
    """One kind of entry, and the client's methods for it."""

    field: str
    plural: str
    sample: Callable[..., Any]
    changed_field: str
    other_value: object

    def call(self, client: ridgeline.Client, verb: str, *arguments: object, **options: object) -> Any:
        """Call the client's method for a verb."""
        name = self.plural if verb == "list" else self.field
        return getattr(client, f"{verb}_{name}")(*arguments, **options)

    def entry(self, response: Message) -> Any:
        """The entry in a response."""
        return getattr(response, self.field)


KINDS = [
    Kind("hardware", "hardware", samples.device, "vendor", "Someone else"),
    Kind("model", "models", samples.model, "display_name", "Another name"),
    Kind("efficiency_profile", "efficiency_profiles", samples.profile, "source", "another fit"),
]


@pytest.fixture(params=KINDS, ids=[kind.field for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of entry in turn."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def client(connect: Connect, empty_catalog_url: str) -> ridgeline.Client:
    """A client of a catalog without entries, on each way and each database in turn."""
    return connect(empty_catalog_url)


def settable(entry: Any) -> dict[str, object]:
    """The entry's fields without those that the service sets."""
    of_models = samples.COMPUTED_OF_MODELS if isinstance(entry, model_pb2.Model) else ()
    computed = ("origin", "etag", "create_time", "update_time", *of_models)
    return {name: value for name, value in jsonform.to_dict(entry).items() if name not in computed}


def test_what_was_created_is_read_back_whole(client: ridgeline.Client, kind: Kind) -> None:
    created = kind.call(client, "create", kind.sample())
    read = kind.call(client, "get", kind.sample().id)
    assert kind.entry(read) == kind.entry(created)
    assert settable(kind.entry(read)) == settable(kind.sample())
    assert kind.entry(read).origin == types_pb2.ORIGIN_USER
    assert kind.entry(read).etag
    assert kind.entry(read).create_time == kind.entry(read).update_time
    assert read.catalog_revision == created.catalog_revision


def test_output_only_fields_of_a_new_entry_are_ignored(client: ridgeline.Client, kind: Kind) -> None:
    entry = kind.sample()
    entry.origin = types_pb2.ORIGIN_BUILTIN
    entry.etag = "mine"
    entry.create_time.FromJsonString("2001-01-01T00:00:00Z")
    created = kind.entry(kind.call(client, "create", entry))
    assert created.origin == types_pb2.ORIGIN_USER
    assert created.etag != "mine"
    assert created.create_time.ToDatetime().year > 2001


def test_every_write_raises_the_revision(client: ridgeline.Client, kind: Kind) -> None:
    changed = kind.sample()
    setattr(changed, kind.changed_field, kind.other_value)
    revisions = [
        kind.call(client, "create", kind.sample()).catalog_revision,
        kind.call(client, "update", changed).catalog_revision,
        kind.call(client, "delete", kind.sample().id).catalog_revision,
    ]
    assert revisions == [revisions[0], revisions[0] + 1, revisions[0] + 2]
    assert kind.call(client, "list").catalog_revision == revisions[-1]


def test_an_update_without_a_mask_replaces_every_field(client: ridgeline.Client, kind: Kind) -> None:
    before = kind.entry(kind.call(client, "create", kind.sample()))
    changed = kind.sample()
    setattr(changed, kind.changed_field, kind.other_value)
    changed.ClearField("notes" if kind.field != "efficiency_profile" else "relatives")
    after = kind.entry(kind.call(client, "update", changed))
    assert settable(after) == settable(changed)
    assert after.etag != before.etag
    assert after.create_time == before.create_time


def test_a_masked_update_leaves_other_fields_alone(client: ridgeline.Client, kind: Kind) -> None:
    kind.call(client, "create", kind.sample())
    change = type(kind.sample())(id=kind.sample().id, **{kind.changed_field: kind.other_value})
    after = kind.entry(kind.call(client, "update", change, fields=[kind.changed_field]))
    expected = kind.sample()
    setattr(expected, kind.changed_field, kind.other_value)
    assert settable(after) == settable(expected)


def test_a_masked_update_replaces_a_profiles_constants_as_a_whole(client: ridgeline.Client) -> None:
    client.create_efficiency_profile(samples.profile())
    change = efficiency_profile_pb2.EfficiencyProfile(id=samples.profile().id)
    change.further_constants["time_factor"].CopyFrom(
        efficiency_profile_pb2.Estimate(value=1.25, low=1, high=1.5)
    )
    after = client.update_efficiency_profile(change, fields=["further_constants"]).efficiency_profile
    assert dict(after.further_constants) == dict(change.further_constants)
    assert (after.relatives, after.model_id) == (samples.profile().relatives, samples.profile().model_id)
    with pytest.raises(errors.InvalidArgumentError, match="give further_constants"):
        client.update_efficiency_profile(change, fields=["further_constants.time_factor"])
    after = client.update_efficiency_profile(
        efficiency_profile_pb2.EfficiencyProfile(id=samples.profile().id), fields=["further_constants"]
    ).efficiency_profile
    assert not after.further_constants


def test_an_update_names_its_entry(client: ridgeline.Client, kind: Kind) -> None:
    for fields in ([], [kind.changed_field]):
        with pytest.raises(errors.InvalidArgumentError) as raised:
            kind.call(client, "update", kind.sample(""), fields=fields)
        assert [v.field for v in raised.value.violations] == [f"{kind.field}.id"]


@pytest.mark.parametrize("path", ["nonsense", "etag", "id", "create_time.seconds", "origin"])
def test_a_mask_with_a_path_that_cannot_change_is_refused(
    client: ridgeline.Client, kind: Kind, path: str
) -> None:
    kind.call(client, "create", kind.sample())
    with pytest.raises(errors.InvalidArgumentError) as raised:
        kind.call(client, "update", kind.sample(), fields=[path])
    assert [v.field for v in raised.value.violations] == ["update_mask"]
    assert path in raised.value.violations[0].description


def test_a_stale_etag_aborts_and_a_current_one_does_not(client: ridgeline.Client, kind: Kind) -> None:
    first = kind.entry(kind.call(client, "create", kind.sample()))
    changed = kind.sample()
    setattr(changed, kind.changed_field, kind.other_value)
    second = kind.entry(kind.call(client, "update", changed))
    with pytest.raises(errors.AbortedError) as raised:
        kind.call(client, "update", first)
    assert raised.value.reason == "ETAG_MISMATCH"
    with pytest.raises(errors.AbortedError):
        kind.call(client, "delete", first.id, etag=first.etag)
    kind.call(client, "delete", second.id, etag=second.etag)


def test_updating_what_is_not_there_needs_allow_missing(client: ridgeline.Client, kind: Kind) -> None:
    with pytest.raises(errors.NotFoundError):
        kind.call(client, "update", kind.sample())
    created = kind.entry(kind.call(client, "update", kind.sample(), allow_missing=True))
    assert settable(created) == settable(kind.sample())


def test_validating_writes_nothing(client: ridgeline.Client, kind: Kind) -> None:
    validated = kind.call(client, "create", kind.sample(), validate_only=True)
    assert settable(kind.entry(validated)) == settable(kind.sample())
    assert not kind.entry(validated).etag
    with pytest.raises(errors.NotFoundError):
        kind.call(client, "get", kind.sample().id)
    stored = kind.call(client, "create", kind.sample())
    assert stored.catalog_revision == validated.catalog_revision + 1

    change = kind.sample()
    setattr(change, kind.changed_field, kind.other_value)
    assert getattr(
        kind.entry(kind.call(client, "update", change, validate_only=True)), kind.changed_field
    ) == (kind.other_value)
    assert kind.entry(kind.call(client, "get", change.id)) == kind.entry(stored)
    with pytest.raises(errors.AlreadyExistsError):
        kind.call(client, "create", kind.sample(), validate_only=True)


def test_a_taken_id_names_its_holder(client: ridgeline.Client, kind: Kind) -> None:
    kind.call(client, "create", kind.sample())
    with pytest.raises(errors.AlreadyExistsError) as raised:
        kind.call(client, "create", kind.sample())
    assert raised.value.reason == "NAME_TAKEN"
    assert raised.value.metadata["holder"] == kind.sample().id


def test_a_missing_entry_tells_the_nearest_names(client: ridgeline.Client, kind: Kind) -> None:
    kind.call(client, "create", kind.sample())
    near = kind.sample().id[:-1]
    for verb in ("get", "delete"):
        with pytest.raises(errors.NotFoundError) as raised:
            kind.call(client, verb, near)
        assert raised.value.reason == f"{kind.field.upper()}_NOT_FOUND"
        assert raised.value.nearest == (kind.sample().id,)
        assert kind.sample().id in raised.value.message


@pytest.mark.parametrize("name", ["", "   "])
def test_a_blank_name_is_a_wrong_field(client: ridgeline.Client, kind: Kind, name: str) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        kind.call(client, "get", name)
    assert [v.field for v in raised.value.violations] == ["id"]


def test_a_list_gives_every_entry_in_order(client: ridgeline.Client, kind: Kind) -> None:
    ids = [kind.sample().id + suffix for suffix in ("-c", "-a", "-b")]
    for entry_id in ids:
        kind.call(client, "create", kind.sample(entry_id))
    listed = getattr(kind.call(client, "list"), kind.plural)
    assert [entry.id for entry in listed] == sorted(ids)
    assert [settable(entry) for entry in listed] == [
        settable(kind.sample(entry_id)) for entry_id in sorted(ids)
    ]


def test_a_device_is_found_by_any_spelling_of_an_alias(client: ridgeline.Client) -> None:
    client.create_hardware(samples.device("x100", "Example X-100"))
    assert client.get_hardware("example_x 100").hardware.id == "x100"
    with pytest.raises(errors.AlreadyExistsError) as raised:
        client.create_hardware(samples.device("example-x-100"))
    assert raised.value.metadata["holder"] == "x100"


def test_part_of_a_sub_message_can_be_masked(client: ridgeline.Client) -> None:
    client.create_hardware(samples.device())
    change = hardware_pb2.Hardware(id="x100", link=hardware_pb2.Link(kind="Renamed"))
    after = client.update_hardware(change, fields=["link.kind"]).hardware
    assert after.link == hardware_pb2.Link(kind="Renamed", bandwidth_bytes_per_s=300e9, domain_size=8)


def test_a_masked_field_that_is_not_given_is_cleared(client: ridgeline.Client) -> None:
    client.create_hardware(samples.device())
    fields = ["link", "tdp_watts", "notes", "release_year"]
    after = client.update_hardware(hardware_pb2.Hardware(id="x100"), fields=fields).hardware
    assert not any(after.HasField(name) for name in ("link", "tdp_watts", "release_year"))
    assert not after.notes
    assert after.price_usd_per_hour == 1.75


def test_masked_updates_at_the_same_time_lose_nothing(client: ridgeline.Client) -> None:
    client.create_hardware(samples.device())
    changes: dict[str, object] = {"vendor": "A", "display_name": "B", "tdp_watts": 1.5, "kind": "cpu"}

    def change(field: str) -> None:
        message = hardware_pb2.Hardware(id="x100")
        setattr(message, field, changes[field])
        client.update_hardware(message, fields=[field])

    with ThreadPoolExecutor(len(changes)) as pool:
        list(pool.map(change, changes))
    stored = client.get_hardware("x100").hardware
    assert {field: getattr(stored, field) for field in changes} == changes


def test_a_masked_update_is_checked_as_a_whole(client: ridgeline.Client) -> None:
    client.create_hardware(samples.device())
    change = hardware_pb2.Hardware(id="x100", memory_bytes=2.0**30)
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.update_hardware(change, fields=["memory_bytes"])
    assert [v.field for v in raised.value.violations] == ["hardware.usable_memory_bytes"]
    assert client.get_hardware("x100").hardware.memory_bytes == 80 * 2.0**30


def test_everything_that_is_wrong_with_a_device_is_told_at_once(client: ridgeline.Client) -> None:
    nan, infinite = float("nan"), float("inf")
    broken = hardware_pb2.Hardware(
        id="No Slug",
        display_name="x" * 200,
        aliases=["ok", " ", "nul\0"],
        kind="toaster",
        release_year=1066,
        memory_bytes=nan,
        usable_memory_bytes=-1,
        bandwidth_bytes_per_s=infinite,
        peaks=[
            hardware_pb2.PeakRate(dtype=types_pb2.DTYPE_BF16, flops_per_s=0),
            hardware_pb2.PeakRate(dtype=types_pb2.DTYPE_BF16, flops_per_s=1e12),
            hardware_pb2.PeakRate(flops_per_s=1e12),
            hardware_pb2.PeakRate(dtype=99, flops_per_s=1e30),  # type: ignore[arg-type]  # from a newer client
        ],
        link=hardware_pb2.Link(kind="x"),
        tdp_watts=0,
        price_usd_per_hour=-2,
        sources=[
            hardware_pb2.FigureSource(field="tdp_watts", read_on="yesterday"),
            hardware_pb2.FigureSource(field="tdp_watts", read_on="2026-02-30"),
        ],
    )
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.create_hardware(broken)
    assert {v.field for v in raised.value.violations} == {
        "hardware.id",
        "hardware.display_name",
        "hardware.aliases[1]",
        "hardware.aliases[2]",
        "hardware.kind",
        "hardware.release_year",
        "hardware.memory_bytes",
        "hardware.usable_memory_bytes",
        "hardware.bandwidth_bytes_per_s",
        "hardware.peaks[0].flops_per_s",
        "hardware.peaks[1].dtype",
        "hardware.peaks[2].dtype",
        "hardware.peaks[3].dtype",
        "hardware.peaks[3].flops_per_s",
        "hardware.link.bandwidth_bytes_per_s",
        "hardware.tdp_watts",
        "hardware.price_usd_per_hour",
        "hardware.sources[0].read_on",
        "hardware.sources[1].field",
        "hardware.sources[1].read_on",
    }
    assert not client.list_hardware().hardware


def test_everything_that_is_wrong_with_a_model_is_told_at_once(client: ridgeline.Client) -> None:
    broken = samples.model("a/b/c")
    broken.source = "\0"
    broken.config_json = json.dumps({**samples.CONFIG, "hidden_size": -1, "num_hidden_layers": "many"})
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.create_model(broken)
    assert {v.field for v in raised.value.violations} == {
        "model.id",
        "model.source",
        "model.config_json.hidden_size",
        "model.config_json.num_hidden_layers",
    }
    assert raised.value.reason == "INVALID_FIELD"


def test_everything_that_is_wrong_with_a_profile_is_told_at_once(client: ridgeline.Client) -> None:
    broken = efficiency_profile_pb2.EfficiencyProfile(
        id="",
        hardware_id="No Slug",
        launch_time_us=efficiency_profile_pb2.Estimate(value=-1, low=0, high=1),
        compute_efficiency=efficiency_profile_pb2.Estimate(value=0.5, low=0.6, high=0.7),
        memory_efficiency=efficiency_profile_pb2.Estimate(value=0.5, low=0.4, high=1.5),
        evidence_count=-1,
    )
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.create_efficiency_profile(broken)
    assert {v.field.removeprefix("efficiency_profile.") for v in raised.value.violations} == {
        "id",
        "hardware_id",
        "operator_class",
        "launch_time_us.value",
        "launch_time_us",
        "compute_efficiency",
        "memory_efficiency.high",
        "overlap_exponent",
        "evidence_count",
        "source",
    }


def test_a_model_shows_what_its_config_says(client: ridgeline.Client) -> None:
    stored = client.create_model(samples.model()).model
    assert stored.family == "llama"
    assert (stored.layer_count, stored.hidden_size, stored.vocab_size) == (2, 64, 1000)
    assert (stored.head_count, stored.kv_head_count, stored.max_context_len) == (4, 2, 2048)
    assert stored.weight_dtype == types_pb2.DTYPE_BF16
    # 2 layers x (q, o 64x64; k, v 32x64; three MLP matrices 64x128; two norms), two tables, the final norm.
    assert stored.parameter_count == 2 * (2 * 4096 + 2 * 2048 + 3 * 8192 + 128) + 2 * 64_000 + 64
    # 2 layers x keys and values x 2 heads x 16 elements x 2 bytes.
    assert stored.kv_bytes_per_token == 2 * 2 * 2 * 16 * 2


def test_a_model_is_imported_from_its_config_alone(client: ridgeline.Client) -> None:
    config = {**samples.CONFIG, "_name_or_path": "example/FromConfig"}
    imported = client.import_model(config, source="a test").model
    assert (imported.id, imported.source, imported.layer_count) == ("example/FromConfig", "a test", 2)
    assert client.get_model("example/FromConfig").model == imported


def test_an_import_without_any_name_asks_for_one(client: ridgeline.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.import_model(samples.CONFIG)
    assert [v.field for v in raised.value.violations] == ["id"]
    assert client.import_model(samples.CONFIG, id="example/Named").model.id == "example/Named"


def test_a_path_in_a_config_is_no_id(client: ridgeline.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.import_model({**samples.CONFIG, "_name_or_path": "/home/someone/checkpoint"})
    assert [v.field for v in raised.value.violations] == ["id"]


def test_importing_again_needs_allow_existing_and_keeps_the_names(client: ridgeline.Client) -> None:
    client.create_model(samples.model("example/Tiny-1B", "tiny"))
    config = {**samples.CONFIG, "num_hidden_layers": 3}
    with pytest.raises(errors.AlreadyExistsError):
        client.import_model(config, id="example/Tiny-1B")
    validated = client.import_model(
        config, id="example/Tiny-1B", allow_existing=True, validate_only=True
    ).model
    assert validated.layer_count == 3
    assert client.get_model("tiny").model.layer_count == 2
    imported = client.import_model(config, id="example/Tiny-1B", allow_existing=True).model
    assert (imported.layer_count, imported.display_name) == (3, "Example example/Tiny-1B")
    assert client.get_model("tiny").model == imported


def test_a_config_that_only_another_release_can_read_does_not_hide_the_others(
    connect: Connect, empty_catalog_url: str
) -> None:
    client = connect(empty_catalog_url)
    for entry_id in ("a/readable", "b/newer", "c/readable"):
        client.create_model(samples.model(entry_id))
    engine = create_database_engine(empty_catalog_url)
    with engine.begin() as connection:
        newer = update(tables.models).where(tables.models.c.id == "b/newer")
        connection.execute(newer.values(config_json='{"model_type": "unheard-of"}', etag="newer"))
    engine.dispose()
    listed = client.list_models().models
    assert [model.id for model in listed] == ["a/readable", "b/newer", "c/readable"]
    assert [model.layer_count for model in listed] == [2, 0, 2]
    assert "cannot read" in listed[1].assumptions[0]

    repaired = client.update_model(samples.model("b/newer"), fields=["config_json"]).model
    assert repaired.layer_count == 2
    assert not repaired.assumptions
    assert list(repaired.notes) == list(samples.model().notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "INVALID_FIELD"),
        ("{", "INVALID_FIELD"),
        ("[]", "INVALID_FIELD"),
        ("[" * 100_000, "INVALID_FIELD"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "INVALID_FIELD"),
        ("{}", "UNSUPPORTED_CONFIG"),
        ('{"model_type": "\\ud800"}', "INVALID_FIELD"),
        ('{"model_type": "mamba", "ssm_cfg": {"d": 1}}', "UNSUPPORTED_CONFIG"),
    ],
    ids=[
        "empty",
        "cut off",
        "a list",
        "nested deeply",
        "a huge number",
        "without keys",
        "half a surrogate pair",
        "another architecture",
    ],
)
def test_a_config_that_cannot_be_used_is_a_wrong_field(
    client: ridgeline.Client, text: str, reason: str
) -> None:
    model = samples.model()
    model.config_json = text
    with pytest.raises(errors.InvalidArgumentError) as raised:
        client.create_model(model)
    assert raised.value.reason == reason
    (violation,) = raised.value.violations
    assert violation.field.startswith("model.config_json")
    assert len(violation.description) < 700
