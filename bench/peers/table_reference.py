"""CSV to an encoded float32 matrix with pandas' C reader and scikit-learn: labels one-hot encoded, numbers
standardised, as webml's pipeline does it.

usage: /usr/bin/python3 bench/peers/table_reference.py FILE   (python3-pandas, python3-sklearn)
Prints one JSON line: seconds (imports apart), items, peak_mb.
"""
import json
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

warnings.simplefilter("ignore")
labels = ["Geography", "Gender"]
numbers = ["CreditScore", "Age", "Tenure", "Balance", "NumOfProducts", "HasCrCard", "IsActiveMember", "EstimatedSalary"]
start = time.perf_counter()
table = pd.read_csv(sys.argv[1], engine="c")
encoder = ColumnTransformer([("labels", OneHotEncoder(sparse=False, dtype=np.float32), labels), ("numbers", StandardScaler(), numbers)])
matrix = encoder.fit_transform(table).astype(np.float32)
target = table["Exited"].to_numpy(np.float32)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "items": len(matrix), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
