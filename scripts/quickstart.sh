#!/usr/bin/env bash
# From a fresh Debian 12 to a trained network on real images: installs, builds, trains on
# Fashion-MNIST, evaluates, and predicts real test images. Running it again is quick.
. "$(dirname "$0")/lib.sh"

need $packages_build $packages_quickstart
build release webml webml-bench
webml=$PWD/build/bin/webml
work=build/quickstart
mkdir -p "$work/data" "$work/images"

# The data set as Debian ships it, with names for the classes.
for file in /usr/share/datasets/fashion-mnist/*; do ln -sf "$file" "$work/data/"; done
cp examples/fashion-mnist/classes.txt "$work/data/"

weights=$work/fashion.safetensors
if [ ! -f "$weights" ] || [ examples/fashion-mnist/model.json -nt "$weights" ]; then
  echo "== training (about a minute on two cores)"
  "$webml" train examples/fashion-mnist/model.json --data "$work/data" --out "$weights" \
    --epochs 6 --batch-size 64 --learning-rate 0.003 --schedule cosine
else
  echo "== already trained: $weights"
fi

echo "== evaluating on the 10,000 test images"
"$webml" evaluate "$weights" --data "$work/data" | head -n 1

echo "== predicting real test images (the truth is in the file name)"
/usr/bin/python3 examples/fashion-mnist/write_images.py "$work/data" "$work/images" 6
"$webml" predict "$weights" "$work"/images/*.png

cat <<END

Next:
  build/bin/webml summary $weights                 the layers of this network
  build/bin/webml inspect YOUR_FILE.csv            what is in your own data
  build/bin/webml train MODEL.json --data YOUR_FILE.csv
  build/bin/webml train --help                     all options
  examples/                                        models, and C programs that link libwebml
END
