"""What the owner of a dataset may decide about samples and classes that cannot be used as they are."""

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Choices:
    """How a dataset is read; the defaults lose nothing in silence.

    min_per_class: classes with fewer samples in train and val are left out. allow_lost_classes: whether a class of
    which no image can be read may be gone; else it is an error. follow_links: whether files are read to which links
    lead out of the dataset's folder. normalise_labels: whether labels that differ only in case, blanks or Unicode form
    become the most frequent of them. allow_truncated: whether images whose end is missing are read as far as they go.
    max_pixels: how many pixels an image may have; None for Pillow's limit of 89 million.
    """

    min_per_class: int = 2
    allow_lost_classes: bool = False
    follow_links: bool = False
    normalise_labels: bool = False
    allow_truncated: bool = False
    max_pixels: int | None = None

    @property
    def admitted(self) -> dict:
        """What `images.admitting` takes of them."""
        return {"allow_truncated": self.allow_truncated, "max_pixels": self.max_pixels}

    @classmethod
    def of(cls, asked: dict) -> "Choices":
        """Those among what was asked for; the default in place of what was not."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: asked[name] for name in names if asked.get(name) is not None})

    def changed(self) -> dict:
        """Those that are not the default, by name: what run.json keeps."""
        return {name: value for name, value in asdict(self).items() if value != asdict(USUAL)[name]}


USUAL = Choices()
