"""Does LightGBM say of an exported model what cbfit says?

Trains on real data with cbfit, exports with `cbfit export --to lightgbm`, loads the text in LightGBM and compares, on 1,000
rows that were not trained on, probabilities, scores and the contributions of features (`pred_contrib`). Text columns
go to LightGBM as pandas categories, some of them missing or never seen in training, and some numbers are missing.

    python benches/lightgbm_export.py --cbfit target/release/cbfit [--data DIR]

Prints one JSON line a case; exits with status 1 where a difference is above its limit. Without lightgbm or the data it
says so and exits with status 0.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROWS = 1000
# cbfit adds up trees in f32, LightGBM in f64; contributions are written as f32.
LIMITS = {"probability": 1e-5, "score": 1e-4, "contribution": 1e-4}


def is_text(values):
    import pandas as pd

    return not pd.api.types.is_numeric_dtype(values)


def spoil(frame, rng, numbers):
    """Missing numbers, missing and unknown categories."""
    frame = frame.copy()
    for column in frame.columns:
        if is_text(frame[column]):
            values = frame[column].to_numpy(dtype=object, copy=True)
            values[rng.random(len(frame)) < 0.05] = None
            values[rng.random(len(frame)) < 0.05] = "never seen"
            frame[column] = values
        elif numbers:
            frame[column] = frame[column].astype("float64").mask(rng.random(len(frame)) < 0.1)
    return frame


def cases(folder, rng):
    import pandas as pd

    covertype = pd.read_parquet(folder / "covertype_20k.parquet").sample(frac=1.0, random_state=1)
    gaps = spoil(covertype.drop(columns="label"), rng, True).assign(label=covertype["label"])
    adult = [pd.read_parquet(folder / f"adult_{part}.parquet") for part in ("train", "test")]
    kdd = pd.read_parquet(folder / "kdd99_10pct_train.parquet").sample(60_000, random_state=1)
    kdd = kdd.drop(columns="label").rename(columns={"label5": "label"})
    split = lambda frame: (frame[ROWS:], frame[:ROWS])
    boost = "--learner boost --valid-fraction 0"
    return [
        ("covertype_20k, a tree a class", *split(covertype), f"{boost} --beta 0.999 --trees per-class --rounds 60", None),
        ("covertype_20k, natural prior", *split(covertype), f"{boost} --beta 0.999 --trees per-class --rounds 30", "natural"),
        ("covertype_20k, trees for all", *split(covertype), f"{boost} --weighting none --trees vector --rounds 40", None),
        ("covertype_20k, sigmoid", *split(covertype), f"{boost} --weighting none --loss sigmoid --trees per-class --rounds 30", None),
        ("covertype_20k with gaps", *split(gaps), f"{boost} --weighting none --trees per-class --rounds 40", None),
        ("adult", adult[0], adult[1][:ROWS], f"{boost} --weighting none --rounds 100", None),
        ("adult, natural prior", adult[0], adult[1][:ROWS], f"{boost} --weighting inverse --rounds 50", "natural"),
        ("kdd99, label5", *split(kdd), f"{boost} --beta 0.9999 --trees per-class --rounds 40", None),
    ]


def check(cbfit, name, train, test, flags, prior, rng):
    import lightgbm
    import numpy as np
    import pandas as pd

    test = spoil(test.drop(columns="label").reset_index(drop=True), rng, False)
    with tempfile.TemporaryDirectory() as place:
        run = lambda line: subprocess.run([cbfit, *line.split()], cwd=place, check=True, capture_output=True, text=True)
        train.to_parquet(f"{place}/train.parquet", index=False)
        test.to_parquet(f"{place}/test.parquet", index=False)
        run(f"--train train.parquet --label label {flags} -o m.cbfit")
        asked = f"--prior {prior}" if prior else ""
        run(f"export m.cbfit --to lightgbm -o m.txt {asked}")
        classes = json.loads(run("inspect m.cbfit --json").stdout)["metadata"]["label_map"]["names"]
        run(f"predict m.cbfit test.parquet --proba -o p.parquet {asked}")
        ours = np.stack(pd.read_parquet(f"{place}/p.parquet")["probabilities"])
        booster = lightgbm.Booster(model_file=f"{place}/m.txt")
        rows = test.copy()
        for column in rows.columns:
            if is_text(rows[column]):
                rows[column] = rows[column].astype("category")
        theirs = booster.predict(rows)
        if theirs.ndim == 1:
            theirs = np.stack([1 - theirs, theirs], axis=1)
        theirs = theirs / theirs.sum(axis=1, keepdims=True)
        found = {"case": name, "trees": booster.num_trees(), "probability": float(np.abs(ours - theirs).max())}
        if prior is None:
            explained = classes[1:] if len(classes) == 2 else classes
            command = [cbfit, "predict", "m.cbfit", "test.parquet", "--contrib", "--class", *map(str, explained), "-o", "c.parquet"]
            subprocess.run(command, cwd=place, check=True, capture_output=True, text=True)
            table = pd.read_parquet(f"{place}/c.parquet")
            wanted = [f"{n}_{c}" if n == "expected" else f"c_{c}_{n}" for c in explained for n in [*test.columns, "expected"]]
            contributions = table[wanted].to_numpy(dtype="float64")
            scores = booster.predict(rows, raw_score=True).reshape(len(rows), -1)
            sums = contributions.reshape(len(rows), len(explained), -1).sum(axis=2)
            found["score"] = float((np.abs(sums - scores) / np.maximum(1, np.abs(scores))).max())
            found["contribution"] = float(np.abs(contributions - booster.predict(rows, pred_contrib=True)).max())
        found["lightgbm"] = lightgbm.__version__
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cbfit", default="target/release/cbfit")
    data = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", default=data, type=pathlib.Path, help="folder of the data sets [../shared/data beside the repository]")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    arguments = parser.parse_args()
    try:
        import lightgbm  # noqa: F401
        import numpy as np
        import pandas  # noqa: F401
    except ImportError as missing:
        return print(f"skipped: {missing}")
    if not (arguments.data / "covertype_20k.parquet").exists():
        return print(f"skipped: no covertype_20k.parquet in {arguments.data}")
    rng = np.random.default_rng(0)
    failed = False
    for case in cases(arguments.data, rng):
        if arguments.case not in case[0]:
            continue
        found = check(str(pathlib.Path(arguments.cbfit).resolve()), *case, rng)
        found["good"] = all(found.get(what, 0.0) <= limit for what, limit in LIMITS.items())
        failed |= not found["good"]
        print(json.dumps(found), flush=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
