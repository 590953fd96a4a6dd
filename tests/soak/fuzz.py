"""Mutated configs and catalog files go the way of an import: a file is read by the client and written by the
service. Each is refused with a reason, or is stored as what it says.

`python -m tests.soak fuzz --seed S --only N` repeats the N-th input of a run alone.
"""

from __future__ import annotations

import json
import random
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ridgeline
import ridgeline_catalog
from ridgeline.errors import InvalidArgumentError, RidgelineError
from ridgeline.files import device_document, device_text, model_document, read_device, read_model, read_object
from ridgeline.files.folders import read_model_folder
from ridgeline.v1 import catalog_service_pb2 as pb
from ridgeline.v1.errors_pb2 import ErrorReason
from ridgeline.v1.hardware_pb2 import Hardware
from ridgeline.v1.model_pb2 import Model
from tests.rpc.samples import device
from tests.soak import properties
from tests.soak.mutations import Document, Mutant, config_of, mutant
from tests.soak.properties import Baseline, Violation, stated, with_plain_config

INPUTS = 10_000
CATALOG = Path(ridgeline_catalog.__file__).parent
ASKED_DEVICE = "fuzz-x100"
CONFIG_ID = "fuzz/config"
REASONS = {"INVALID_FIELD", "UNSUPPORTED_CONFIG", "NAME_TAKEN"}
"""Why an entry may be refused on a catalog that has no other."""


@dataclass(frozen=True)
class Form:
    """One form of file: where good ones come from, how one is read, and what is printed of a stored entry."""

    name: str
    folder: str
    read: Callable[[Path], Hardware | Model]
    document: Callable[[Document], Document] = deepcopy

    def sources(self) -> Iterator[Path]:
        """The good files."""
        return iter(sorted((CATALOG / self.folder).glob("*.json")))


def _read_config(path: Path) -> Model:
    model = read_model_folder(path.parent).model
    model.id = CONFIG_ID
    return model


MODEL_FILE = Form("model file", "models", lambda path: read_model(read_object(path, "file")))
CONFIG_FILE = Form("config.json", "models", _read_config, lambda document: deepcopy(document["config"]))
DEVICE_FILE = Form("device file", "hardware", lambda path: read_device(read_object(path, "file")))
SHARES = {MODEL_FILE: 4, CONFIG_FILE: 3, DEVICE_FILE: 3}
"""How many of ten inputs have which form."""


@dataclass(frozen=True)
class Failure:
    """An input that broke a property, and the smallest document that does the same."""

    number: int
    source: str
    done: tuple[str, ...]
    violation: Violation
    smallest: str

    def __str__(self) -> str:
        return (
            f"input {self.number} ({self.source}; {'; '.join(self.done)}): {self.violation}\n"
            f"  smallest: {self.smallest[:3000]}"
        )


@dataclass
class Report:
    """What became of the inputs."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{counts['inputs']:,} inputs: {counts['refused by the reader']:,} refused by the reader, "
            f"{counts['refused by the service']:,} by the service, {counts['stored']:,} stored, exported and "
            f"read again; of these {counts['recounted']:,} recounted by a formula, {counts['compared']:,} "
            f"compared with the file before its mutation, {counts['analysed']:,} analysed; "
            f"{len(self.failures)} failures"
        )


class Fuzzer:
    """Tries files on one catalog, which between them holds but a device that models are analysed on."""

    def __init__(self, client: ridgeline.Client, folder: Path) -> None:
        self.client = client
        self.report = Report()
        self._path = folder / "config.json"
        self._baselines: dict[Path, Baseline] = {}
        client.create_hardware(device(ASKED_DEVICE))

    def run(self, seed: int, numbers: range) -> None:
        """Try the inputs of those numbers."""
        for number in numbers:
            chance = random.Random(f"{seed}, {number}")
            (form,) = chance.choices(list(SHARES), list(SHARES.values()))
            source = chance.choice(list(form.sources()))
            document = form.document(json.loads(source.read_text(encoding="utf-8")))
            made = mutant(document, chance)
            self.report.counts["inputs"] += 1
            found = self.tried(form, source, made.data, counting=True)
            if found is not None:
                smallest = self._smallest(form, source, made, found)
                failure = Failure(number, f"{form.name} {source.name}", made.done, found, smallest)
                self.report.failures.append(failure)

    def tried(self, form: Form, source: Path, data: bytes, *, counting: bool = False) -> Violation | None:
        """The property that a file's import breaks; None for none."""
        counts: Counter[str] = self.report.counts if counting else Counter()
        try:
            with self._emptied():
                self._try(form, data, self._baseline(form, source), counts)
        except Violation as violation:
            return violation
        except Exception:  # noqa: BLE001  # whatever is raised is what this is here to find
            return Violation("nothing crashes", traceback.format_exc(limit=-4))
        return None

    def _try(self, form: Form, data: bytes, baseline: Baseline | None, counts: Counter[str]) -> None:
        self._path.write_bytes(data)
        try:
            message = form.read(self._path)
        except InvalidArgumentError as error:
            properties.check_refusal(str(error))
            counts["refused by the reader"] += 1
            return
        (outcome,) = self.client.import_entries([message]).outcomes
        if outcome.action == pb.IMPORT_ACTION_REFUSED:
            reason = ErrorReason.Name(outcome.error.reason).removeprefix("ERROR_REASON_")
            if reason not in REASONS:
                raise Violation("an error that is no refusal", f"{reason}: {outcome.error.message}")
            properties.check_refusal(outcome.error.message)
            counts["refused by the service"] += 1
            return
        if outcome.action != pb.IMPORT_ACTION_CREATED:
            raise Violation("a new entry is created", str(outcome))
        counts["stored"] += 1
        text = data.decode("utf-8-sig")
        properties.check_keys(text)
        content = json.loads(text)
        if isinstance(message, Hardware):
            self._check_device(content, message)
        else:
            self._check_model(form, content, message, baseline, counts)

    def _check_device(self, content: Mapping[str, Any], message: Hardware) -> None:
        stored = self.client.get_hardware(message.id).hardware
        properties.check_kept(message, stored)
        properties.check_device_figures(content, stored)
        self._check_export(stored, DEVICE_FILE.read, _device_text)

    def _check_model(
        self, form: Form, content: Document, message: Model, baseline: Baseline | None, counts: Counter[str]
    ) -> None:
        stored = self.client.get_model(message.id).model
        properties.check_kept(message, stored)
        properties.check_config(content if form is CONFIG_FILE else content.get("config", content), stored)
        counts["recounted"] += properties.check_count(stored)
        if baseline is not None:
            counts["compared"] += properties.check_against(baseline, stored)
        self._check_export(stored, MODEL_FILE.read, _model_text, as_text=form is MODEL_FILE)
        try:
            self.client.analyze(stored.id, ASKED_DEVICE, input_len=64, output_len=8, ideal=True)
            counts["analysed"] += 1
        except RidgelineError as error:
            if error.code == "INTERNAL":
                raise Violation("no analysis fails by a fault", str(error)) from None

    def _check_export(
        self,
        stored: Hardware | Model,
        read: Callable[[Path], Hardware | Model],
        printed: Callable[[Any], str],
        *,
        as_text: bool = True,
    ) -> None:
        """What is exported reads as what is stored, prints as the same text, and imports as no change; a
        config that was not printed as exports are may be laid out otherwise.
        """
        text = printed(stored)
        self._path.write_text(text, encoding="utf-8")
        again = read(self._path)
        found, wanted = with_plain_config(stated(again)), with_plain_config(stated(stored))
        properties.check_same(found, wanted, "an export reads as what is stored")
        if printed(again) != text:
            raise Violation("an export of an import is the same text", f"{printed(again)}\nfrom\n{text}")
        if as_text:
            (outcome,) = self.client.import_entries([again]).outcomes
            if outcome.action != pb.IMPORT_ACTION_UNCHANGED:
                raise Violation("an export imports as no change", str(outcome)[:1000])

    @contextmanager
    def _emptied(self) -> Iterator[None]:
        """Remove afterwards what was stored."""
        try:
            yield
        finally:
            for stored in [*self.client.iter_hardware()]:
                if stored.id != ASKED_DEVICE:
                    self.client.delete_hardware(stored.id)
            for model in [*self.client.iter_models()]:
                self.client.delete_model(model.id)

    def _baseline(self, form: Form, source: Path) -> Baseline | None:
        """What the file says as it ships; None for a device."""
        if form.folder != "models":
            return None
        if source not in self._baselines:
            document = json.loads(source.read_text(encoding="utf-8"))
            entry = Model(id=CONFIG_ID, config_json=json.dumps(document["config"]))
            answer = self.client.create_model(entry, validate_only=True).model
            self._baselines[source] = Baseline(config_of(document), answer)
        return self._baselines[source]

    def _smallest(self, form: Form, source: Path, made: Mutant, found: Violation) -> str:
        """The document without whatever may be left out for the same violation, if it is one at all."""
        try:
            document = json.loads(made.data.decode("utf-8-sig"))
        except ValueError:
            return repr(made.data[:2000])

        def fails(candidate: Any) -> bool:
            data = json.dumps(candidate).encode("utf-8", errors="replace")
            again = self.tried(form, source, data)
            return again is not None and again.broken == found.broken

        if not isinstance(document, dict) or not fails(document):
            return repr(made.data[:2000])
        for part in (document, config_of(document)):
            for key in list(part):
                value = part.pop(key)
                if not fails(document):
                    part[key] = value
        return json.dumps(document)


def _device_text(stored: Hardware) -> str:
    return device_text(device_document(stored))


def _model_text(model: Model) -> str:
    return json.dumps(model_document(model), indent=2, ensure_ascii=False) + "\n"


def soak(database_url: str, *, seed: int, count: int, first: int = 0) -> Report:
    """Try that many inputs on a database whose catalog is empty."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ridgeline.connect(database_url=database_url) as client,
    ):
        fuzzer = Fuzzer(client, Path(folder))
        fuzzer.run(seed, range(first, first + count))
        return fuzzer.report
