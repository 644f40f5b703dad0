"""The page docs/benchmarks.md from what the benches have written.

    python benches/page.py --linear target/bench/results.jsonl --boost target/bench/boost.jsonl > docs/benchmarks.md

Each option takes any number of files of JSON lines: `--linear` of compare.py, `--boost` of boost_peers.py. Nothing on the
page is written by hand; README.md beside this file says what each figure means.
"""

import argparse
import json
import statistics

import boost_peers
from peers import table

HEAD = """# Benchmarks

Made by `benches/page.py` from the lines that the benches wrote; [benches/README.md](../benches/README.md) says how to run them and
what the figures mean. Times are those of one machine: compare them with each other, not with those of another.
"""


def lines_of(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.strip()]


def linear(paths):
    text = ["", "## Linear models", ""]
    for path in paths:
        first, *results = lines_of(path)
        text.append(f"Seconds a run at most: {first['budget']:g}.")
        text.append(table.markdown(first["machine"], results, first["levels"]))
    return text


def boosted(paths):
    results = [line for path in paths for line in lines_of(path)]
    settings = sorted({(r["rounds"], r["threads"]) for r in results})
    text = ["", "## Boosted trees", ""]
    for rounds, threads in settings:
        of = [r for r in results if (r["rounds"], r["threads"]) == (rounds, threads)]
        text += [f"{rounds} rounds, threads: {threads}, {boost_peers.LEAVES} leaves, learning rate {boost_peers.RATE}.", ""]
        cases = dict.fromkeys((r["case"], r["l2"]) for r in of if r["seed"] == 0)
        text += [boost_peers.HEAD] if cases else []
        for key in cases:
            text += boost_peers.rows_of([r for r in of if (r["case"], r["l2"], r["seed"]) == (*key, 0)])
        text += ["", *over_seeds([r for r in of if r["seed"]])]
    return text


def over_seeds(results):
    """Mean and standard deviation over splits, and in how many of them cbfit was no worse."""
    if not results:
        return []
    text = ["| case | l2 | learner | splits | log-loss | cbfit no worse | macro recall | cbfit no worse |",
            "|---|---|---|---|---|---|---|---|"]
    for case, l2 in dict.fromkeys((r["case"], r["l2"]) for r in results):
        own = {r["seed"]: r for r in results if (r["case"], r["l2"], r["learner"]) == (case, l2, "cbfit")}
        for learner in dict.fromkeys(r["learner"] for r in results if (r["case"], r["l2"]) == (case, l2)):
            theirs = {r["seed"]: r for r in results if (r["case"], r["l2"], r["learner"]) == (case, l2, learner)}
            splits = sorted(own.keys() & theirs.keys())
            if not splits:
                continue
            cells = [case, f"{l2:g}", learner, len(splits)]
            for what, sign in (("log_loss", 1), ("macro_recall", -1)):
                values = [theirs[split][what] for split in splits]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                no_worse = sum(sign * (own[split][what] - theirs[split][what]) <= 0 for split in splits)
                cells += [f"{statistics.mean(values):.5f} +- {spread:.5f}", "" if learner == "cbfit" else no_worse]
            text.append("| " + " | ".join(map(str, cells)) + " |")
    return [*text, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--linear", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--boost", nargs="*", default=[], metavar="FILE")
    args = parser.parse_args()
    text = [HEAD]
    text += linear(args.linear) if args.linear else []
    text += boosted(args.boost) if args.boost else []
    print("\n".join(text).rstrip())


if __name__ == "__main__":
    main()
