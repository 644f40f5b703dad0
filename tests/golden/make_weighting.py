"""Writes weighting.json: effective numbers of samples in 60-digit arithmetic (mpmath), rounded to 25 digits."""

import json
import pathlib

from mpmath import mp, mpf

mp.dps = 60

BETAS = {
    "0": mpf(1),
    "0.5": mpf("0.5"),
    "0.9": mpf("0.1"),
    "0.99": mpf("0.01"),
    "0.999": mpf("0.001"),
    "0.9999": mpf("0.0001"),
    "0.99999": mpf("0.00001"),
    "0.9999999": mpf("1e-7"),
    "1-1e-9": mpf("1e-9"),
    "1-1e-12": mpf("1e-12"),
    "1-1.1102230246251565e-16": mpf(2) ** -53,
    "N=3": 1 / mpf(3),
    "N=30000": 1 / mpf(30000),
}
COUNTS = ["0.25", "1", "2", "2.5", "5", "83", "1000", "5000", "123456789", "1000000000000"]

cases = []
for text, eps in BETAS.items():
    for n in COUNTS:
        # (1 - beta)^n with beta within 1e-16 of 1 loses 16 of the 60 digits; 44 are left.
        value = (1 - (1 - eps) ** mpf(n)) / eps
        cases.append({"beta": text, "n": n, "effective_number": mp.nstr(value, 25)})

path = pathlib.Path(__file__).with_name("weighting.json")
lines = ",\n".join(json.dumps(case) for case in cases)
path.write_text('{"effective_number": [\n' + lines + "\n]}\n")
