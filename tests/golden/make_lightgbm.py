"""Scores and contributions that LightGBM gives for small models of cbfit: writes lightgbm.json beside this script.

    python tests/golden/make_lightgbm.py target/release/cbfit

A table of 400 made rows (a number with gaps, a number, a text column) is trained on with cbfit, exported as JSON and as
LightGBM's text; LightGBM loads the text and gives raw scores and `pred_contrib` of 24 rows.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import lightgbm
import numpy as np
import pandas as pd

CASES = {
    "two classes": "--weighting none",
    "a tree a class": "--trees per-class --weighting inverse",
    "trees for all": "--trees vector --weighting none",
}


def table(classes):
    rng = np.random.default_rng(3)
    rows = 400
    number = np.round(rng.normal(size=rows), 2)
    other = rng.integers(0, 9, rows)
    colour = rng.choice(["blue", "green", "grey", "red", "white"], rows)
    signal = np.where(np.isin(colour, ["green", "white"]), other > 3, number > 0).astype(int) + (number + other > 6)
    number[rng.random(rows) < 0.1] = np.nan
    return pd.DataFrame({"number": number, "other": other, "colour": colour, "label": np.minimum(signal, classes - 1)})


def golden(cbfit, flags, classes):
    frame = table(classes)
    with tempfile.TemporaryDirectory() as place:
        run = lambda line: subprocess.run([cbfit, *line.split()], cwd=place, check=True, capture_output=True)
        frame.to_parquet(f"{place}/t.parquet", index=False)
        run(f"--train t.parquet --learner boost --valid-fraction 0 --rounds 3 --max-leaves 6 --min-rows 5 {flags} -o m.cbfit")
        run("export m.cbfit --to json -o m.json")
        run("export m.cbfit --to lightgbm -o m.txt")
        booster = lightgbm.Booster(model_file=f"{place}/m.txt")
        model = json.loads(pathlib.Path(f"{place}/m.json").read_text())
    levels = sorted(frame["colour"].unique())
    rows = frame[["number", "other"]].assign(colour=frame["colour"].map(levels.index)).to_numpy(dtype="float64")[:24]
    rows[3, 2], rows[4, 2] = np.nan, 77
    # LightGBM reads these columns as codes: no DataFrame, no names.
    plain = lambda values: np.asarray(values).reshape(len(rows), -1).tolist()
    return {
        "model": model,
        "rows": [[None if np.isnan(value) else value for value in row] for row in rows],
        "scores": plain(booster.predict(rows, raw_score=True)),
        "contributions": plain(booster.predict(rows, pred_contrib=True)),
    }


def main():
    cbfit = str(pathlib.Path(sys.argv[1]).resolve())
    made = {name: golden(cbfit, flags, 2 if name == "two classes" else 3) for name, flags in CASES.items()}
    out = pathlib.Path(__file__).with_name("lightgbm.json")
    text = json.dumps({"lightgbm": lightgbm.__version__, "cases": made})
    out.write_text(text.replace('}, "rows"', '},\n"rows"').replace('], "scores"', '],\n"scores"') + "\n")


if __name__ == "__main__":
    main()
