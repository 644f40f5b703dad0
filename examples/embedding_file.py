"""What image_folder.py and texts.py share: the embedding file, progress, and how an encoder in ONNX is opened."""

import os
import pathlib
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Refused(Exception):
    """What the user has to mend; printed without a traceback."""


def add_common_flags(parser):
    parser.add_argument("-o", "--out", required=True, type=pathlib.Path, help="Parquet file to write")
    parser.add_argument("--batch", type=int, default=32, help="inputs a call of the encoder [32]")
    parser.add_argument("--l2", action="store_true", help="scale every vector to length 1")
    parser.add_argument("--fp16", action="store_true", help="store half precision; cbfit keeps it so in memory")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads [all cores]")
    parser.add_argument("--column", default="embedding", help="name of the vector column [embedding]")


def open_onnx(path, threads):
    """A session of an ONNX file on the CPU."""
    try:
        import onnxruntime
    except ImportError as missing:
        raise Refused("--onnx needs onnxruntime: pip install onnxruntime") from missing
    if not path.is_file():
        raise Refused(f"{path}: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception of its own for each status
        raise Refused(f"{path}: onnxruntime cannot open it: {error}") from error


class EmbeddingFile:
    """Writes blocks of rows; the file appears under its name once it is whole."""

    def __init__(self, path, column, l2, half):
        self.path, self.column, self.l2, self.half = path, column, l2, half
        self.part = path.with_name(path.name + ".part")
        self.writer, self.rows, self.width = None, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.writer is not None:
            self.writer.close()
        if kind is None and self.writer is not None:
            os.replace(self.part, self.path)
        else:
            self.part.unlink(missing_ok=True)

    def write(self, columns, vectors, names):
        """Columns beside the vectors, as a dict of arrays; `names` are what a message calls the rows."""
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(names):
            raise Refused(f"the encoder gives an array of shape {vectors.shape} for {len(names)} inputs, not one vector each")
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise Refused(f"{names[bad[0]]}: the encoder gives values that are not finite")
        if self.l2:
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            if not length.all():
                raise Refused(f"{names[int(np.argmin(length))]}: a vector of zeros cannot be scaled to length 1")
            vectors = vectors / length
        if self.half:
            at = int(np.abs(vectors).max(axis=1).argmax())
            if np.abs(vectors[at]).max() > np.finfo(np.float16).max:
                raise Refused(f"{names[at]}: a value is too large for --fp16; leave it out, or add --l2")
            vectors = vectors.astype(np.float16)
        values = pa.array(np.ascontiguousarray(vectors).ravel())
        table = pa.table({**columns, self.column: pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])})
        if self.writer is None:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            self.width = vectors.shape[1]
            # Vectors of floats hardly compress; a dictionary of them only costs time.
            textual = [field.name for field in table.schema if field.name != self.column]
            self.writer = pq.ParquetWriter(self.part, table.schema, compression="zstd", use_dictionary=textual)
        elif vectors.shape[1] != self.width:
            raise Refused(f"{names[0]}: a vector of {vectors.shape[1]} values, those before have {self.width}")
        self.writer.write_table(table)
        self.rows += len(vectors)


class Progress:
    """Rows a second and what is left, on stderr: one line that changes on a terminal, else a line every ten seconds."""

    def __init__(self, total, what):
        self.total, self.what = total, what
        self.begun = self.told = time.monotonic()
        self.live = sys.stderr.isatty()

    def tell(self, done):
        now = time.monotonic()
        if done < self.total and now - self.told < (0.2 if self.live else 10.0):
            return
        self.told = now
        rate = done / max(now - self.begun, 1e-9)
        left = f"{(self.total - done) / rate:.0f} s left" if done < self.total else f"{now - self.begun:.1f} s"
        line = f"{done} of {self.total} {self.what}, {rate:.0f} a second, {left}"
        print(f"\r{line}\033[K" if self.live else line, end="\n" if not self.live or done == self.total else "", file=sys.stderr, flush=True)


def run(main):
    """Runs `main`; what the user has to mend becomes one line and exit status 1."""
    try:
        main()
    except Refused as refused:
        sys.exit(f"error: {refused}")
    except KeyboardInterrupt:
        sys.exit(130)
