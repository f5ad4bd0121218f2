"""What a `--model` may name: a network to train, a pretrained backbone after `frozen:`, or both, joined by `+`."""

FROZEN = "frozen:"  # before the name of a pretrained backbone, as --model
FEATURES = f"{FROZEN}features"  # the backbone of a run whose features were made elsewhere
SENTENCES = f"{FROZEN}sentences:"  # before the name of an encoder of texts
SMALL = "small"
AUTO = "auto"  # chooses by what is at hand, see `workflow.auto`
VIEW = "view=frozen"  # the member of a run that holds its second view


def parts(model: str) -> tuple[str | None, str | None]:
    """The network that is trained and the backbone of a model, None for what it has not; the backbone with `frozen:`.

    `small+frozen:resnet50` has both, each a view of the same samples.
    """
    if model.startswith(FROZEN):
        return None, model
    trained, plus, backbone = model.partition("+")
    return (trained, backbone) if plus and backbone.startswith(FROZEN) else (model, None)


def trained_of(model: str) -> str:
    """The network that is trained, or the model as it is where none is."""
    return parts(model)[0] or model
