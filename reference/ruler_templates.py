"""Runs NVIDIA's generator with model templates: fixtures/ruler/templates/.

    python reference/ruler_templates.py RULER TOKENIZER CHAT_TEMPLATE fixtures/ruler/templates

RULER is a checkout of NVIDIA/RULER (its niah.py runs unmodified, in a copy with our essay file), TOKENIZER a folder
with tokenizer.json (models/attention), CHAT_TEMPLATE a file with SmolLM2's Jinja template. The text of the essay is
made up here, in sentences that any splitter finds. `smollm2.txt` is what transformers' apply_chat_template makes of
one message. Each JSONL file is one run of NVIDIA's script with 3 samples; their names are TASK-TEMPLATE.jsonl.
Needs wonderwords 3.0.1, nltk with punkt_tab (NLTK_DATA), transformers, tenacity.
"""

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
ESSAY = " ".join(f"Sentence {i} of this text speaks of {i * i} things that are small." for i in range(1, 2000))


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main():
    ruler, tokenizer, jinja, out = map(Path, sys.argv[1:5])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tasks = yaml.safe_load((ruler / "scripts/synthetic.yaml").read_text())
    texts = module(ruler / "scripts/data/synthetic/constants.py").TASKS["niah"]
    templates = module(ruler / "scripts/data/template.py").Templates

    with tempfile.TemporaryDirectory() as folder:
        scripts = Path(folder, "scripts")
        shutil.copytree(ruler / "scripts", scripts)
        (scripts / "data/synthetic/json/PaulGrahamEssays.json").write_text(json.dumps({"text": ESSAY}))
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
        for task, name, context in RUNS:
            template, reserved = templates[name.split()[0]], 0
            if name.endswith("reserved"):
                # What prepare.py does under --prepare_for_ns.
                reserved = len(loaded.tokenize(template))
                template = "{task_template}"
            template = template.format(task_template=texts["template"]) + texts["answer_prefix"]
            command = [sys.executable, scripts / "data/synthetic/niah.py", "--save_dir", folder, "--save_name", "run"]
            options = dict(subset="validation", tokenizer_path=only, tokenizer_type="hf", max_seq_length=context)
            options.update(tokens_to_generate=texts["tokens_to_generate"], num_samples=3, random_seed=42)
            options.update(tasks[task]["args"], template=template, model_template_token=reserved)
            for key, value in options.items():
                command += [f"--{key}", str(value)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            shutil.copy(Path(folder, "run/validation.jsonl"), out / f"{task}-{name.replace(' ', '-')}.jsonl")


if __name__ == "__main__":
    main()
