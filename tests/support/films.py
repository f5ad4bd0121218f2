"""Small video files whose pictures tell their number."""

from fractions import Fraction
from pathlib import Path

import numpy as np


def film(file: Path, pictures: int = 60, fps: int = 20, size=(54, 32), codec="mpeg4", times=None, draw=None) -> Path:
    """A video whose picture i shows i in binary, in bars. times: milliseconds of each picture, for a varying rate."""
    import av

    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 10
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(pictures):
            bars = np.repeat([255 * (i >> bit & 1) for bit in range(6)], -(-size[0] // 6))[: size[0], None]
            shown = np.broadcast_to(bars.astype(np.uint8), (size[1], size[0], 3)) if draw is None else draw(i)
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file
