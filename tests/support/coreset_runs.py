"""Small runs to choose coresets from, and the command line on them."""

from helpers import at_home

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.review.reviews import open_reviews


def at_home_on_disk(folder):
    """The run of a copied folder, whose run.json tells where its data lies now and what it is."""
    run = at_home(folder)
    there = open_dataset(run.manifest["dataset"]["source"], check=False)
    return at_home(folder, fingerprint=there.fingerprint).rewrite(run.stages)


def decide(run, sample, decision, label=None, finding=None):
    reviews = open_reviews(run)
    finding = finding or f"label_error:{sample}"
    reviews.add(finding=finding, sample=sample, decision=decision, new_label=label, reviewer="ann")


def lossprint(capsys, *arguments) -> tuple[int, str, str]:
    status = cli.main([str(one) for one in arguments])
    told = capsys.readouterr()
    return status, told.out, told.err
