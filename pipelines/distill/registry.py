"""All methods by name: a new one is one file and one line here."""

from __future__ import annotations

from .csd import Csd
from .dds import Dds
from .ism import Ism
from .nfsd import Nfsd
from .plug import Distillation, How, Paper, with_options
from .sdi import Sdi
from .sds import Sds
from .sjc import Sjc
from .vsd import Vsd

METHODS: dict[str, type[Distillation]] = {
    "sds": Sds,
    "sjc": Sjc,
    "csd": Csd,
    "nfsd": Nfsd,
    "ism": Ism,
    "sdi": Sdi,
    "vsd": Vsd,
    "dds": Dds,
}


def method_of(how: How) -> Distillation:
    """The method on the wire, with its numbers; InputError for numbers that it does not have."""
    return with_options(how.method, METHODS[how.method], how.options)


def paper_of(how: How) -> Paper:
    """The paper of the method on the wire."""
    return METHODS[how.method].paper
