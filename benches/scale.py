"""Shapes at the edge: does cbfit keep working, and what does it take?

    cargo build --release
    python benches/scale.py [--cbfit target/release/cbfit] [--case "million rows"] [--quick]

Makes each input in a temporary folder, runs the commands and prints a JSON line a case: exit status, seconds, peak resident
memory, the size of the input, and what was wrong. Exits with status 1 where a command ends otherwise than it should, or
needs more memory than the case allows. `--quick` leaves out inputs above 100 MB.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np


def npy(folder, x, y):
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return "--train x.npy --label-file y.npy"


def long_tail(rows, classes, rng):
    """Every class at least once, the others by a Zipf law."""
    p = 1.0 / np.arange(1, classes + 1)
    rest = rng.choice(classes, rows - classes, p=p / p.sum())
    return rng.permutation(np.concatenate([np.arange(classes), rest])).astype(np.int64)


def clouds(y, features, rng, spread=1.0):
    centres = rng.normal(size=(y.max() + 1, features)).astype(np.float32)
    return centres[y] + spread * rng.normal(size=(len(y), features)).astype(np.float32)


def hundred_thousand_classes(folder, rng):
    y = long_tail(250_000, 100_000, rng)
    return npy(folder, clouds(y, 64, rng, 0.3), y) + " --beta 0.9 --l2 1e-4 --valid-fraction 0 --optimizer sgd --epochs 2"


def million_rows(folder, rng):
    y = long_tail(1_000_000, 5, rng)
    x = clouds(y, 8, rng)
    with open(folder / "x.csv", "w") as out:
        out.write("label," + ",".join(f"f{i}" for i in range(8)) + "\n")
        for start in range(0, len(y), 100_000):
            part = slice(start, start + 100_000)
            np.savetxt(out, np.column_stack([y[part], x[part]]), fmt="%d" + ",%.5g" * 8)
    return "--train x.csv --beta 0.999 --l2 1e-4 --valid-fraction 0"


def million_rows_boosted(folder, rng):
    return million_rows(folder, rng).replace(" --l2 1e-4", "") + " --learner boost --rounds 10"


def one_row(folder, rng):
    return npy(folder, np.ones((1, 4), np.float32), np.zeros(1, np.int64)) + " --beta 0.9"


def one_feature(folder, rng):
    y = long_tail(5000, 3, rng)
    return npy(folder, clouds(y, 1, rng), y)


def twenty_thousand_features(folder, rng):
    y = long_tail(1500, 4, rng)
    return npy(folder, clouds(y, 20_000, rng), y) + " --beta 0.9 --l2 1e-2 --valid-fraction 0"


def ten_thousand_columns(folder, rng):
    y = long_tail(400, 3, rng)
    x = clouds(y, 10_000, rng)
    with open(folder / "x.csv", "w") as out:
        out.write("label," + ",".join(f"f{i}" for i in range(10_000)) + "\n")
        np.savetxt(out, np.column_stack([y, x]), fmt="%d" + ",%.4g" * 10_000)
    return "--train x.csv --beta 0.9"


def classes_of_one_row(folder, rng):
    y = np.concatenate([np.arange(200), np.zeros(300, np.int64)])
    return npy(folder, clouds(y, 16, rng, 0.2), y)


def equal_features(folder, rng):
    return npy(folder, np.full((500, 10), 3.25, np.float32), long_tail(500, 3, rng))


def equal_features_boosted(folder, rng):
    return equal_features(folder, rng) + " --learner boost"


def separable(folder, rng):
    y = long_tail(2000, 3, rng)
    x = np.eye(3, dtype=np.float32)[y] * 100
    return npy(folder, x, y) + " --beta 0.99 --l2 1e-8 --valid-fraction 0"


def heavy_weights(folder, rng):
    y = long_tail(3000, 3, rng)
    x = clouds(y, 4, rng)
    header = "label,w," + ",".join(f"f{i}" for i in range(4))
    table = np.column_stack([y, np.full(len(y), 1e36), x])
    np.savetxt(folder / "x.csv", table, fmt="%d,%.3g" + ",%.5g" * 4, header=header, comments="")
    return "--train x.csv --weight-col w --beta 0.99"


# Name: maker, exit status of `train`, most MB of it, whether its input is large.
CASES = {
    "100,000 classes x 64": (hundred_thousand_classes, 0, 400, False),
    "million rows of CSV": (million_rows, 0, 400, False),
    "million rows of CSV, boosted": (million_rows_boosted, 0, 600, False),
    "one row": (one_row, 3, 100, False),
    "one feature": (one_feature, 0, 100, False),
    "20,000 features": (twenty_thousand_features, 0, 1500, True),
    "10,000 columns": (ten_thousand_columns, 0, 400, False),
    "classes of one row": (classes_of_one_row, 0, 100, False),
    "all features equal": (equal_features, 0, 100, False),
    "all features equal, boosted": (equal_features_boosted, 0, 100, False),
    "separable": (separable, 0, 100, False),
    "weights past f32": (heavy_weights, 0, 100, False),
}


def measured(command, folder):
    """Exit status, seconds and peak MB of a command, and the last of what it said."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.perf_counter() - started, used.ru_maxrss / 1024, said


def check(name, cbfit):
    _, expected, most_mb, _ = CASES[name]
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        # In a process of its own: the peak of a command counts that of the process that starts it.
        maker = [sys.executable, __file__, "--case", name, "--make", place]
        flags = subprocess.run(maker, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        status, seconds, peak, said = measured([cbfit, *flags.split(), "-o", "m.cbfit"], folder)
        found = {"case": name, "input_mb": round(size, 1), "status": status, "seconds": round(seconds, 2), "peak_mb": round(peak)}
        good = status == expected and peak <= most_mb
        if status == 0:
            data = "x.npy" if "x.npy" in flags else "x.csv"
            again, took, peak, error = measured([cbfit, "predict", "m.cbfit", data, "-o", "p.csv"], folder)
            rows = sum(1 for _ in open(folder / "p.csv")) - 1 if again == 0 else 0
            found |= {"predict_seconds": round(took, 2), "predict_peak_mb": round(peak), "predicted": rows}
            good &= again == 0 and rows > 0
            said += error
        found["good"] = good
        if not good or status:
            found["said"] = said.strip().splitlines()[-2:]
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cbfit", default="target/release/cbfit", type=pathlib.Path)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--quick", action="store_true", help="no input above 100 MB")
    parser.add_argument("--make", type=pathlib.Path, help="only make the input of the case, in this folder")
    arguments = parser.parse_args()
    if arguments.make:
        print(CASES[arguments.case[0]][0](arguments.make, np.random.default_rng(0)))
        return
    failed = False
    for name in arguments.case or CASES:
        if arguments.quick and CASES[name][3]:
            continue
        found = check(name, str(arguments.cbfit.resolve()))
        failed |= not found["good"]
        print(json.dumps(found), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
