"""How images that are no plain 8-bit pictures are drawn, for eyes and networks alike, by what their dataset holds.

16-bit, 32-bit and float greys are scaled by one range for the whole dataset, since exposure says something and one hot
pixel nothing. Transparent images are laid on one ground, on which they can be seen. A `View` says both, and run.json
keeps it. Of images alone, without a dataset, each is scaled by its own range and laid on white: `PLAIN`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

DEEP_GREY = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
STRIP = 1 << 20  # pixels that are converted at once
SAMPLED = 128  # pixels a side that are looked at to choose a range and a ground
# Of each image its values at these percentiles count; of the dataset, all of these between OUTER, and what lies up to
# half of that range beyond.
INNER, OUTER = np.linspace(0.1, 99.9, 65), (0.5, 99.5)
# White and black first, then greys and colours, in the order in which they are preferred.
GROUNDS = [(level, level, level) for level in (255, 0, 128)]
GROUNDS += [(r, g, b) for r in (0, 128, 255) for g in (0, 128, 255) for b in (0, 128, 255) if len({r, g, b}) > 1]
NEAR = 32  # levels: a colour that differs less from the ground, in every channel, cannot be seen on it
HIDDEN = 0.5  # share of a picture that is not seen on a ground, from which it counts as blank


@dataclass(frozen=True)
class View:
    """ground: a colour, `#rrggbb`. whole, real: the values (low, high) that become black and white, of integers and of
    floats; None scales each image by its own.
    """

    ground: str = "#ffffff"
    whole: tuple[float, float] | None = None
    real: tuple[float, float] | None = None

    @classmethod
    def of(cls, kept: dict | None) -> "View":
        """What `changed` gave. Raises ValueError for what is no view."""
        view = cls(**{name: value for name, value in (kept or {}).items() if name in ("ground", "whole", "real")})
        if not (isinstance(view.ground, str) and re.fullmatch("#[0-9a-f]{6}", view.ground)):
            raise ValueError(f"{view.ground!r:.40} instead of a colour as dataset.shown.ground")
        for name in ("whole", "real"):
            found = getattr(view, name)
            if found is None:
                continue
            numbers = isinstance(found, list | tuple) and len(found) == 2
            if not numbers or not all(type(one) in (int, float) and np.isfinite(one) for one in found):
                raise ValueError(f"{found!r:.40} instead of two numbers as dataset.shown.{name}")
            view = replace(view, **{name: (float(found[0]), float(found[1]))})
        return view

    def changed(self) -> dict:
        """What differs from `PLAIN`: what run.json keeps."""
        fields = {"ground": self.ground, "whole": self.whole, "real": self.real}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
            if value != getattr(PLAIN, name)
        }


PLAIN = View()


def rendered(image: Image.Image, view: View = PLAIN) -> Image.Image:
    """An upright image as RGB, or as 8-bit grey where that is the same."""
    if image.mode in DEEP_GREY:
        return _scaled(image, view.real if image.mode == "F" else view.whole)
    if has_transparency(image):
        image = image.convert("LA") if image.mode == "La" else image
        ground = Image.new("RGBA", image.size, view.ground)
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def has_transparency(image: Image.Image) -> bool:
    """Whether an image has an alpha channel, or a colour or palette entry that is transparent."""
    return image.mode in ("La", "RGBa") or image.has_transparency_data


def strips(image: Image.Image) -> Iterator[Image.Image]:
    """The image in bands of whole rows, of about `STRIP` pixels each."""
    width, height = image.size
    rows = max(1, STRIP // max(width, 1))
    if rows >= height:
        yield image
        return
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(top + rows, height)))


def _scaled(image: Image.Image, between: tuple[float, float] | None) -> Image.Image:
    """Deep grey -> 8-bit grey, linearly between two values. Those that are not finite become the lower one."""
    low, high = between or _extremes(image)
    factor = 255 / (high - low) if high > low else 0.0
    out, top = np.empty((image.height, image.width), np.uint8), 0
    for strip in strips(image):
        values = np.asarray(strip).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            levels = np.clip((np.where(np.isfinite(values), values, low) - low) * factor, 0, 255)
        out[top : top + strip.height] = np.rint(levels)
        top += strip.height
    return Image.fromarray(out)


def _extremes(image: Image.Image) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for strip in strips(image):
        values = np.asarray(strip)
        values = values[np.isfinite(values)] if image.mode == "F" else values
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return (low, high) if low <= high else (0.0, 0.0)


# ------------------------------------------------------------------------------------------------ what a dataset holds


@dataclass(frozen=True, eq=False)
class Sketch:
    """What an image says about the view. kind: whole, real or ground. values: of the first two the values at `INNER`
    percentiles, of a ground the share of the picture that cannot be seen on each of `GROUNDS`.
    """

    kind: str
    values: np.ndarray


def sketch(image: Image.Image) -> Sketch | None:
    """None of an image that is drawn the same in every view."""
    if image.mode not in DEEP_GREY and not has_transparency(image):
        return None
    sides = tuple(min(side, SAMPLED) for side in image.size)
    if image.mode in DEEP_GREY:
        values = np.asarray(image.resize(sides, Image.Resampling.NEAREST)).astype(np.float64)
        values = values[np.isfinite(values)]
        kind = "real" if image.mode == "F" else "whole"
        return Sketch(kind, np.percentile(values, INNER) if values.size else np.empty(0))
    image = image.convert("LA") if image.mode == "La" else image
    image = image.resize(sides, Image.Resampling.NEAREST).convert("RGBA")
    values = np.asarray(image).reshape(-1, 4).astype(np.int16)
    alpha = values[:, 3].astype(np.float64)
    if alpha.min(initial=255) == 255:
        return None
    seen = [(np.abs(values[:, :3] - ground) >= NEAR).any(axis=1) for ground in GROUNDS]
    return Sketch("ground", 1 - np.array(seen) @ alpha / alpha.sum() if alpha.any() else np.ones(len(GROUNDS)))


def view_of(sketches: list[Sketch]) -> tuple[View, list[str]]:
    """How the images of a dataset are drawn, and what is to be said of it."""
    ranges = {}
    for kind in ("whole", "real"):
        values = [one.values for one in sketches if one.kind == kind and one.values.size]
        if values:
            ranges[kind] = _range(np.concatenate(values))
    hidden = [one.values for one in sketches if one.kind == "ground"]
    view = View(**ranges)
    if not hidden:
        return view, []
    hidden = np.array(hidden)
    blank, mean = (hidden > HIDDEN).sum(axis=0), np.round(hidden.mean(axis=0), 1)
    best = min(range(len(GROUNDS)), key=lambda at: (blank[at], mean[at], at))
    view = replace(view, ground="#{:02x}{:02x}{:02x}".format(*GROUNDS[best]))
    notes = []
    if best:
        notes.append(
            f"transparent images are laid on {view.ground}: on white, {blank[0]:,} of {len(hidden):,} could hardly be "
            "seen"
        )
    if blank[best]:
        notes.append(
            f"{blank[best]:,} of {len(hidden):,} images with transparency are blank or hardly seen on {view.ground}"
        )
    return view, notes


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, OUTER)
    if not high > low:
        return float(values.min()), float(values.max())
    margin = (high - low) / 2
    return float(max(values.min(), low - margin)), float(min(values.max(), high + margin))
