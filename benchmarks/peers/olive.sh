#!/usr/bin/env bash
# Makes an environment in which Microsoft Olive runs, for the benchmarks that set it beside paretune.
#
#   benchmarks/peers/olive.sh [FOLDER]      (default: .peers/olive under the repository's root)
#
# A plain `pip install olive-ai` of this release does not run beside today's packages; these versions
# do. A second call finds the environment made and ends at once; one that was broken off is mended.
# PYTHON chooses the interpreter (default: python3).
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
env="${1:-$root/.peers/olive}"
python="$env/bin/python"

# First, and alone: with it installed, no other package asks for a build with CUDA.
first="torch==2.13.0"
packages=(
    olive-ai==0.13.0
    onnxruntime==1.32.0
    onnxruntime-genai==0.13.2
    transformers==4.57.6
    datasets==4.4.1
    peft==0.18.0
    optuna==4.9.0
    requests # olive imports it and does not declare it
)

# What was installed is written down last: it stands for a whole environment of these versions.
stamp="$env/.installed"
wanted="$(printf '%s\n' "$first" "${packages[@]}")"
if [[ -x $python && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "$env is up to date"
    exit 0
fi

"${PYTHON:-python3}" -m venv "$env"
# Git, and the tools that heed it, pass the environment over wherever it stands.
echo '*' >"$env/.gitignore"
"$python" -m pip install --quiet "$first"
"$python" -m pip install --quiet "${packages[@]}"
"$python" -c "import olive, onnxruntime, onnxruntime_genai, optuna, torch, transformers"
printf '%s\n' "$wanted" >"$stamp"
echo "made $env"
