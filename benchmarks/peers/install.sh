#!/bin/bash
# One environment for each peer under $PEERS_VENVS (by default ./venvs): ./install.sh, or ./install.sh model mosec.
# torch is pinned first, so that nothing brings another; on Linux the default wheel has CUDA, which is not used here:
# set PIP_INDEX_URL or PIP_EXTRA_INDEX_URL to a CPU build to save the space.
cd "$(dirname "$0")" || exit 1
venvs=${PEERS_VENVS:-$PWD/venvs}
wanted=${*:-model litserve fastapi bentoml mlserver ray triton mosec torchserve}
failed=0
mkdir -p "$venvs"

make_venv() {
  local name=$1
  shift
  [[ " $wanted " == *" $name "* ]] || return 0
  [ -d "$venvs/$name" ] || python3 -m venv "$venvs/$name"
  if "$venvs/$name/bin/pip" install -q "$@" > "$venvs/$name.log" 2>&1; then
    echo "$name: installed"
  else
    echo "$name: failed, see $venvs/$name.log" >&2
    failed=1
  fi
}

# What drives the benchmark and makes the model.
make_venv model torch==2.13.0 numpy onnx onnxscript onnxruntime openvino orjson psutil
# The peers.
make_venv litserve litserve onnxruntime numpy
make_venv fastapi fastapi 'uvicorn[standard]' onnxruntime openvino numpy
make_venv bentoml bentoml onnxruntime numpy
make_venv mlserver mlserver onnxruntime numpy httptools
make_venv ray 'ray[serve]' onnxruntime numpy
make_venv triton nvidia-pytriton onnxruntime numpy
make_venv mosec mosec onnxruntime openvino numpy orjson pysimdjson
make_venv torchserve torch==2.13.0 torchserve torch-model-archiver torch-workflow-archiver onnxruntime numpy pyyaml packaging psutil 'setuptools<81'
exit $failed
