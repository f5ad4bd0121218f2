"""What differs between datasets of images and of texts: one noun, which readers, reports and pages ask."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Media:
    """What the samples of a dataset are, and what is said and done otherwise for it.

    noun: what one sample is called. same: what exact duplicates share. content: what is compared to find copies.
    measure: the size of a sample as a format of `width` and `height`. alike: what the similarity of near duplicates is,
    and which are found at the least of it. gone: what stands in for a sample that cannot be read. missed: which copies
    are not found. trained: whether a training is built in. filed: whether samples can be exported as files. words: what
    our sentences about images say instead, in the order of their replacement.
    """

    noun: str
    same: str
    content: str
    measure: str
    alike: str
    gone: str
    missed: str
    trained: bool
    filed: bool
    words: tuple[tuple[str, str], ...] = ()

    def worded(self, sentence: str) -> str:
        """A sentence of ours about images, said of these samples."""
        for image, ours in self.words:
            sentence = sentence.replace(image, ours).replace(image[0].upper() + image[1:], ours[0].upper() + ours[1:])
        return sentence


IMAGES = Media(
    noun="image",
    same="pixels",
    content="pictures",
    measure="{width} × {height} px",
    alike="The share of one picture's detail that the other explains; leftmost: every pair that the audit took for "
    "one picture",
    gone="no picture",
    missed="Copies that were cropped by more than a fifth, turned by other than quarter turns, or hidden in part are "
    "mostly missed, and different pictures of one patient, object or scene are no copies to it.",
    trained=True,
    filed=True,
)
TEXTS = Media(
    noun="text",
    same="words",
    content="words",
    measure="{width:,} characters",
    alike="The share of all runs of five words that both texts have; leftmost: every pair that the audit found",
    gone="no text",
    missed="Texts that say the same in other words are no copies to it.",
    trained=False,
    filed=False,
    words=(
        ("Largest image", "Longest text"),
        ("most pixels", "most characters"),
        ("image files", "file"),
        ("an image", "a text"),
        ("image", "text"),
        ("pixels", "words"),
    ),
)


def media_of(dataset: dict) -> Media:
    """The media of run.json's `dataset`, which names them where they are not images."""
    return TEXTS if dataset.get("media") == TEXTS.noun else IMAGES
