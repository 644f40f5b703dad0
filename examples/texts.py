"""Texts with labels, in CSV, TSV or Parquet, to embeddings that cbfit trains on.

    python examples/texts.py intents.csv --onnx model.onnx --tokenizer tokenizer.json -o intents.parquet
    python examples/texts.py intents.csv --sentence-transformers all-MiniLM-L6-v2 -o intents.parquet
    cbfit --train intents.parquet

The file has the columns `label`, as it is in the input, and `embedding`, and those that --keep names (a column that says
train or test, say, for `cbfit --split-col`); its rows are those of the input in their order.

An ONNX encoder takes `input_ids` and, where it has them, `attention_mask` and `token_type_ids`. Of an output
[batch, tokens, values] the mean over the tokens of the text is taken (--pooling cls: the first); an output [batch, values]
is the embedding. The folder of an export from Hugging Face has both files. Models of sentence-transformers know their own
pooling.

Requirements: numpy, pyarrow, and onnxruntime with tokenizers, or sentence-transformers (which fetches its model on first
use, unless the name is a folder).
"""

import argparse
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from embedding_file import EmbeddingFile, Progress, Refused, add_common_flags, open_onnx, run

TEXTS = ["text", "sentence", "utterance", "query", "content"]
LABELS = ["label", "labels", "target", "class", "category", "intent"]
WINDOW = 64  # batches that are sorted by length together


def read_table(path):
    if not path.is_file():
        raise Refused(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        # Texts have line breaks inside quotes.
        separator = "\t" if path.suffix in (".tsv", ".txt") else ","
        parse = pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
        return pa.csv.read_csv(path, parse_options=parse)
    except pa.ArrowInvalid as error:
        raise Refused(f"{path}: {error}") from error


def pick(table, path, wanted, usual, what):
    """The column `wanted`, or the one with a usual name."""
    if wanted is None:
        wanted = next((name for name in usual if name in table.column_names), None)
        if wanted is None:
            raise Refused(f"{path}: no column is called {', '.join(usual)}; say which is the {what}: --{what}; columns: {', '.join(table.column_names)}")
    elif wanted not in table.column_names:
        raise Refused(f"{path}: no column {wanted!r}; columns: {', '.join(table.column_names)}")
    column = table.column(wanted)
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise Refused(f"{path}: {column.null_count} values of column {wanted!r} are missing, first in row {row}")
    return wanted, column


def onnx_encoder(arguments):
    """A function from texts to vectors."""
    try:
        from tokenizers import Tokenizer
    except ImportError as missing:
        raise Refused("--onnx needs tokenizers: pip install tokenizers") from missing
    session = open_onnx(arguments.onnx, arguments.threads)
    place = arguments.tokenizer or arguments.onnx.with_name("tokenizer.json")
    if not place.is_file():
        raise Refused(f"{place}: no such file; --tokenizer names the tokenizer.json of the encoder")
    try:
        tokenizer = Tokenizer.from_file(str(place))
    except Exception as error:  # tokenizers raises Exception itself
        raise Refused(f"{place}: not a tokenizer: {error}") from error
    tokenizer.enable_truncation(256 if arguments.max_length is None else arguments.max_length)
    padding = tokenizer.padding or {}
    tokenizer.enable_padding(pad_id=padding.get("pad_id", 0), pad_token=padding.get("pad_token", "[PAD]"))
    inputs = {entry.name for entry in session.get_inputs()}
    known = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    if "input_ids" not in inputs or inputs - known.keys():
        raise Refused(f"{arguments.onnx}: it takes {', '.join(sorted(inputs))}; an encoder of texts takes {', '.join(known)}")
    outputs = [entry.name for entry in session.get_outputs()]
    output = arguments.output or ("sentence_embedding" if "sentence_embedding" in outputs else outputs[0])
    if output not in outputs:
        raise Refused(f"{arguments.onnx}: no output {output!r}; it has {', '.join(outputs)}")

    def encode(texts):
        tokens = tokenizer.encode_batch(texts)
        fields = {name: np.array([getattr(row, known[name]) for row in tokens], np.int64) for name in known}
        vectors = session.run([output], {name: fields[name] for name in inputs})[0].astype(np.float32)
        if vectors.ndim != 3:
            return vectors
        if arguments.pooling == "cls":  # without the flag: mean
            return vectors[:, 0]
        mask = fields["attention_mask"][:, :, None].astype(np.float32)
        return (vectors * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1.0)

    return encode


def sentence_transformer(arguments):
    """A function from texts to vectors."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as missing:
        raise Refused(f"{missing}: pip install sentence-transformers, or use --onnx") from missing
    torch.set_num_threads(arguments.threads)
    try:
        model = SentenceTransformer(arguments.sentence_transformers, device=arguments.device)
    except Exception as error:  # of the hub, of files, of torch: whatever the model meets
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Refused(f"--sentence-transformers {arguments.sentence_transformers}: {reason}") from error
    if arguments.max_length is not None:
        model.max_seq_length = arguments.max_length
    return lambda texts: model.encode(texts, batch_size=arguments.batch, show_progress_bar=False, convert_to_numpy=True)


def encode_window(encode, texts, batch):
    """Vectors of `texts` in their order; those of one length go together, so that little is spent on padding."""
    order = sorted(range(len(texts)), key=lambda at: (len(texts[at]), at))
    parts = [encode([texts[at] for at in order[start : start + batch]]) for start in range(0, len(order), batch)]
    vectors = np.concatenate(parts)
    placed = np.empty_like(vectors)
    placed[order] = vectors
    return placed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=pathlib.Path, help="CSV, TSV or Parquet")
    encoder = parser.add_mutually_exclusive_group(required=True)
    encoder.add_argument("--onnx", type=pathlib.Path, metavar="FILE", help="sentence encoder in ONNX")
    encoder.add_argument("--sentence-transformers", metavar="NAME", help="model or folder of sentence-transformers")
    parser.add_argument("--tokenizer", type=pathlib.Path, metavar="FILE", help="tokenizer.json [beside the ONNX file]")
    parser.add_argument("--text", help=f"column of the texts [{', '.join(TEXTS)}]")
    parser.add_argument("--label", help=f"column of the labels [{', '.join(LABELS)}]")
    parser.add_argument("--keep", nargs="*", default=[], metavar="COLUMN", help="further columns to copy")
    parser.add_argument("--output", help="output of the ONNX file [sentence_embedding, else the first]")
    parser.add_argument("--pooling", choices=["mean", "cls"], help="what is taken of the tokens of an ONNX encoder [mean]")
    parser.add_argument("--max-length", type=int, help="tokens of a text; what is beyond is cut off [256; of sentence-transformers: the model's]")
    parser.add_argument("--device", help="device of torch [cuda where there is one, else cpu]")
    add_common_flags(parser)
    arguments = parser.parse_args()
    if arguments.onnx and arguments.device:
        parser.error("--device is of --sentence-transformers")
    if not arguments.onnx and any(getattr(arguments, name) is not None for name in ("tokenizer", "output", "pooling")):
        parser.error("--tokenizer, --output and --pooling are of --onnx: models of sentence-transformers know their own")
    table = read_table(arguments.table)
    if table.num_rows == 0:
        raise Refused(f"{arguments.table}: no rows")
    _, texts = pick(table, arguments.table, arguments.text, TEXTS, "text")
    _, labels = pick(table, arguments.table, arguments.label, LABELS, "label")
    kept = {name: pick(table, arguments.table, name, [], "keep")[1] for name in arguments.keep}
    texts = texts.cast(pa.string()).to_pylist()
    encode = (onnx_encoder if arguments.onnx else sentence_transformer)(arguments)
    progress = Progress(len(texts), "texts")
    with EmbeddingFile(arguments.out, arguments.column, arguments.l2, arguments.fp16) as file:
        window = WINDOW * arguments.batch
        for start in range(0, len(texts), window):
            part = texts[start : start + window]
            vectors = encode_window(encode, part, arguments.batch)
            names = [f"row {row + 1}" for row in range(start, start + len(part))]
            columns = {"label": labels, **kept}
            file.write({name: column.slice(start, len(part)) for name, column in columns.items()}, vectors, names)
            progress.tell(start + len(part))
    print(f"{arguments.out}: {file.rows} rows of {file.width} values, {len(labels.unique())} classes")
    print(f"next: cbfit --train {arguments.out}")


if __name__ == "__main__":
    run(main)
