"""A folder of images, one folder a class, to embeddings that cbfit trains on.

    python examples/image_folder.py photos --timm vit_small_patch14_dinov2.lvd142m -o photos.parquet
    python examples/image_folder.py photos --torchvision resnet50 --l2 --fp16 -o photos.parquet
    python examples/image_folder.py photos --onnx encoder.onnx -o photos.parquet
    cbfit --train photos.parquet

The class of an image is the folder right below the one given, however deep the image lies. Rows are ordered by class and
path. The file has the columns `file_name` (which cbfit takes as the id), `label` and `embedding`.

Size and normalisation are those of the model: timm and torchvision know them; for ONNX they come from
`preprocessor_config.json` beside the file (as Hugging Face's exports have it), from the entries `size`, `mean` and `std` of
the file's metadata, from the shape of its input, else they are ImageNet's; flags go before all of these. What is taken is
printed.

Requirements: numpy, pyarrow, pillow, and one of onnxruntime, timm, torchvision. --timm and --torchvision fetch their weights
on first use, unless --checkpoint gives them.
"""

import argparse
import json
import pathlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from embedding_file import EmbeddingFile, Progress, Refused, add_common_flags, open_onnx, run

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def find_images(folder):
    """(class, file) of every image, ordered by class and by path."""
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder")
    found = []
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = (file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        found += [(place.name, file) for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix())]
    if not found:
        raise Refused(f"{folder}: no images in folders below it; a class is a folder of {', '.join(sorted(SUFFIXES))} files")
    if len({label for label, _ in found}) == 1:
        raise Refused(f"{folder}: all images are of one class, {found[0][0]!r}; give the folder above")
    return found


def read_image(file):
    """RGB, turned as its EXIF entry says; `Refused` where it cannot be decoded."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{file}: {error}") from error


def check_images(found, skip, threads):
    """The images whose headers can be read. A file that is no image is better met before hours of encoding than within."""
    from PIL import Image

    def reason(entry):
        try:
            with Image.open(entry[1]) as image:
                image.verify()
        except Exception as error:  # PIL's readers raise whatever they meet
            return str(error) or type(error).__name__
        return None

    with ThreadPoolExecutor(threads) as pool:
        reasons = list(pool.map(reason, found))
    bad = [(file, why) for (_, file), why in zip(found, reasons) if why]
    for file, why in bad[:10]:
        print(f"unreadable: {file}: {why}")
    if bad and not skip:
        raise Refused(f"{len(bad)} of {len(found)} images cannot be read; mend or remove them, or add --skip-unreadable")
    return [entry for entry, why in zip(found, reasons) if not why], len(bad)


class Transform:
    """Shorter side to `resize`, the middle `size` x `size`, (value / 255 - mean) / std, channels first."""

    def __init__(self, size, resize, mean, std, resample):
        self.size, self.resize, self.resample = size, resize, resample
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)

    def __call__(self, image):
        from PIL import Image

        width, height = image.size
        scale = self.resize / min(width, height)
        wide, high = max(round(width * scale), self.size), max(round(height * scale), self.size)
        image = image.resize((wide, high), Image.Resampling[self.resample.upper()])
        left, top = (wide - self.size) // 2, (high - self.size) // 2
        image = image.crop((left, top, left + self.size, top + self.size))
        return ((np.asarray(image, np.float32) / 255.0 - self.mean) / self.std).transpose(2, 0, 1)

    def __str__(self):
        numbers = lambda values: ", ".join(f"{value:.4g}" for value in values)
        return f"{self.size} x {self.size} of {self.resize} ({self.resample}), mean {numbers(self.mean)}, std {numbers(self.std)}"


def onnx_encoder(arguments):
    session = open_onnx(arguments.onnx, arguments.threads)
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(f"{entry.name} {entry.shape}" for entry in inputs)
        raise Refused(f"{arguments.onnx}: it takes {shapes}; an encoder of images takes one input of shape [batch, 3, height, width]")
    outputs = [entry.name for entry in session.get_outputs()]
    output = arguments.output or next((name for name in ("pooler_output", "image_embeds") if name in outputs), outputs[0])
    if output not in outputs:
        raise Refused(f"{arguments.onnx}: no output {output!r}; it has {', '.join(outputs)}")
    kind = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
    fixed = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None

    def encode(images):
        rows = np.stack(images).astype(kind)
        # Some exports fix the number of images: they are given so many, and what was filled up is dropped.
        step = fixed or len(rows)
        parts = []
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            filled = np.concatenate([part, np.zeros((step - len(part), *part.shape[1:]), kind)])
            parts.append(session.run([output], {inputs[0].name: filled})[0][: len(part)])
        vectors = np.concatenate(parts).astype(np.float32)
        if vectors.ndim == 4:  # a map of features: the mean over places, as classifiers take it
            return vectors.mean(axis=(2, 3))
        return vectors[:, 0] if vectors.ndim == 3 else vectors  # of tokens the first: that of the class

    return encode, onnx_transform(arguments, session, inputs[0].shape)


def onnx_transform(arguments, session, shape):
    known = dict(IMAGENET, size=224, resample="bicubic")
    known |= {"size": shape[2]} if isinstance(shape[2], int) else {}
    written = session.get_modelmeta().custom_metadata_map
    known |= {key: json.loads(written[key]) for key in ("size", "resize", "mean", "std") if key in written}
    config = arguments.onnx.with_name("preprocessor_config.json")
    if config.is_file():
        known |= hugging_face(json.loads(config.read_text()))
    for key in ("size", "resize", "mean", "std"):
        if getattr(arguments, key) is not None:
            known[key] = getattr(arguments, key)
    known.setdefault("resize", round(known["size"] / 0.875))
    return Transform(**known)


def hugging_face(config):
    """What a preprocessor_config.json of transformers says."""
    side = lambda size: size if isinstance(size, int) else size.get("shortest_edge", size.get("height"))
    found = {key: config[name] for key, name in (("mean", "image_mean"), ("std", "image_std")) if name in config}
    if "resample" in config:
        found["resample"] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}.get(config["resample"], "bicubic")
    if config.get("do_center_crop") and "crop_size" in config:
        found |= {"size": side(config["crop_size"]), "resize": side(config["size"])}
    elif "size" in config:
        found |= {"size": side(config["size"]), "resize": side(config["size"])}
    return found


def torch_encoder(arguments):
    try:
        import torch

        model, transform = (timm_model if arguments.timm else torchvision_model)(arguments)
    except ImportError as missing:
        raise Refused(f"{missing}; pip install torch and {'timm' if arguments.timm else 'torchvision'}, or use --onnx") from missing
    torch.set_num_threads(arguments.threads)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = model.eval().to(device)

    def encode(images):
        with torch.inference_mode():
            return model(torch.stack(images).to(device)).flatten(1).float().cpu().numpy()

    return encode, transform


def timm_model(arguments):
    import timm

    options = {"checkpoint_path": str(arguments.checkpoint)} if arguments.checkpoint else {}
    pretrained = not arguments.checkpoint and not arguments.untrained
    try:
        model = timm.create_model(arguments.timm, pretrained=pretrained, num_classes=0, **options)
    except RuntimeError as error:
        raise Refused(f"--timm {arguments.timm}: {error}") from error
    config = timm.data.resolve_model_data_config(model)
    return model, timm.data.create_transform(**config, is_training=False)


def torchvision_model(arguments):
    import torch
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(arguments.torchvision).DEFAULT
    except ValueError as error:
        raise Refused(f"--torchvision {arguments.torchvision}: {error}") from error
    trained = None if arguments.checkpoint or arguments.untrained else weights
    model = torchvision.models.get_model(arguments.torchvision, weights=trained)
    if arguments.checkpoint:
        model.load_state_dict(torch.load(arguments.checkpoint, map_location="cpu", weights_only=True))
    # The classifier goes, what it reads stays.
    for name in ("fc", "classifier", "heads", "head"):
        if hasattr(model, name):
            setattr(model, name, torch.nn.Identity())
            return model, weights.transforms()
    raise Refused(f"--torchvision {arguments.torchvision}: its classifier is not where it usually is; export the model to ONNX and use --onnx")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    encoder = parser.add_mutually_exclusive_group(required=True)
    encoder.add_argument("--onnx", type=pathlib.Path, metavar="FILE", help="encoder in ONNX")
    encoder.add_argument("--timm", metavar="NAME", help="model of timm")
    encoder.add_argument("--torchvision", metavar="NAME", help="classifier of torchvision, without its last layer")
    parser.add_argument("--checkpoint", type=pathlib.Path, help="weights of --timm or --torchvision in a file")
    parser.add_argument("--untrained", action="store_true", help="random weights: to try the way, not the model")
    parser.add_argument("--output", help="output of the ONNX file [pooler_output or image_embeds, else the first]")
    parser.add_argument("--size", type=int, help="side of the square the ONNX encoder sees")
    parser.add_argument("--resize", type=int, help="length of the shorter side before the middle is cut out [size / 0.875]")
    parser.add_argument("--mean", type=float, nargs=3, help="mean of red, green and blue, in 0 to 1")
    parser.add_argument("--std", type=float, nargs=3, help="their standard deviations")
    parser.add_argument("--device", help="device of torch [cuda where there is one, else cpu]")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out images that cannot be decoded")
    add_common_flags(parser)
    arguments = parser.parse_args()
    if arguments.onnx and (arguments.checkpoint or arguments.untrained or arguments.device):
        parser.error("--checkpoint, --untrained and --device are of --timm and --torchvision")
    if not arguments.onnx and any(getattr(arguments, name) is not None for name in ("output", "size", "resize", "mean", "std")):
        parser.error("--output, --size, --resize, --mean and --std are of --onnx: timm and torchvision know their own")
    try:
        import PIL  # noqa: F401
    except ImportError as missing:
        raise Refused("images are read with pillow: pip install pillow") from missing

    found, skipped = check_images(find_images(arguments.folder), arguments.skip_unreadable, arguments.threads)
    encode, transform = (onnx_encoder if arguments.onnx else torch_encoder)(arguments)
    print(f"images: {' '.join(str(transform).split())}")

    def load(entry):
        try:
            return transform(read_image(entry[1]))
        except Refused as refused:
            return refused

    progress = Progress(len(found), "images")
    with EmbeddingFile(arguments.out, arguments.column, arguments.l2, arguments.fp16) as file, ThreadPoolExecutor(arguments.threads) as pool:
        for start in range(0, len(found), arguments.batch):
            batch = found[start : start + arguments.batch]
            images = list(pool.map(load, batch))
            for refused in (image for image in images if isinstance(image, Refused)):
                if not arguments.skip_unreadable:
                    raise Refused(f"{refused}; mend or remove it, or add --skip-unreadable")
                print(f"unreadable: {refused}")
                skipped += 1
            good = [(entry, image) for entry, image in zip(batch, images) if not isinstance(image, Refused)]
            if good:
                names = [file_.relative_to(arguments.folder).as_posix() for (_, file_), _ in good]
                columns = {"file_name": names, "label": [label for (label, _), _ in good]}
                file.write(columns, encode([image for _, image in good]), names)
            progress.tell(start + len(batch))
        if file.rows == 0:
            raise Refused("no image could be decoded")
    classes = len({label for label, _ in found})
    print(f"{arguments.out}: {file.rows} rows of {file.width} values, {classes} classes, {skipped} unreadable images left out")
    print(f"next: cbfit --train {arguments.out}")


if __name__ == "__main__":
    run(main)
