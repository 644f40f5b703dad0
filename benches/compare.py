#!/usr/bin/env python3
"""cbfit and its peers on the same linear problems, in one run: JSON lines and a Markdown table. README.md beside this
file says how to run it and what each figure means."""

import argparse
import json
import os
import platform
import select
import signal
import subprocess
import sys
import time
from importlib import metadata

import numpy as np

from peers import cases, objective, table

HERE = os.path.dirname(os.path.abspath(__file__))
# A run that has neither ended nor kept its budget by then is stopped.
GRACE = 1.3
LEVELS = [1e-2, 1e-3, 1e-4]


def solvers_for(case, args):
    """(name, threads, settings) of every solver of a case."""
    # Always both: scikit-learn's lbfgs may be several times faster on one thread than on two.
    threads = [1, 2]
    # Always both: in f32 several peers stop far from the optimum, where their line search sees no more descent.
    both_widths = ["f32", "f64"]
    run = lambda name, threads=threads, **settings: [(name, t, settings) for t in threads]
    if case.kind == "pass":
        return run("cbfit") + run("torch-f32", [2]) + run("torch-bf16", [2])
    if case.kind == "tune":
        mine = run("cbfit-search", [2]) + run("cbfit-values", [2])
        widths = ["f32"] if args.quick else both_widths
        peers = [run(f"sklearn-{solver}", dtype=width) for solver in ("lbfgs", "newton-cg") for width in widths]
        return mine + sum(peers, [])
    mine = run("cbfit", [2], tolerance=1e-5) + run("cbfit-default", [2], tolerance=1e-3)
    if case.by_name_only:
        return mine + run("sklearn-lbfgs", dtype="f32") + run("torch-lbfgs", dtype="f32")
    if case.beta == "none":
        # linfa's products take threads, smartcore is serial.
        serial = run("smartcore-f32", [1]) + run("smartcore-f64", [1])
        return mine + run("linfa-f32") + run("linfa-f64") + serial
    torch = sum([run("torch-lbfgs", dtype=width) for width in both_widths], [])
    torch += [] if args.quick else run("torch-adam", dtype="f32")
    if case.loss == "sigmoid":
        solvers = ["ovr-lbfgs"] if args.quick else ["ovr-lbfgs", "ovr-newton-cholesky"]
        return mine + sum([run(solver, dtype=width) for solver in solvers for width in both_widths], []) + torch
    layouts = ["dense", "csr"] if case.data.startswith("kdd") else ["dense"]
    solvers = ["lbfgs", "newton-cg"] if args.quick else ["lbfgs", "newton-cg", "newton-cholesky", "saga"]
    peers = []
    for solver in solvers:
        widths = both_widths if solver in ("lbfgs", "newton-cg") else ["f64"]
        if args.quick and solver != "lbfgs":
            widths = ["f32"]
        peers += [run(f"sklearn-{solver}", dtype=width, layout=layout) for width in widths for layout in layouts]
    return mine + sum(peers, []) + torch


def label(name, settings):
    """How a solver is called in the results."""
    width = settings.get("dtype")
    layout = settings.get("layout", "dense")
    return " ".join([name] + [word for word in (width, layout) if word and word != "dense"])


def build():
    """Builds benches/linear and returns its program."""
    command = ["cargo", "bench", "--bench", "linear", "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=cases.REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "linear" and message.get("executable"):
            return message["executable"]
    raise SystemExit("cargo built no program for the bench `linear`")


class Run:
    """One process of one solver."""

    def __init__(self, args, case, name, threads, settings, optimum, theta):
        self.case, self.name, self.threads = case, name, threads
        self.label, self.theta = label(name, settings), theta
        self.target = optimum * (1 + 1e-5) if optimum else 0.0
        in_rust = name.startswith(("cbfit", "linfa", "smartcore"))
        self.command = (self.rust if in_rust else self.python)(args, settings)
        self.environment = dict(os.environ)
        single = str(1 if "jobs" in self.command_settings else threads)
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MATMUL_NUM_THREADS"):
            self.environment[variable] = single
        self.environment["PYTHONPATH"] = HERE

    def rust(self, args, settings):
        self.command_settings = settings
        case, data = self.case, self.case.data
        command = [args.program, case.kind, "--beta", case.beta, "--loss", case.loss, "--threads", str(self.threads)]
        command += source(data, args.data)
        if case.kind == "pass":
            return command + ["--repeat", str(args.passes)]
        command += ["--theta", self.theta]
        if case.kind == "tune":
            values = ",".join(f"{value:g}" for value in cases.L2_VALUES)
            return command + ["--solver", self.name.removeprefix("cbfit-"), "--values", values]
        solver = "cbfit" if self.name.startswith("cbfit") else self.name
        command += ["--solver", solver, "--l2", repr(case.l2), "--budget", str(args.budget)]
        command += ["--target", repr(self.target), "--ladder", str(args.ladder)]
        return command + (["--tolerance", repr(settings["tolerance"])] if "tolerance" in settings else [])

    def python(self, args, settings):
        if self.name.startswith("ovr"):
            # Threads go to processes of one class each.
            settings = {**settings, "jobs": self.threads}
        self.command_settings = settings
        case = self.case
        command = [sys.executable, "-m", "peers.worker", case.kind, "--data", case.data, "--folder", args.data]
        command += ["--beta", case.beta, "--loss", case.loss, "--solver", self.name, "--threads", str(self.threads)]
        for name, value in settings.items():
            command += [f"--{name}", str(value)]
        if case.kind == "pass":
            return command + ["--repeat", str(args.passes)]
        command += ["--budget", str(args.budget), "--ladder", str(args.ladder), "--theta", self.theta]
        if case.kind == "tune":
            values = ",".join(f"{value:g}" for value in cases.L2_VALUES)
            return command + ["--values", values, "--split", split_file(args, case)]
        return command + ["--l2", repr(case.l2), "--target", repr(self.target)]

    def go(self, budget):
        """Runs to the end or, from the moment the data are read, for the budget; returns what was said."""
        if os.path.exists(self.theta):
            os.remove(self.theta)
        process = subprocess.Popen(self.command, env=self.environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, start_new_session=True)
        events, stopped, buffer = [], False, b""
        end = time.monotonic() + 600  # for reading
        while True:
            left = end - time.monotonic()
            if left <= 0:
                stopped = True
                os.killpg(process.pid, signal.SIGKILL)
                break
            if not select.select([process.stdout], [], [], left)[0]:
                continue
            more = os.read(process.stdout.fileno(), 1 << 16)
            if not more:
                break
            *lines, buffer = (buffer + more).split(b"\n")
            for line in lines:
                events.append(json.loads(line))
                if events[-1]["event"] == "ready":
                    end = time.monotonic() + GRACE * budget + 5
        errors = process.stderr.read().decode(errors="replace")
        process.wait()
        said = [line for line in errors.splitlines() if "rror" in line] or [f"exit status {process.returncode}"]
        failed = None if process.returncode == 0 or stopped else said[-1]
        return events, stopped, failed


def source(data, folder):
    if data in cases.MADE:
        return ["--made", cases.MADE[data]]
    features = cases.FILES[data][2]
    return ["--train", cases.paths(data, folder)[0]] + (["--features", features] if features else [])


def split_file(args, case):
    """The rows cbfit holds out, for the peers."""
    path = os.path.join(args.cache, f"split-{case.data}.json")
    if not os.path.exists(path):
        with open(path, "w") as file:
            subprocess.run([args.program, "split", *source(case.data, args.data)], stdout=file, check=True)
    return path


def optimum_of(args, case, data, weights):
    """min J, from the cache where it is known; None where it cannot be computed to 1e-7 in the time allowed."""
    if case.kind != "fit" or case.data in cases.MADE:
        return None
    path = os.path.join(args.cache, "optima.json")
    known = {}
    if os.path.exists(path):
        with open(path) as file:
            known = json.load(file)
    if case.name not in known:
        say(f"{case.name}: computing the optimum")
        j, gap = objective.Newton(data, weights, case.loss, case.l2).minimise(args.optimum_budget)
        if gap > 1e-7:
            say(f"{case.name}: no optimum in {args.optimum_budget:g} s (J {j:.8g}); the lowest J of the run stands in")
            return None
        known[case.name] = {"objective": float(j), "gap": float(gap)}
        with open(path, "w") as file:
            json.dump(known, file, indent=1)
    return known[case.name]["objective"]


def judge(run, events, stopped, failed, data, weights, optimum, budget):
    """One result line: what the run said, with J and recall of its parameters as numpy has them in f64."""
    case = run.case
    result = {"case": case.name, "solver": run.label, "threads": run.threads}
    last = lambda event: next((e for e in reversed(events) if e["event"] == event), {})
    if failed:
        result["failed"] = failed
    if stopped:
        result["not_within"] = budget
    result |= {key: value for key, value in last("end").items() if key not in ("event", "objective")}
    result["said_objective"] = last("end").get("objective")
    result["peak_mb"] = round(last("memory")["peak_kb"] / 1024) if last("memory").get("peak_kb") else None
    result["ready_mb"] = round(last("ready")["rss_kb"] / 1024) if last("ready").get("rss_kb") else None
    result["points"] = [[e["seconds"], e["objective"]] for e in events if e["event"] == "point"]
    passes = [e["seconds"] for e in events if e["event"] == "pass"]
    if passes:
        result |= {"pass_seconds": min(passes), "setup_seconds": last("setup").get("seconds"),
                   "said_objective": last("pass")["objective"]}
    failures = [e["why"] for e in events if e["event"] == "failed"]
    if failures:
        result["note"] = failures[-1]
    if os.path.exists(run.theta) and not failed:
        theta = np.fromfile(run.theta)
        weight, bias = theta[: -data.classes].reshape(data.classes, -1), theta[-data.classes:]
        l2 = result.get("l2", case.l2)
        result["objective"] = objective.value(data, weights, case.loss, l2, weight, bias)
        if data.test_x is not None:
            result["test_macro_recall"] = objective.macro_recall(data.test_x, data.test_y, weight, bias)
        if optimum:
            result["final_gap"] = result["objective"] / optimum - 1
        if run.name.startswith("cbfit"):
            off = abs(result["said_objective"] / result["objective"] - 1)
            result["self_check"] = off
            if off > 1e-6:
                say(f"SELF-CHECK: {case.name} {run.label}: J differs from numpy's by {off:.1e}")
    return result


def check_passes(results):
    """All solvers of a pass are at the same parameters: their J must agree, within 1e-5, or 1e-2 in bf16."""
    said = {r["solver"]: r["said_objective"] for r in results if r.get("said_objective")}
    for solver, j in said.items():
        off = abs(j / said.get("cbfit", j) - 1)
        if off > (1e-2 if "bf16" in solver else 1e-5):
            say(f"SELF-CHECK: {results[0]['case']}: J of {solver} differs from cbfit's by {off:.1e}")


def machine():
    """What the figures were measured on."""
    def first(path, name):
        try:
            with open(path) as file:
                return next(line.split(":", 1)[1].strip() for line in file if line.startswith(name))
        except (OSError, StopIteration):
            return None

    flags = (first("/proc/cpuinfo", "flags") or "").split()
    versions = {}
    for package in ("numpy", "scipy", "scikit-learn", "torch", "pyarrow"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    with open(os.path.join(cases.REPOSITORY, "Cargo.lock")) as file:
        blocks = [block.splitlines() for block in file.read().split("[[package]]")]
    for lines in blocks:
        name = next((line[8:-1] for line in lines if line.startswith('name = "')), None)
        if name in ("cbfit", "linfa-logistic", "smartcore"):
            versions[name] = next(line[11:-1] for line in lines if line.startswith('version = "'))
    command = lambda *words: subprocess.run(words, cwd=cases.REPOSITORY, capture_output=True, text=True).stdout.strip()
    return {
        "cpu": first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "simd": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags],
        "memory": first("/proc/meminfo", "MemTotal"),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "rustc": command("rustc", "--version"),
        "commit": command("git", "rev-parse", "--short", "HEAD"),
        "versions": versions,
    }


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repetition, a few cases and peers, 20 s a run")
    parser.add_argument("--case", action="append", default=[], metavar="TEXT", help="only cases with TEXT in the name")
    parser.add_argument("--solver", action="append", default=[], metavar="TEXT", help="only solvers with TEXT in the name")
    parser.add_argument("--data", default=os.path.join(cases.REPOSITORY, "..", "shared", "data"), metavar="DIR")
    parser.add_argument("--cache", default=os.path.join(cases.REPOSITORY, "target", "bench"), metavar="DIR",
                        help="optima, splits and results [target/bench]")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds of fitting a run [120; 20 with --quick]")
    parser.add_argument("--optimum-budget", type=float, default=600.0, metavar="S",
                        help="seconds for the optimum of a case that the cache lacks [600]")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions [3; 1 with --quick]")
    parser.add_argument("--program", metavar="FILE", help="benches/linear, built [cargo builds it]")
    parser.add_argument("--list", action="store_true", help="name the cases and their solvers")
    args = parser.parse_args()
    args.budget = args.budget or (20.0 if args.quick else 120.0)
    args.repeat = args.repeat or (1 if args.quick else 3)
    args.ladder = 2.0 if args.quick else 1.4
    args.passes = 3 if args.quick else 10
    return args


def chosen_cases(args):
    """Those named in part; else all but the ones that run only by name, or the quick ones."""
    if args.case:
        return [case for case in cases.CASES if any(text in case.name for text in args.case)]
    return [case for case in cases.CASES if (case.quick if args.quick else not case.by_name_only)]


def main():
    args = arguments()
    plan = []
    for case in chosen_cases(args):
        solvers = [s for s in solvers_for(case, args)
                   if not args.solver or any(text in label(s[0], s[2]) for text in args.solver)]
        why = cases.missing(case.data, args.data)
        if args.list:
            print(case.name, "|", ", ".join(f"{label(s[0], s[2])}/{s[1]}" for s in solvers))
        elif why:
            say(f"{case.name}: skipped, {why}")
        else:
            plan.append((case, solvers))
    if args.list:
        return
    os.makedirs(args.cache, exist_ok=True)
    args.program = args.program or build()
    info = machine()
    say(json.dumps(info))
    results = []
    with open(os.path.join(args.cache, "results.jsonl"), "w") as lines:
        print(json.dumps({"machine": info, "levels": LEVELS, "budget": args.budget}), file=lines, flush=True)
        for case, solvers in plan:
            data = cases.read(case.data, args.data) if case.kind != "pass" else None
            weights = objective.row_weights(data, case.beta) if data else None
            optimum = optimum_of(args, case, data, weights)
            hopeless = set()
            for repetition in range(args.repeat):
                for name, threads, settings in solvers:
                    theta = os.path.join(args.cache, "theta.f64")
                    run = Run(args, case, name, threads, settings, optimum, theta)
                    if (run.label, threads) in hopeless:
                        continue
                    outcome = run.go(args.budget)
                    result = judge(run, *outcome, data, weights, optimum, args.budget)
                    result |= {"repetition": repetition, "optimum": optimum}
                    if "failed" in result or "not_within" in result:
                        hopeless.add((run.label, threads))
                    results.append(result)
                    print(json.dumps(result), file=lines, flush=True)
                    say(table.line(result, LEVELS))
            if case.kind == "pass":
                check_passes([result for result in results if result["case"] == case.name])
    text = table.markdown(info, results, LEVELS)
    with open(os.path.join(args.cache, "table.md"), "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
