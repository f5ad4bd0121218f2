"""What the owner of a dataset may decide about samples and classes that cannot be used as they are."""

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Choices:
    """How a dataset is read; the defaults lose nothing in silence.

    min_per_class: classes with fewer samples in train and val are left out. allow_lost_classes: whether a class of
    which no image can be read may be gone; else it is an error. follow_links: whether files are read to which links
    lead out of the dataset's folder. normalise_labels: whether labels that differ only in case, blanks or Unicode form
    become the most frequent of them.
    """

    min_per_class: int = 2
    allow_lost_classes: bool = False
    follow_links: bool = False
    normalise_labels: bool = False

    @classmethod
    def of(cls, asked: dict) -> "Choices":
        """Those among what was asked for; the default in place of what was not."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: asked[name] for name in names if asked.get(name) is not None})

    def changed(self) -> dict:
        """Those that are not the default, by name: what run.json keeps."""
        return {name: value for name, value in asdict(self).items() if value != asdict(USUAL)[name]}


USUAL = Choices()
