"""Counts of scikit-learn's check_estimator: our estimators beside LogisticRegression and LGBMClassifier, in one run.

python checks.py
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter

from lightgbm import LGBMClassifier, register_logger
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator

from cbfit import BoostClassifier, LinearClassifier

ESTIMATORS = [LinearClassifier(), BoostClassifier(), LogisticRegression(), LGBMClassifier()]


def main() -> None:
    # Its `verbose` would be an attribute that a check asks about.
    register_logger(logging.Logger("unheard", logging.CRITICAL))
    print("| estimator | passed | failed | skipped | expected to fail |")
    print("|---|---|---|---|---|")
    for estimator in ESTIMATORS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(estimator, on_fail=None, on_skip=None)
        counts = Counter(result["status"] for result in results)
        cells = [counts[status] for status in ("passed", "failed", "skipped", "xfail")]
        print(f"| {type(estimator).__name__} |", " | ".join(map(str, cells)), "|")
        for result in results:
            if result["status"] == "failed":
                print(f"<!-- {result['check_name']}: {str(result['exception']).splitlines()[0][:120]} -->")


if __name__ == "__main__":
    main()
