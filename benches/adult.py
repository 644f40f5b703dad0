"""Adult with its categories as they are: AUC of cbfit, LightGBM and CatBoost, each with its defaults, and of cbfit unweighted.

    cargo build --release
    python benches/adult.py --cbfit target/release/cbfit [--data DIR]

Text columns are native categories of all three. Prints one JSON line a learner: AUC and log-loss of the official test rows,
least seconds of the whole command for cbfit (reading, the search for rounds and the last fit included) and of the fit for
the others. `--seeds N` gives each learner N seeds; the official training rows stay the same.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd


def by_cbfit(program, data, flags):
    def fit(seed, threads):
        with tempfile.TemporaryDirectory() as place:
            def run(*arguments):
                line = [program, *map(str, arguments), "--threads", str(threads), "--quiet"]
                subprocess.run(line, cwd=place, check=True)

            begun = time.perf_counter()
            train, test = ((data / f"adult_{part}.parquet").resolve() for part in ("train", "test"))
            run("--train", train, "--label", "label", "--learner", "boost", *flags, "--seed", seed, "-o", "m.cbfit")
            took = time.perf_counter() - begun
            run("predict", "m.cbfit", test, "--proba", "-o", "p.parquet")
            return np.stack(pd.read_parquet(f"{place}/p.parquet")["probabilities"])[:, 1], took

    return fit


def by_lightgbm(train, test):
    import lightgbm

    def fit(seed, threads):
        x = train.drop(columns="label").copy()
        rows = test.drop(columns="label").copy()
        for column in x.select_dtypes(exclude="number"):
            kind = pd.CategoricalDtype(sorted(set(x[column].dropna())))
            x[column], rows[column] = x[column].astype(kind), rows[column].astype(kind)
        model = lightgbm.LGBMClassifier(random_state=seed, n_jobs=threads, verbose=-1)
        begun = time.perf_counter()
        model.fit(x, train["label"])
        return model.predict_proba(rows)[:, 1], time.perf_counter() - begun

    return fit


def by_catboost(train, test):
    import catboost

    def fit(seed, threads):
        x, rows = (part.drop(columns="label").copy() for part in (train, test))
        texts = list(x.select_dtypes(exclude="number"))
        for part in (x, rows):
            part[texts] = part[texts].fillna("missing").astype(str)
        model = catboost.CatBoostClassifier(
            random_seed=seed, thread_count=threads, cat_features=texts, verbose=False, allow_writing_files=False
        )
        begun = time.perf_counter()
        model.fit(x, train["label"])
        return model.predict_proba(rows)[:, 1], time.perf_counter() - begun

    return fit


def main():
    from sklearn.metrics import log_loss, roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cbfit", default="target/release/cbfit", type=pathlib.Path)
    data = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", default=data, type=pathlib.Path, help="folder of the data sets [../shared/data beside the repository]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if not (args.data / "adult_train.parquet").exists():
        sys.exit(f"no adult_train.parquet in {args.data}")
    train, test = (pd.read_parquet(args.data / f"adult_{part}.parquet") for part in ("train", "test"))
    positive = sorted(set(train["label"]))[1]
    y = (test["label"] == positive).to_numpy()
    program = str(args.cbfit.resolve())
    learners = {
        "cbfit": by_cbfit(program, args.data, []),
        "cbfit --weighting none": by_cbfit(program, args.data, ["--weighting", "none"]),
        "LightGBM": by_lightgbm(train, test),
        "CatBoost": by_catboost(train, test),
    }
    for name, fit in learners.items():
        runs = [fit(seed, args.threads) for seed in range(args.seeds)]
        auc = [roc_auc_score(y, p) for p, _ in runs]
        losses = [log_loss(y, np.clip(p, 1e-15, 1 - 1e-15)) for p, _ in runs]
        took = min(seconds for _, seconds in runs)
        print(json.dumps({"learner": name, "auc": auc, "log_loss": losses, "seconds": took}), flush=True)


if __name__ == "__main__":
    main()
