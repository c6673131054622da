"""Writes a churn-like table: the columns of a well-known bank example, any number of rows, the same
for the same seed.

usage: make_churn.py OUTPUT.csv ROWS [SEED]
"""
import csv
import math
import random
import sys

SURNAMES = ["Hargrave", "Hill", "Onio", "Boni", "Mitchell", "Chu", "Bartlett", "Obinna", "He", "Andrews", "Kay", "Chin", "Scott", "Romeo"]


def rows(n, seed):
    r = random.Random(seed)
    for i in range(n):
        country = r.choice(["France", "Germany", "Spain"])
        gender = r.choice(["Female", "Male"])
        age = min(92, max(18, int(r.gauss(39, 11))))
        balance = 0 if r.random() < 0.35 else round(r.gauss(120000, 30000), 2)
        products = r.choices([1, 2, 3, 4], [50, 45, 4, 1])[0]
        active = int(r.random() < 0.52)
        risk = -3.2 + 0.07 * (age - 39) + 0.9 * (country == "Germany") - 1.1 * active + 0.5 * (gender == "Female") + 2.2 * (products > 2) + 0.6 * (products == 1)
        exited = int(r.random() < 1 / (1 + math.exp(-2.0 * (risk + 1.6))))
        yield [i + 1, 15560000 + r.randrange(260000), r.choice(SURNAMES) + str(r.randrange(200)), min(850, max(350, int(r.gauss(650, 96)))), country, gender, age,
               r.randrange(11), balance, products, int(r.random() < 0.7), active, round(r.uniform(11, 199993), 2), exited]


def main():
    with open(sys.argv[1], "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["RowNumber", "CustomerId", "Surname", "CreditScore", "Geography", "Gender", "Age", "Tenure", "Balance", "NumOfProducts", "HasCrCard",
                    "IsActiveMember", "EstimatedSalary", "Exited"])
        w.writerows(rows(int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))


main()
