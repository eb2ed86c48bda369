#!/usr/bin/env bash
# Builds the TensorRT plan of a model bundle and its entry in Triton's model repository, unless both are there.
#
# A plan is valid for one build of TensorRT and one kind of GPU only, so it is built where it is served, and kept under
# a name made of all that it depends on. The precision is the graph's: TensorRT 11 is strongly typed.
set -euo pipefail

bundle=${BUNDLE:-/bundle}                     # model.onnx and card.json
repository=${MODEL_REPOSITORY:-/models/repository}
plans=${PLANS:-/models/plans}
template=${TEMPLATE:-/opt/trapstream/config.pbtxt}
trtexec=${TRTEXEC:-/usr/src/tensorrt/bin/trtexec}
export MAX_BATCH=${MAX_BATCH:-16} QUEUE_DELAY_US=${QUEUE_DELAY_US:-1000} INSTANCES=${INSTANCES:-2}

say() { echo "plan: $*" >&2; }
[[ -x "$trtexec" ]] || { say "no trtexec at $trtexec; set TRTEXEC to the one of this image"; exit 1; }

# From the card: the name, the version, and the shapes. The longest side is always image_size, and both sides are
# multiples of the stride; the plan is tuned for 4:3, which is what most camera traps make.
read -r name version smallest middle largest < <(python3 - "$bundle/card.json" <<'PY'
import json, sys
card = json.load(open(sys.argv[1]))
size, stride = int(card["image_size"]), int(card["stride"])
up = lambda pixels: -(-int(pixels) // stride) * stride
print(card["name"], card["version"], stride, up(size * 3 / 4), up(size))
PY
)

model=$(sha256sum "$bundle/model.onnx" | cut -d ' ' -f 1)
tensorrt=$("$trtexec" --help 2>&1 | awk 'match($0, /TensorRT v[0-9]+/) && !found { print substr($0, RSTART + 10, RLENGTH - 10); found = 1 }')
tensorrt=${tensorrt:-$(dpkg-query -W -f '${Version}\n' 'libnvinfer[0-9]*' | awk 'NR == 1')}
gpu=$(nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader --id=0 | tr -c 'A-Za-z0-9.\n' '-')
[[ -n "$tensorrt" && -n "$gpu" ]] || { say "cannot tell TensorRT's version ($tensorrt) or the GPU ($gpu)"; exit 1; }
plan="$plans/$model-trt$tensorrt-$gpu-$smallest-$middle-$largest-b$MAX_BATCH.plan"

mkdir -p "$plans" "$repository"
if [[ -s "$plan" ]]; then
    say "$plan is there"
else
    say "building $plan; this takes minutes"
    part="$plan.$$.part"
    trap 'rm -f "$part"' EXIT
    "$trtexec" --onnx="$bundle/model.onnx" --saveEngine="$part" --stronglyTyped --skipInference \
        --timingCacheFile="$plans/timing.cache" \
        --minShapes="images:1x${smallest}x${smallest}x3" \
        --optShapes="images:${MAX_BATCH}x${middle}x${largest}x3" \
        --maxShapes="images:${MAX_BATCH}x${largest}x${largest}x3"
    mv "$part" "$plan"
fi

# The entry is made beside its place and moved in, so that Triton never sees half of one.
served="$name@$version" # what a consumer asks for: trapstream/core/entries.py
entry=$(mktemp -d "$repository/.$served.XXXXXX")
mkdir "$entry/1"
ln "$plan" "$entry/1/model.plan" 2>/dev/null || cp "$plan" "$entry/1/model.plan"
NAME=$served MOST=${MOST:-300} python3 - "$template" >"$entry/config.pbtxt" <<'PY'
import os, string, sys
names = ("name", "max_batch_size", "most", "queue_delay_us", "instances")
keys = ("NAME", "MAX_BATCH", "MOST", "QUEUE_DELAY_US", "INSTANCES")
values = dict(zip(names, (os.environ[key] for key in keys)))
sys.stdout.write(string.Template(open(sys.argv[1]).read()).substitute(values))
PY
chmod 755 "$entry"
rm -rf "${repository:?}/$served"
mv "$entry" "$repository/$served"
say "$repository/$served is ready to be served"
