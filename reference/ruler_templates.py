"""Runs NVIDIA's generator with model templates: fixtures/ruler/templates/.

    python reference/ruler_templates.py RULER TOKENIZER CHAT_TEMPLATE SQUAD fixtures/ruler/templates

RULER is a checkout of NVIDIA/RULER (its scripts run unmodified, in a copy with our data files), TOKENIZER a folder
with tokenizer.json (models/attention), CHAT_TEMPLATE a file with SmolLM2's Jinja template, SQUAD a file of questions
(fixtures/ruler/squad.json). The text of the essay is made up here, in sentences that any splitter finds. `smollm2.txt`
is what transformers' apply_chat_template makes of one message. Each JSONL file is one run of NVIDIA's script with 3
samples; their names are TASK-TEMPLATE.jsonl. `hashes.json` has the SHA-256 of further runs, whose files are longer.
Needs wonderwords 3.0.1, nltk with punkt_tab (NLTK_DATA), transformers, tenacity, scipy.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from transformers import AutoTokenizer

RUNS = [
    # task, template, context
    ("niah_single_1", "vicuna-chat", 512),
    ("niah_multikey_2", "meta-llama3", 512),
    ("niah_multivalue", "lwm-chat", 1536),
    ("niah_single_2", "own", 1536),
    ("niah_multivalue", "own", 1536),
    ("niah_multikey_2", "vicuna-chat reserved", 512),
    ("niah_single_1", "own reserved", 512),
]
# Only their hashes are kept.
HASHED = [
    ("vt", "vicuna-chat", 2048),
    ("vt", "own reserved", 2048),
    ("cwe", "lwm-chat", 2048),
    ("fwe", "own", 1024),
    ("fwe", "vicuna-chat reserved", 1024),
    ("qa_1", "own", 4096),
]
ESSAY = " ".join(f"Sentence {i} of this text speaks of {i * i} things that are small." for i in range(1, 2000))


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main():
    ruler, tokenizer, jinja, squad, out = map(Path, sys.argv[1:6])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tasks = yaml.safe_load((ruler / "scripts/synthetic.yaml").read_text())
    constants = module(ruler / "scripts/data/synthetic/constants.py").TASKS
    templates = module(ruler / "scripts/data/template.py").Templates

    with tempfile.TemporaryDirectory() as folder:
        scripts = Path(folder, "scripts")
        shutil.copytree(ruler / "scripts", scripts)
        (scripts / "data/synthetic/json/PaulGrahamEssays.json").write_text(json.dumps({"text": ESSAY}))
        shutil.copy(squad, scripts / "data/synthetic/json/squad.json")
        (scripts / "data/synthetic/json/english_words.json").write_text("{}")
        hashes = {}
        # Only the tokenizer's files: no model, no code.
        only = Path(folder, "tokenizer")
        only.mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tokenizer / name, only)
        loaded = AutoTokenizer.from_pretrained(only)
        loaded.chat_template = jinja.read_text()
        chat = loaded.apply_chat_template(
            [{"role": "user", "content": "{task_template}"}], tokenize=False, add_generation_prompt=True
        )
        (out / "smollm2.txt").write_text(chat)
        templates["own"] = chat
        for task, name, context in RUNS + HASHED:
            script = tasks[task]["task"]
            texts = constants[script]
            template, reserved = templates[name.split()[0]], 0
            if name.endswith("reserved"):
                # What prepare.py does under --prepare_for_ns.
                reserved = len(loaded.tokenize(template))
                template = "{task_template}"
            template = template.format(task_template=texts["template"]) + texts["answer_prefix"]
            command = [sys.executable, scripts / f"data/synthetic/{script}.py", "--save_dir", folder, "--save_name", "run"]
            options = dict(subset="validation", tokenizer_path=only, tokenizer_type="hf", max_seq_length=context)
            options.update(tokens_to_generate=texts["tokens_to_generate"], num_samples=3, random_seed=42)
            options.update(tasks[task]["args"], template=template, model_template_token=reserved)
            for key, value in options.items():
                command += [f"--{key}", str(value)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            made, file = Path(folder, "run/validation.jsonl"), f"{task}-{name.replace(' ', '-')}"
            if (task, name, context) in HASHED:
                hashes[f"{file}-{context}"] = hashlib.sha256(made.read_bytes()).hexdigest()
            else:
                shutil.copy(made, out / f"{file}.jsonl")
        (out / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
