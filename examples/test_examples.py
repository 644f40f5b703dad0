"""image_folder.py and texts.py on encoders made here, and cbfit on what they write.

    python -m pytest examples -q -rs

cbfit is $CBFIT, else the newest build under target/. A test skips where a package it needs is missing, and says which.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")
pq = pytest.importorskip("pyarrow.parquet")

HERE = pathlib.Path(__file__).parent
COUNTS = {"fox": 40, "lynx": 15, "marten": 8}
COLOURS = {"fox": (200, 90, 40), "lynx": (170, 150, 120), "marten": (80, 60, 40)}


def run_example(name, *flags, status=0):
    environment = dict(os.environ, HF_HUB_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, HERE / name, *map(str, flags)], capture_output=True, text=True, env=environment)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def cbfit():
    given = os.environ.get("CBFIT")
    builds = [HERE.parent / "target" / profile / "cbfit" for profile in ("release", "debug")]
    found = [pathlib.Path(given)] if given else sorted((b for b in builds if b.exists()), key=lambda b: b.stat().st_mtime)
    if not found:
        pytest.skip("no cbfit: cargo build, or set CBFIT")
    return found[-1]


def train(cbfit, path, folder):
    """Trains on a file and gives what cbfit says of the model."""
    model = folder / "m.cbfit"
    flags = ["--train", path, "--beta", "0.99", "--l2", "1e-3", "--valid-fraction", "0", "-o", model, "-q"]
    subprocess.run([cbfit, *flags], check=True, capture_output=True)
    done = subprocess.run([cbfit, "inspect", model, "--json"], check=True, capture_output=True, text=True)
    scored = subprocess.run([cbfit, "eval", model, path, "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout), json.loads(scored.stdout)


def vectors(path):
    column = pq.read_table(path).column("embedding").combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    Image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    for label, count in COUNTS.items():
        for at in range(count):
            place = folder / label / ("near" if at % 3 else "far")
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(rng.normal(COLOURS[label], 25, (36 + at % 5, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{at:03}.{'png' if at % 2 else 'jpg'}")
    (folder / "readme.txt").write_text("no image")
    return folder


def onnx_model(path, nodes, inputs, outputs, constants, metadata=None):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = lambda name, kind, shape: onnx.helper.make_tensor_value_info(name, kind, shape)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, take, give, **more) for kind, take, give, more in nodes],
        "encoder", [value(*entry) for entry in inputs], [value(*entry) for entry in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    if metadata:
        onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


FLOAT, INT64 = 1, 7  # onnx.TensorProto
TURN = np.random.default_rng(2).normal(size=(3, 16)).astype(np.float32)
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


@pytest.fixture(scope="session")
def image_encoder(tmp_path_factory):
    """The mean colour, turned into 16 values; the file knows its normalisation."""
    path = tmp_path_factory.mktemp("onnx") / "colours.onnx"
    nodes = [
        ("ReduceMean", ["pixels"], ["mean"], {"axes": [2, 3], "keepdims": 0}),
        ("MatMul", ["mean", "turn"], ["embedding"], {}),
    ]
    metadata = {"size": "24", "mean": json.dumps(MEAN), "std": json.dumps(STD)}
    onnx_model(path, nodes, [("pixels", FLOAT, ["n", 3, "h", "w"])], [("embedding", FLOAT, ["n", 16])], {"turn": TURN}, metadata)
    return path


def test_a_folder_of_images_becomes_a_file_that_cbfit_learns(photos, image_encoder, cbfit, tmp_path):
    out = tmp_path / "photos.parquet"
    said = run_example("image_folder.py", photos, "--onnx", image_encoder, "--batch", 7, "--threads", 3, "-o", out)
    assert "24 x 24 of 27" in said and "63 rows of 16 values, 3 classes" in said
    table = pq.read_table(out)
    assert table.column_names == ["file_name", "label", "embedding"]
    names = table.column("file_name").to_pylist()
    assert names == sorted(names) and names[0] == "fox/far/000.jpg"
    assert [name.split("/")[0] for name in names] == table.column("label").to_pylist()
    model, score = train(cbfit, out, tmp_path)
    assert model["features"] == 16 and model["metadata"]["label_map"]["names"] == sorted(COUNTS)
    assert model["metadata"]["counts"]["rows"] == list(COUNTS.values())
    assert "file_name" not in json.dumps(model["metadata"]["encoder"])
    assert score["rows"] == 63 and score["scores"]["macro_recall"] > 0.95  # the colours are five deviations apart
    # Another number of threads and of images a batch: the same vectors, up to the order of sums.
    again = tmp_path / "again.parquet"
    run_example("image_folder.py", photos, "--onnx", image_encoder, "--batch", 64, "--threads", 1, "-o", again)
    assert pq.read_table(again).column("file_name").to_pylist() == names
    assert np.allclose(vectors(again), vectors(out), rtol=1e-5, atol=1e-5)


def test_pixels_reach_the_encoder_normalised(image_encoder, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for label, colour in (("a", (255, 0, 51)), ("b", (0, 128, 255))):
        (tmp_path / "plain" / label).mkdir(parents=True)
        Image.new("RGB", (40, 30), colour).save(tmp_path / "plain" / label / "1.png")
    out = tmp_path / "plain.parquet"
    run_example("image_folder.py", tmp_path / "plain", "--onnx", image_encoder, "-o", out)
    colour = (np.array([255, 0, 51]) / 255 - MEAN) / STD
    assert np.allclose(vectors(out)[0], colour @ TURN, rtol=1e-5, atol=1e-5)
    flags = ["--mean", 0, 0, 0, "--std", 1, 1, 1, "--size", 8, "--l2", "--fp16", "--column", "vector"]
    run_example("image_folder.py", tmp_path / "plain", "--onnx", image_encoder, *flags, "-o", out)
    table = pq.read_table(out)
    assert str(table.schema.field("vector").type.value_type) == "halffloat"
    row = np.array(table.column("vector")[0].as_py(), np.float64)
    expected = np.array([1, 0, 0.2]) @ TURN
    assert np.allclose(row, expected / np.linalg.norm(expected), atol=1e-3)  # half precision: 2^-11 of values below 1


def test_images_that_cannot_be_read_are_named(image_encoder, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "photos"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        Image.new("RGB", (300, 300), (9, 99, 200)).save(folder / label / "good.png")
    (folder / "a" / "text.jpg").write_text("not an image")
    cut = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(cut).save(folder / "b" / "cut.jpg")
    whole = (folder / "b" / "cut.jpg").read_bytes()
    (folder / "b" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "x.parquet"
    said = run_example("image_folder.py", folder, "--onnx", image_encoder, "-o", out, status=1)
    assert "text.jpg" in said and "--skip-unreadable" in said and not out.exists()
    said = run_example("image_folder.py", folder, "--onnx", image_encoder, "-o", out, "--skip-unreadable")
    assert "cut.jpg" in said and "2 rows" in said and "2 unreadable" in said
    (folder / "a" / "text.jpg").unlink()
    said = run_example("image_folder.py", folder, "--onnx", image_encoder, "-o", tmp_path / "y.parquet", status=1)
    assert "cut.jpg" in said and list(tmp_path.glob("y.parquet*")) == []
    assert "no such folder" in run_example("image_folder.py", tmp_path / "none", "--onnx", image_encoder, "-o", out, status=1)
    assert "one class, 'b'" in run_example("image_folder.py", one_class(folder), "--onnx", image_encoder, "-o", out, status=1)


def one_class(folder):
    for file in (folder / "a").iterdir():
        file.unlink()
    return folder


@pytest.mark.parametrize(("package", "name", "width"), [("timm", "test_vit", 64), ("torchvision", "resnet18", 512)])
def test_models_of_torch_encode_as_well(photos, cbfit, tmp_path, package, name, width):
    pytest.importorskip("torch")
    pytest.importorskip(package)
    out = tmp_path / "photos.parquet"
    said = run_example("image_folder.py", photos, f"--{package}", name, "--untrained", "--fp16", "--device", "cpu", "-o", out)
    assert f"63 rows of {width} values" in said
    model, _ = train(cbfit, out, tmp_path)
    assert model["features"] == width
    assert "error: --" in run_example("image_folder.py", photos, f"--{package}", "no_such_model", "--untrained", "-o", out, status=1)


WORDS = {"card_lost": "my card is lost please block it", "balance": "what is the balance of my account", "fee": "why was a fee taken, twice"}
TEXTS = [(f"{' '.join(words.split()[at % 3:])} {at % 7}", label) for label, words in WORDS.items() for at in range({"card_lost": 60, "balance": 20, "fee": 9}[label])]


@pytest.fixture(scope="session")
def text_words():
    """A tokenizer of the words of TEXTS."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator([text for text, _ in TEXTS], trainer)
    return tokenizer


@pytest.fixture(scope="session")
def text_encoder(text_words, tmp_path_factory):
    """A vector a token, and its tokenizer beside it."""
    tokenizer, folder = text_words, tmp_path_factory.mktemp("texts")
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(3).normal(size=(tokenizer.get_vocab_size(), 12)).astype(np.float32)
    nodes = [("Gather", ["table", "input_ids"], ["last_hidden_state"], {})]
    onnx_model(folder / "model.onnx", nodes, [("input_ids", INT64, ["n", "t"])], [("last_hidden_state", FLOAT, ["n", "t", 12])], {"table": table})
    return folder / "model.onnx", tokenizer, table


def write_texts(path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.csv

    table = pa.table({"text": [text for text, _ in TEXTS], "label": [label for _, label in TEXTS], "split": ["train"] * len(TEXTS)})
    pq.write_table(table, path) if path.suffix == ".parquet" else pa.csv.write_csv(table, path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_texts_become_a_file_that_cbfit_learns(text_encoder, cbfit, tmp_path, suffix):
    encoder, tokenizer, table = text_encoder
    write_texts(tmp_path / f"t.{suffix}")
    out = tmp_path / "e.parquet"
    said = run_example("texts.py", tmp_path / f"t.{suffix}", "--onnx", encoder, "--batch", 4, "--keep", "split", "-o", out)
    assert "89 rows of 12 values, 3 classes" in said
    written = pq.read_table(out)
    assert written.column_names == ["label", "split", "embedding"]
    assert written.column("label").to_pylist() == [label for _, label in TEXTS]
    # Padding has no part in the mean, and rows stay in their order.
    expected = np.array([table[tokenizer.encode(text).ids].mean(axis=0) for text, _ in TEXTS])
    assert np.allclose(vectors(out), expected, rtol=1e-5, atol=1e-5)
    run_example("texts.py", tmp_path / f"t.{suffix}", "--onnx", encoder, "--pooling", "cls", "--l2", "-o", tmp_path / "c.parquet")
    assert np.allclose(np.linalg.norm(vectors(tmp_path / "c.parquet"), axis=1), 1, atol=1e-6)
    run_example("texts.py", tmp_path / f"t.{suffix}", "--onnx", encoder, "-o", out)
    model, _ = train(cbfit, out, tmp_path)
    assert model["features"] == 12 and model["metadata"]["label_map"]["names"] == ["balance", "card_lost", "fee"]


@pytest.fixture(scope="session")
def sentence_model(text_words, tmp_path_factory):
    """A folder of sentence-transformers: a BERT of one layer, never trained, and the mean over its tokens."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("sentence_transformers")
    try:
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    except ImportError:  # where older versions have them
        from sentence_transformers.models import Pooling, Transformer
    from sentence_transformers import SentenceTransformer

    import torch

    folder = tmp_path_factory.mktemp("bert")
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=text_words, model_max_length=64, **special)
    tokenizer.save_pretrained(folder / "parts")
    torch.manual_seed(5)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, **sizes)
    transformers.BertModel(config).save_pretrained(folder / "parts")
    SentenceTransformer(modules=[Transformer(str(folder / "parts")), Pooling(24, "mean")], device="cpu").save(str(folder / "model"))
    return folder / "model"


def test_models_of_sentence_transformers_encode_as_well(sentence_model, cbfit, tmp_path):
    from sentence_transformers import SentenceTransformer

    write_texts(tmp_path / "t.csv")
    out = tmp_path / "e.parquet"
    encode = ("texts.py", tmp_path / "t.csv", "-o", out, "--sentence-transformers")
    said = run_example(*encode, sentence_model, "--batch", 4, "--device", "cpu")
    assert "89 rows of 24 values, 3 classes" in said
    # The rows of the model itself, text by text: neither padding nor the order of lengths is in them.
    model = SentenceTransformer(str(sentence_model), device="cpu")
    expected = np.concatenate([model.encode([text]) for text, _ in TEXTS])
    assert np.allclose(vectors(out), expected, rtol=1e-4, atol=1e-5)
    trained, _ = train(cbfit, out, tmp_path)
    assert trained["features"] == 24 and trained["metadata"]["counts"]["rows"] == [20, 60, 9]
    run_example(*encode, sentence_model, "--max-length", 3, "--device", "cpu")
    assert not np.allclose(vectors(out), expected, rtol=1e-4, atol=1e-5)
    assert "are of --onnx" in run_example(*encode, sentence_model, "--pooling", "cls", status=2)
    assert "error: --sentence-transformers" in run_example(*encode, tmp_path / "none", status=1)


def test_texts_that_cannot_be_used_are_refused(text_encoder, tmp_path):
    encoder, _, _ = text_encoder
    path = tmp_path / "t.csv"
    refused = lambda *flags: run_example("texts.py", path, "--onnx", encoder, "-o", tmp_path / "e.parquet", *flags, status=1)
    assert "no such file" in refused()
    path.write_text("words,label\nhello,a\n")
    assert "--text" in refused() and "words" in refused()
    path.write_text("text,label\nhello,a\nyou,\n")
    assert "'no'" in refused("--label", "no")
    assert "no output 'x'; it has last_hidden_state" in refused("--output", "x")
    path.write_text("text,label\n,1\nyou,\n")
    assert "1 values of column 'label' are missing, first in row 2" in refused()
    assert list(tmp_path.glob("e.parquet*")) == []
