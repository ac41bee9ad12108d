"""Our V3 and R1 prompts against the Jinja templates that the checkpoints ship, rendered by Jinja itself, on random
conversations: the oddities of the templates included."""

import json
import random
import subprocess
import sys

import pytest

import support

sandbox = pytest.importorskip("jinja2.sandbox", reason="jinja2 is not installed")


@pytest.fixture(scope="module")
def folder():
    subprocess.run([sys.executable, support.ROOT / "tools" / "fetch_vocabularies.py"], check=True)
    return support.BUILD / "testdata"


def conversation(rng, form):
    messages = []
    for _ in range(rng.randrange(1, 9)):
        text = rng.choice(["hi", "中\n文", "<think>a</think>b", "", "x</think>y</think>z", "{{ not a template }}"])
        role = rng.choices(["system", "user", "assistant", "calls", "tool"], [3, 6, 3, 4, 4])[0]
        if role != "calls":
            messages.append({"role": role, "content": text})
            continue
        calls = [{"type": "function", "function": {"name": f"f{i}", "arguments": json.dumps({"a": i})}}
                 for i in range(rng.randrange(1, 4))]
        # An empty text is taken like null here; V3's template would drop the calls for it.
        content = rng.choice([None, None, "say", "a</think>b"] + ([""] if form == "r1" else []))
        messages.append({"role": "assistant", "content": content, "tool_calls": calls})
    return messages


@pytest.mark.parametrize("form", ["v3", "r1"])
def test_prompts_equal_the_checkpoints_template(form, folder):
    config = json.loads((folder / f"deepseek_{form}" / "tokenizer_config.json").read_text(encoding="utf-8"))
    # As transformers compiles a chat template.
    template = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(config["chat_template"])
    rng = random.Random(3)
    cases = [{"messages": conversation(rng, form), "add_generation_prompt": rng.random() < 0.5} for _ in range(2000)]
    replies = support.pipe_json("template", "encode", "--format", form, objects=cases)
    for case, reply in zip(cases, replies, strict=True):
        assert reply.get("prompt") == template.render(bos_token="<｜begin▁of▁sentence｜>", **case), case
