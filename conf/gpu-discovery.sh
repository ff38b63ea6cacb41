#!/usr/bin/env bash
# Spark resource discovery: prints the GPUs of this host as
#   {"name": "gpu", "addresses": ["0", "1"]}
# Set it as spark.executor.resource.gpu.discoveryScript (and spark.worker.resource.gpu.discoveryScript).
set -euo pipefail

indices=$(nvidia-smi --query-gpu=index --format=csv,noheader) || {
  echo "gpu-discovery.sh: nvidia-smi failed; is the NVIDIA driver installed on $HOSTNAME?" >&2
  exit 1
}
addresses=""
while read -r index; do
  [[ -n $index ]] || continue
  [[ $index =~ ^[0-9]+$ ]] || {
    echo "gpu-discovery.sh: nvidia-smi printed \"$index\" for the number of a GPU" >&2
    exit 1
  }
  addresses+="${addresses:+, }\"$index\""
done <<<"$indices"
echo "{\"name\": \"gpu\", \"addresses\": [$addresses]}"
