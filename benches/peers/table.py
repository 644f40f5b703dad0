"""Results as Markdown: per case one row a solver, each with the better of its numbers of threads."""


def times(result, levels):
    """Seconds to each level, None where it was not reached; all None without a proven optimum: against the lowest J of
    the run, the solver that came lowest would be measured by its own last point."""
    optimum = result.get("optimum")
    if not optimum or not result.get("proven", True):
        return [None] * len(levels)
    within = lambda level: [s for s, j in result["points"] if j <= optimum * (1 + level)]
    return [min(within(level), default=None) for level in levels]


def stand_in(results):
    """Where the optimum is not known, the lowest J that any run reached takes its place, and is called so."""
    lowest = min((r["objective"] for r in results if "objective" in r), default=None)
    for result in results:
        result["optimum"], result["proven"] = lowest, False
        if lowest and "objective" in result:
            result["final_gap"] = result["objective"] / lowest - 1


def seconds(value):
    return "-" if value is None else f"{value:.3g}"


def line(result, levels):
    """A result in short, for following a run."""
    parts = [result["case"], f"{result['solver']}/{result['threads']}"]
    if "failed" in result:
        parts.append(f"failed: {result['failed']}")
    elif "not_within" in result:
        parts.append(f"not within {result['not_within']:g} s")
    if "pass_seconds" in result:
        parts.append(f"{result['pass_seconds']:.3g} s a pass, J {result['said_objective']:.7g}")
    else:
        parts.append("to levels " + " ".join(seconds(t) for t in times(result, levels)))
        parts.append(f"ended {seconds(result.get('seconds'))} gap {gap(result)} recall {recall(result)}")
    return "  ".join(parts)


def gap(result):
    return "-" if "final_gap" not in result else f"{result['final_gap']:.1e}"


def recall(result):
    return "-" if "test_macro_recall" not in result else f"{result['test_macro_recall']:.4f}"


def merged(results, levels):
    """Repetitions of one solver and number of threads as one: the least time to each level and to the end."""
    best = {}
    for result in results:
        key = (result["solver"], result["threads"])
        own = dict(result, times=times(result, levels))
        kept = best.setdefault(key, own)
        least = lambda a, b: min((x for x in (a, b) if x is not None), default=None)
        kept["times"] = [least(a, b) for a, b in zip(kept["times"], own["times"])]
        for name in ("seconds", "pass_seconds", "setup_seconds"):
            kept[name] = least(kept.get(name), own.get(name))
    return list(best.values())


def markdown(info, results, levels):
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items() if version)
    text = [
        f"{info['cpu']}, {info['cores']} cores ({', '.join(info['simd'])}), {info['system']}; load at the start "
        f"{info['load']:.1f}.",
        f"{info['rustc']}; Python {info['python']}; {versions}; commit {info['commit']}.",
    ]
    for case in dict.fromkeys(result["case"] for result in results):
        of_case = [result for result in results if result["case"] == case]
        kind = case.split(":")[0]
        if kind == "fit" and of_case[0].get("optimum") is None:
            stand_in(of_case)
        rows = merged(of_case, levels)
        text += ["", f"### {case}", ""] + {"fit": fits, "tune": tunes, "pass": passes}[kind](rows, levels)
    return "\n".join(text) + "\n"


def by_threads(rows, time_of):
    """(better row, the other numbers of threads with their time) of each solver, the fastest solver first."""
    never = float("inf")
    key = lambda row: never if time_of(row) is None else time_of(row)
    groups = {}
    for row in rows:
        groups.setdefault(row["solver"], []).append(row)
    for group in groups.values():
        group.sort(key=key)
    other = lambda group: ", ".join(f"{row['threads']}: {seconds(time_of(row))}" for row in group[1:])
    return [(group[0], other(group)) for group in sorted(groups.values(), key=lambda group: key(group[0]))]


def ratio(row, rows, time_of):
    """Time over that of cbfit."""
    own = [time_of(r) for r in rows if r["solver"] in ("cbfit", "cbfit-search")]
    mine = min((time for time in own if time is not None), default=None)
    return f"{time_of(row) / mine:.1f}" if mine and time_of(row) is not None else "-"


def ending(row):
    """How a run ended."""
    if "failed" in row:
        return f"failed: {row['failed'][:80]}"
    if "not_within" in row:
        return f"not within {row['not_within']:g} s"
    how = row.get("ended")
    return seconds(row.get("seconds")) + (f" ({how})" if how else "")


def fits(rows, levels):
    time_of = lambda row: row["times"][1]
    reference = rows[0].get("optimum")
    proven = rows[0].get("proven", True)
    known = f"min J {reference:.9g}." if reference and proven else f"Lowest J of this run {reference:.9g}, NOT a proven "\
        "optimum: no times to levels, and gaps are lower bounds." if reference else "No J to compare with."
    text = [known, "", "| solver | threads | " + " | ".join(f"s to {level:g}" for level in levels)
            + " | of cbfit | ended after s | final gap | test macro recall | peak MB | s to 1e-3 on other threads |",
            "|---" * (len(levels) + 8) + "|"]
    for row, other in by_threads(rows, time_of):
        cells = [row["solver"], row["threads"], *map(seconds, row["times"]), ratio(row, rows, time_of), ending(row),
                 gap(row), recall(row), row.get("peak_mb") or "-", other or "-"]
        text.append("| " + " | ".join(map(str, cells)) + " |")
    return text


def tunes(rows, _):
    time_of = lambda row: row.get("seconds")
    text = ["| solver | threads | s | of cbfit | l2 chosen | fits | test macro recall | peak MB | s on other threads |",
            "|---" * 9 + "|"]
    for row, other in by_threads(rows, time_of):
        cells = [row["solver"], row["threads"], ending(row), ratio(row, rows, time_of), row.get("l2", "-"),
                 row.get("fits", "-"), recall(row), row.get("peak_mb") or "-", other or "-"]
        text.append("| " + " | ".join(map(str, cells)) + " |")
    return text


def passes(rows, _):
    time_of = lambda row: row.get("pass_seconds")
    text = ["| solver | threads | s a pass | of cbfit | set-up s | J | peak MB | s on other threads |",
            "|---" * 8 + "|"]
    for row, other in by_threads(rows, time_of):
        objective = row.get("said_objective")
        cells = [row["solver"], row["threads"], seconds(time_of(row)), ratio(row, rows, time_of),
                 seconds(row.get("setup_seconds")), "-" if objective is None else f"{objective:.7g}",
                 row.get("peak_mb") or "-", other or "-"]
        text.append("| " + " | ".join(map(str, cells)) + " |")
    return text
