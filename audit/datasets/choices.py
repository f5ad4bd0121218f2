"""What the owner of a dataset may decide about samples and classes that cannot be used as they are."""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lossprint.audit.types import LossprintError


@dataclass(frozen=True)
class Choices:
    """How a dataset is read; the defaults lose nothing in silence.

    min_per_class: classes with fewer samples in train and val are left out. allow_lost_classes: whether a class of
    which no image can be read may be gone; else it is an error. follow_links: whether files are read to which links
    lead out of the dataset's folder. normalise_labels: whether labels that differ only in case, blanks or Unicode form
    become the most frequent of them. allow_truncated: whether images whose end is missing are read as far as they go.
    max_pixels: how many pixels an image may have; None for Pillow's limit of 89 million. root: the folder that a
    manifest's paths are relative to, else its own. path_column, label_column: the columns of a manifest that hold them,
    where they are named otherwise. no_images: whether a manifest lists rows that have none, see `readers.rows`.
    exclude: names of folders, separated by commas, whose files are no samples. group_by: a column of a manifest, such
    as patient, of whose values no fold and no drawn validation split has a part only.
    """

    min_per_class: int = 2
    allow_lost_classes: bool = False
    follow_links: bool = False
    normalise_labels: bool = False
    allow_truncated: bool = False
    max_pixels: int | None = None
    root: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    no_images: bool = False
    exclude: str | None = None
    group_by: str | None = None

    @property
    def admitted(self) -> dict:
        """What `images.admitting` takes of them."""
        return {"allow_truncated": self.allow_truncated, "max_pixels": self.max_pixels}

    def root_beside(self, manifest: Path) -> Path | None:
        """The folder that is named for the paths of a manifest, from here. Raises LossprintError where it is none."""
        if self.root is None:
            return None
        root = Path(os.path.abspath(os.path.expanduser(self.root)))
        if not root.is_dir():
            raise LossprintError(f"expected a folder as --root of {manifest}, found none at {root}")
        return root

    @classmethod
    def of(cls, asked: dict) -> "Choices":
        """Those among what was asked for; the default in place of what was not."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: asked[name] for name in names if asked.get(name) is not None})

    def changed(self) -> dict:
        """Those that are not the default, by name: what run.json keeps."""
        return {name: value for name, value in asdict(self).items() if value != asdict(USUAL)[name]}


USUAL = Choices()
