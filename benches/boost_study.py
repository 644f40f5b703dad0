"""Rows for `benches/boost_study`, and the tables of its results.

    python benches/boost_study.py rows [--data DIR] FOLDER
    cargo bench --bench boost_study -- --rows FOLDER --sets yeast,covertype --out results.jsonl
    python benches/boost_study.py tables results.jsonl
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import pandas as pd
from scipy import stats

SETS = {
    "adult": "adult_train.parquet",
    "creditcard": "creditcard_40pct.parquet",
    "vehicle1": "keel/vehicle1.parquet",
    "yeast4": "keel/yeast4.parquet",
    "winequality": "keel/winequality-white-3-9_vs_5.parquet",
    "ecoli": "ecoli.parquet",
    "glass": "glass.parquet",
    "shuttle": "shuttle_train.parquet",
    "covertype": "covertype_20k.parquet",
    "poker": "poker_hand_train.parquet",
    "yeast": "yeast.parquet",
    "kdd99": "kdd99_10pct_train.parquet",
    "abalone": "abalone.parquet",
    "cifar10_lt100": "cifar10_lt100_mobilenet_train.parquet",
    "banking77": "banking77_minilm_train.parquet",
    "clinc150imb": "clinc150imb_minilm_train.parquet",
}
FEWEST = 10


def rows(args):
    """Numbers, text as ranks; repeated rows once; classes of fewer than ten rows left out."""
    for name, file in SETS.items():
        if not (args.data / file).exists():
            print(f"{name}: skipped, {args.data / file} is not there", file=sys.stderr)
            continue
        frame = pd.read_parquet(args.data / file)
        label = frame["label"].astype(str).to_numpy()
        frame = frame[[c for c in frame if not c.startswith("label")]]
        if "embedding" in frame:
            x = np.stack(frame["embedding"].to_numpy()).astype(np.float32)
        else:
            number = lambda c: c if pd.api.types.is_numeric_dtype(c) else c.astype("category").cat.codes
            x = np.stack([number(frame[c]).to_numpy(np.float32) for c in frame], 1)
        _, first = np.unique(np.column_stack([x, pd.factorize(label)[0]]), axis=0, return_index=True)
        first.sort()
        x, label = x[first], label[first]
        names, y, counts = np.unique(label, return_inverse=True, return_counts=True)
        kept = counts >= FEWEST
        x, y = x[kept[y]], (np.cumsum(kept) - 1)[y][kept[y]]
        folder = args.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        x.tofile(folder / "train.f32")
        y.astype(np.uint32).tofile(folder / "train.u32")
        shape = {"features": x.shape[1], "classes": int(kept.sum())}
        (folder / "shape.json").write_text(json.dumps(shape))
        print(f"{name}: {len(y)} rows, {shape}, counts {counts[kept].min()}..{counts.max()}, left out {(~kept).sum()}")


# Name, prior that probabilities are corrected to, figure, rule that chose the number of rounds, sign of an improvement.
MEASURES = {
    "balanced log-loss": ("uniform", "balanced_log_loss", "balanced_log_loss", -1),
    "macro recall": ("uniform", "macro_recall", "balanced_log_loss", 1),
    "log-loss": ("natural", "log_loss", "log_loss", -1),
    "macro-F1": ("natural", "macro_f1", "log_loss", 1),
}
FIELDS = ["trees", "hessian", "lr", "weights", "bins", "max_delta_step", "l2", "loss"]


def read(files):
    """One row a fit: its setting, and for each part and measure the figure."""
    table = []
    for line in (line for file in files for line in file.read_text().splitlines()):
        line = json.loads(line)
        result = line["result"]
        row = {"set": line["set"], "seed": line["seed"], "l2": 1.0, **line["setting"]}
        row |= {key: result[key] for key in ("classes", "fit_rows", "held_rows", "imbalance", "made", "cpu")}
        for rule, by_part in result["by_rule"].items():
            row[f"rounds {rule}"] = by_part["rounds"]
            for part in ("valid", "held"):
                for prior, figures in by_part[part].items():
                    row |= {f"{part} {rule} {prior} {figure}": value for figure, value in figures.items()}
        table.append(row)
    table = pd.DataFrame(table).drop_duplicates(["set", "seed", *FIELDS], ignore_index=True)
    # The limit that no number stands for: none of absolute steps, 4 of Newton's.
    default = table["hessian"].map({"newton": 4.0, "abs": 0.0})
    table["max_delta_step"] = table["max_delta_step"].astype(float).fillna(default)
    table["l2"] = table["l2"].astype(float).fillna(table["trees"].map(lambda trees: 16.0 if trees == "per-class" else 1.0))
    table["log cpu"] = np.log(table["cpu"].clip(lower=1e-3))
    return table


def column(part, measure):
    prior, figure, rule, _ = MEASURES[measure]
    return f"{part} {rule} {prior} {figure}"


def interval(by_set):
    """Mean over data sets and half its 95 % interval; seeds were averaged before."""
    by_set = np.asarray(by_set, float)
    if len(by_set) < 2:
        return by_set.mean(), float("nan")
    return by_set.mean(), stats.t.ppf(0.975, len(by_set) - 1) * by_set.std(ddof=1) / np.sqrt(len(by_set))


def matched(table, left, right):
    """Places in `table` of fits that differ in nothing but `left` and `right`, as two lists."""
    others = ["set", "seed"] + [f for f in FIELDS if f not in left]
    at = lambda level: np.flatnonzero(np.logical_and.reduce([table[f].to_numpy() == v for f, v in level.items()]))
    keys = list(zip(*(table[f] for f in others)))
    right_at = {keys[place]: place for place in at(right)}
    pairs = [(place, right_at[keys[place]]) for place in at(left) if keys[place] in right_at]
    return [place for place, _ in pairs], [place for _, place in pairs]


def compared(table, places, column):
    """By data set the mean difference of matched fits."""
    values, (left, right) = table[column].to_numpy(), places
    return pd.Series(values[right] - values[left]).groupby(table["set"].to_numpy()[left]).mean()


def chosen(rows, score):
    """By set and seed the fit whose `score` of validation rows is highest."""
    best = score.groupby([rows["set"], rows["seed"]]).idxmax()
    return rows.loc[best].set_index(["set", "seed"])


def pairs_table(table, title, pairs, sets, part):
    """Differences in all measures for pairs of levels, on the rows of a part."""
    print(f"\n{title}\n\n| change | " + " | ".join(f"{m} (95 %), better on" for m in MEASURES) + " | CPU | pairs |")
    print("|---|" + "---|" * (len(MEASURES) + 2))
    table = table[table["set"].isin(sets)]
    for name, left, right in pairs:
        places = matched(table, left, right)
        if not places[0]:
            continue
        cells = []
        for measure in MEASURES:
            by_set = compared(table, places, column(part, measure))
            mean, half = interval(by_set)
            better = int((MEASURES[measure][3] * by_set > 0).sum())
            cells.append(f"{mean:+.4f} ({mean - half:+.4f}..{mean + half:+.4f}), {better}/{len(by_set)}")
        times = np.exp(compared(table, places, "log cpu").mean())
        print(f"| {name} | " + " | ".join(cells) + f" | x{times:.2f} | {len(places[0])} |")


def tables(args):
    table = read(args.results)
    about = table.groupby("set").agg(
        classes=("classes", "first"), fit_rows=("fit_rows", "first"), held_rows=("held_rows", "first"),
        imbalance=("imbalance", "first"), seeds=("seed", "nunique"), fits=("cpu", "size"), cpu=("cpu", "sum"))
    about = about.sort_values("classes")
    print(about.round(1).to_string())
    sets = list(about.index)
    vector = [s for s in sets if (table[table["set"] == s]["trees"] == "vector-7").any()]
    binary = [s for s in sets if about.loc[s, "classes"] == 2]
    many = [s for s in vector if about.loc[s, "classes"] >= 8]
    few = [s for s in vector if about.loc[s, "classes"] < 8]
    tied = lambda curvature, lr: {"hessian": curvature, "lr": lr, "max_delta_step": 4.0 if curvature == "newton" else 0.0}
    newton, absolute = (lambda lr: tied("newton", lr)), (lambda lr: tied("abs", lr))
    # The number of bins that most fits of a set have: what is crossed is crossed there.
    usual = table["set"].map(table.groupby("set")["bins"].agg(lambda bins: bins.mode()[0]))
    show = lambda *given: pairs_table(*given, args.part)
    base = table[(table["bins"] == usual) & (table["loss"] == "softmax")]
    per, vec = {"trees": "per-class"}, {"trees": "vector-7"}
    grid = [(f"{a['hessian']} {a['lr']} -> {b['hessian']} {b['lr']}", a, b) for a, b in [
        (newton(0.1), newton(0.05)), (newton(0.1), newton(0.3)), (newton(0.1), absolute(0.05)),
        (newton(0.1), absolute(0.1)), (newton(0.1), absolute(0.3)), (absolute(0.3), absolute(0.1)),
        (absolute(0.3), newton(0.3)), (absolute(0.1), absolute(0.05))]]
    groups = [("two classes", binary, per), ("3 to 7 classes, trees per class", few, per),
              ("8 classes and more, trees per class", many, per), ("3 classes and more, trees per class", vector, per),
              ("3 to 7 classes, vector", few, vec), ("8 classes and more, vector", many, vec),
              ("3 classes and more, vector", vector, vec)]
    for name, members, trees in groups:
        show(base[base["trees"] == trees["trees"]], f"Hessian and learning rate: {name}", grid, members)
    trees = [(f"per-class -> vector-7, {c['hessian']} {c['lr']}", per | c, vec | c)
             for c in (newton(0.1), absolute(0.3))]
    trees += [(f"per-class newton 0.1 -> vector-7 abs {lr}", per | newton(0.1), vec | absolute(lr)) for lr in (0.1, 0.3)]
    ranges = (("3 to 7 classes", few), ("8 classes and more", many), ("3 classes and more", vector))
    for name, members in ranges:
        show(base, f"Trees: {name}", trees, members)
    for name, members in ranges:
        show(base, f"Directions: {name}", [(f"7 -> {d}", vec, {"trees": f"vector-{d}"}) for d in (3, 15)], members)
    soft = table[table["loss"] == "softmax"]
    show(soft, "Bins: vector trees", [("254 -> 64", {"bins": 254}, {"bins": 64})], vector)
    show(soft, "Bins: two classes", [("254 -> 64", {"bins": 254}, {"bins": 64})], binary)
    steps = [(f"4 -> {s:.0f}", {"max_delta_step": 4.0}, {"max_delta_step": s}) for s in (0.0, 1.0)]
    for name, members, kind in groups:
        ours = soft[(soft["trees"] == kind["trees"]) & (soft["hessian"] == "newton")]
        show(ours, f"Longest Newton step: {name}", steps, members)
    penalties = [(f"l2 1 -> {l2}", {"l2": 1.0}, {"l2": float(l2)}) for l2 in (0, 4, 16, 64, 256)]
    for name, members, kind in groups:
        show(soft[soft["trees"] == kind["trees"]], f"Penalty of leaves, in average rows: {name}", penalties, members)
    losses = [(f"softmax -> {l}", {"loss": "softmax"}, {"loss": l}) for l in ("sigmoid", "focal")]
    show(table, "Losses: vector trees", losses, vector)
    show(table, "Losses: two classes", losses, binary)
    weights = [(f"none -> {w}", {"weights": "none"}, {"weights": w}) for w in ("effective", "inverse")]
    show(base, "Weights, probabilities corrected either way: all settings", weights, sets)
    honest(base, sets)
    chosen_table(table, sets)


def honest(table, sets):
    """Weighting against no weights and a correction of the prior afterwards; settings chosen on validation rows."""
    print("\nUnweighted and corrected against weighted: macro recall, balanced log-loss, log-loss of held-out rows\n")
    print("| set | classes | imbalance | none, as trained | none, corrected | effective, as trained | effective, corrected "
          "| inverse, as trained | inverse, corrected |\n|---|---|---|---|---|---|---|---|---|")
    complete = table.groupby("set")["weights"].nunique() == 3
    sets = [s for s in sets if complete[s]]
    cells = {}
    for weights in ("none", "effective", "inverse"):
        rows = table[(table["weights"] == weights) & table["set"].isin(sets)]
        for name, prior, rule, figure, sign in (
            ("as trained", "trained", "trained_recall", "macro_recall", 1),
            ("corrected", "uniform", "balanced_log_loss", "balanced_log_loss", -1),
        ):
            picked = chosen(rows, sign * rows[f"valid {rule} {prior} {figure}"])
            cells[weights, name] = picked[[f"held {rule} {prior} macro_recall", f"held {rule} {prior} balanced_log_loss",
                                           "held log_loss natural log_loss"]]
    # What has been fitted so far of one kind of weights may lack a seed of another.
    common = sorted(set.intersection(*(set(frame.index) for frame in cells.values())))
    cells = {key: frame.loc[common] for key, frame in cells.items()}
    for s in sets:
        line = table[table["set"] == s].iloc[0]
        row = [" ".join(f"{v:.3f}" for v in frame.loc[s].mean()) for frame in cells.values()]
        print(f"| {s} | {line['classes']} | {line['imbalance']:.0f} | " + " | ".join(row) + " |")
    corrected = cells["none", "corrected"]
    print("\n| against none, corrected | macro recall | balanced log-loss | log-loss |\n|---|---|---|---|")
    for key, frame in cells.items():
        differences = (frame.to_numpy() - corrected.to_numpy())
        parts = []
        for at, sign in enumerate((1, -1, -1)):
            by_set = pd.Series(differences[:, at], frame.index).groupby("set").mean()
            mean, half = interval(by_set)
            parts.append(f"{mean:+.4f} ({mean - half:+.4f}..{mean + half:+.4f}), better on {int((sign * by_set > 0).sum())}/{len(by_set)}")
        print(f"| {key[0]}, {key[1]} | " + " | ".join(parts) + " |")


def chosen_table(table, sets):
    """What validation rows choose by balanced log-loss, and rounds by rule."""
    soft = table[table["loss"] == "softmax"]
    picked = chosen(soft, -soft[column("valid", "balanced log-loss")]).reset_index()
    print("\nChosen on validation rows by balanced log-loss\n")
    for field in FIELDS[:-1]:
        print(field, pd.crosstab(picked["set"], picked[field]).reindex(sets).to_string(), sep="\n")
    rules = [c for c in table if c.startswith("rounds ")]
    print(table.groupby(["trees", "hessian", "lr"])[rules + ["made"]].mean().round(0).to_string())
    print("\nMacro recall of held-out rows by the rule that chose the rounds: as trained, and under equal shares\n")
    for rule in ("trained_recall", "uniform_recall", "balanced_log_loss", "log_loss"):
        names = [f"held {rule} trained macro_recall", f"held {rule} uniform macro_recall", f"held {rule} uniform balanced_log_loss"]
        print(rule, *(f"{table.groupby('set')[n].mean().mean():.4f}" for n in names))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("rows")
    data = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    command.add_argument("--data", type=pathlib.Path, default=data, help="folder of the data sets [../shared/data beside the repository]")
    command.add_argument("folder", type=pathlib.Path)
    command.set_defaults(run=rows)
    command = commands.add_parser("tables")
    command.add_argument("results", type=pathlib.Path, nargs="+")
    command.add_argument("--part", choices=["valid", "held"], default="held", help="rows of the paired differences")
    command.set_defaults(run=tables)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
