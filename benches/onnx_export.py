"""Does onnxruntime say of an exported model what cbfit says?

Trains on real data with cbfit, exports with `cbfit export --to onnx`, runs the file in onnxruntime on 1,000 rows that were
not trained on, and compares probabilities and labels with those of `cbfit predict`. Text columns go in as codes, the
place of each value among the sorted values of training.

    python benches/onnx_export.py --cbfit target/release/cbfit [--data DIR]

Prints one JSON line a case, and the milliseconds that onnxruntime and cbfit (its whole process) take; exits with status 1
where probabilities differ by more than 1e-5 or a label that is not nearly tied does. Without onnxruntime or the data it
says so and exits with status 0.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROWS = 1000
LIMIT = 1e-5
BOOST = "--learner boost --valid-fraction 0"
HYBRID = f"{BOOST} --init linear:1e-4"
GAPS = 0.05
# Name, training file, test file or none to split, flags, flags of export and predict. "gaps" in the name blanks numbers.
CASES = [
    ("cifar10_lt100 softmax", "cifar10_lt100_mobilenet_train", "cifar10_mobilenet_test", "--beta 0.9999 --l2 1e-2", ""),
    ("cifar10_lt100 sigmoid, natural", "cifar10_lt100_mobilenet_train", "cifar10_mobilenet_test", "--beta 0.9999 --l2 1e-2 --loss sigmoid", "--prior natural"),
    ("clinc150imb focal, natural", "clinc150imb_minilm_train", "clinc150_minilm_test", "--beta 0.99 --l2 1e-4 --loss focal", "--prior natural"),
    ("banking77 calibrated", "banking77_minilm_train", "banking77_minilm_test", "--beta 0.99 --l2 1e-4 --calibrate vector", ""),
    ("covertype_20k standardised", "covertype_20k", None, "--beta 0.999 --l2 1e-4", ""),
    ("covertype_20k, a tree a class", "covertype_20k", None, f"{BOOST} --beta 0.999 --trees per-class --rounds 60", ""),
    ("covertype_20k, trees for all", "covertype_20k", None, f"{BOOST} --weighting none --trees vector --rounds 60", "--prior uniform"),
    ("adult, categories", "adult_train", "adult_test", f"{BOOST} --weighting none --rounds 100", ""),
    ("kdd99 label5, categories", "kdd99_10pct_train", "kdd99_corrected_test", f"{BOOST} --beta 0.9999 --rounds 20", "--prior natural"),
    ("covertype_20k, trees on linear functions", "covertype_20k", None, f"{HYBRID} --beta 0.999 --rounds 60", "--prior uniform"),
    ("covertype_20k, a tree a class on linear functions, gaps", "covertype_20k", None, f"{HYBRID} --beta 0.999 --trees per-class --rounds 30 --loss sigmoid", "--prior natural"),
    ("adult, categories and gaps, trees on linear functions", "adult_train", "adult_test", f"{HYBRID} --beta 0.999 --rounds 60", "--prior natural"),
    ("adult, sigmoid, trees on linear functions", "adult_train", "adult_test", f"{HYBRID} --weighting none --loss sigmoid --rounds 60", ""),
    ("kdd99 label5, categories and gaps, trees on linear functions", "kdd99_10pct_train", "kdd99_corrected_test", f"{HYBRID} --beta 0.9999 --rounds 20", "--prior natural"),
    ("clinc150imb, trees on linear functions", "clinc150imb_minilm_train", "clinc150_minilm_test", f"{HYBRID} --beta 0.99 --rounds 5", "--prior natural"),
]


def features(frame, inputs):
    """What the model reads: numbers as they are, text as its place among the values of training."""
    import numpy as np

    parts = []
    for column in inputs:
        values = frame[column["name"]]
        if column["kind"] == "vector":
            parts.append(np.stack(values.to_numpy()).astype(np.float32))
        elif column["kind"] == "codes":
            code = {level: at for at, level in enumerate(column["levels"])}
            parts.append(np.array([code.get(value, np.nan) for value in values], np.float32)[:, None])
        else:
            parts.append(values.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)[:, None])
    return np.concatenate(parts, axis=1)


def with_gaps(frame, seed):
    """The rows with some of their numbers missing."""
    import numpy as np

    frame, rng = frame.copy(), np.random.default_rng(seed)
    for column in frame.select_dtypes("number").columns.difference(["label", "label5"]):
        frame[column] = frame[column].astype(np.float64).mask(rng.random(len(frame)) < GAPS)
    return frame


def check(cbfit, data, name, train, test, flags, prior):
    import numpy as np
    import onnxruntime
    import pandas as pd

    train = pd.read_parquet(data / f"{train}.parquet")
    if test is None:
        train = train.sample(frac=1.0, random_state=1)
        train, test = train[ROWS:], train[:ROWS]
    else:
        test = pd.read_parquet(data / f"{test}.parquet").sample(ROWS, random_state=1)
    if "label5" in train:
        train, test = (t.drop(columns="label").rename(columns={"label5": "label"}) for t in (train, test))
    if "gaps" in name:
        train, test = with_gaps(train, 0), with_gaps(test, 1)
    with tempfile.TemporaryDirectory() as place:
        run = lambda line: subprocess.run([cbfit, *line.split()], cwd=place, check=True, capture_output=True, text=True)
        train.to_parquet(f"{place}/train.parquet", index=False)
        test.reset_index(drop=True).to_parquet(f"{place}/test.parquet", index=False)
        run(f"--train train.parquet --label label {flags} -o m.cbfit")
        exported = json.loads(run(f"export m.cbfit --to onnx -o m.onnx --json {prior}").stdout)
        inputs = json.loads(run("inspect m.cbfit --json").stdout)["metadata"]["encoder"]["inputs"]
        started = time.perf_counter()
        run(f"predict m.cbfit test.parquet --proba -o p.parquet {prior}")
        own_ms = 1e3 * (time.perf_counter() - started)
        ours = pd.read_parquet(f"{place}/p.parquet")
        session = onnxruntime.InferenceSession(f"{place}/m.onnx", providers=["CPUExecutionProvider"])
        rows = features(test, inputs)
        started = time.perf_counter()
        labels, theirs = session.run(["label", "probabilities"], {"features": rows})
        ort_ms = 1e3 * (time.perf_counter() - started)
    own = np.stack(ours["probabilities"])
    tops = np.sort(own, axis=1)
    tied = tops[:, -1] - tops[:, -2] < LIMIT
    differ = (labels.astype(str) != ours["prediction"].astype(str).to_numpy()) & ~tied
    return {
        "case": name, "probability": float(np.abs(own - theirs).max()), "labels": int(differ.sum()), "tied": int(tied.sum()),
        "self_check": exported["largest_difference"], "bytes": exported["bytes"],
        "onnxruntime_ms": round(ort_ms, 1), "cbfit_ms": round(own_ms, 1), "onnxruntime": onnxruntime.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cbfit", default="target/release/cbfit")
    data = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", default=data, type=pathlib.Path, help="folder of the data sets [../shared/data beside the repository]")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    arguments = parser.parse_args()
    try:
        import onnxruntime  # noqa: F401
        import pandas  # noqa: F401
    except ImportError as missing:
        return print(f"skipped: {missing}")
    if not (arguments.data / "covertype_20k.parquet").exists():
        return print(f"skipped: no covertype_20k.parquet in {arguments.data}")
    failed = False
    for case in CASES:
        if arguments.case not in case[0]:
            continue
        found = check(str(pathlib.Path(arguments.cbfit).resolve()), arguments.data, *case)
        found["good"] = found["probability"] <= LIMIT and found["labels"] == 0
        failed |= not found["good"]
        print(json.dumps(found), flush=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
