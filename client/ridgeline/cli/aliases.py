"""Says which device a name was taken as: a cloud instance, for one, stands for one of its devices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ridgeline.client import Client
    from ridgeline.v1.hardware_pb2 import Hardware

_SEPARATORS = re.compile(r"[\s_-]+")


def answered(client: Client, asked: str, device_id: str, revision: int) -> str:
    """The sentence for an answer about the device of that id; empty when it is what was asked for."""
    from ridgeline.files import names_file

    if names_file(asked) or _same(asked, device_id):
        return ""
    return sentence(asked, client.get_hardware(device_id, catalog_revision=revision).hardware)


def sentence(asked: str, device: Hardware) -> str:
    """`p5.48xlarge is taken as one h100-sxm (NVIDIA H100 SXM5 80GB).`; empty for the device's own name."""
    if any(_same(asked, name) for name in (device.id, device.display_name)):
        return ""
    named = f"{device.id} ({device.display_name})" if device.display_name else device.id
    return f"{asked} is taken as one {named}."


def _same(asked: str, name: str) -> bool:
    """Whether a name differs only in what does not matter in names."""
    return _SEPARATORS.sub("", asked).casefold() == _SEPARATORS.sub("", name).casefold()
