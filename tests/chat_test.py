"""Golden chat cases through `minke template`: prompts byte for byte, messages field for field, errors refused."""

import json

import pytest

import support

CHAT = support.GOLDEN / "chat"


def load(name):
    return json.loads((CHAT / name).read_text(encoding="utf-8"))


def test_encode_v32():
    cases = load("encode.json")
    objects = [{key: case[key] for key in ("messages", "thinking_mode", "options") if key in case} for case in cases]
    for case, reply in zip(cases, support.pipe_json("template", "encode", "--format", "v32", objects=objects), strict=True):
        if case.get("undefined"):  # any answer, but an answer (spec: such input has no defined prompt)
            assert "prompt" in reply or "error" in reply
        elif case.get("error"):
            assert reply.get("error") and "prompt" not in reply, case["name"]
        else:
            assert reply.get("prompt") == case["prompt"], (case["name"], reply)


def test_parse_v32():
    cases = load("parse.json")
    objects = [{"completion": case["completion"], "thinking_mode": case["thinking_mode"]} for case in cases]
    for case, reply in zip(cases, support.pipe_json("template", "parse", "--format", "v32", objects=objects), strict=True):
        if case.get("error"):
            assert reply.get("error") and "message" not in reply, (case["name"], reply)
        else:
            assert reply.get("message") == case["message"], case["name"]


@pytest.mark.parametrize("form", ["v3", "r1"])
def test_encode_v3_and_r1(form):
    cases = [case for case in load("encode_v3_r1.json") if case["template"] == form]
    assert cases
    objects = [{key: value for key, value in case.items() if key not in ("name", "template", "prompt", "error")}
               for case in cases]
    for case, reply in zip(cases, support.pipe_json("template", "encode", "--format", form, objects=objects), strict=True):
        if case.get("error"):
            assert reply.get("error") and "prompt" not in reply, case["name"]
        else:
            assert reply.get("prompt") == case["prompt"], (case["name"], reply)


def test_a_bad_line_does_not_stop_the_next():
    good = {"messages": [{"role": "user", "content": "Hello"}], "thinking_mode": "chat", "options": {}}
    stdin = "\n".join(["{", "[]", "3", '{"messages": 1}', json.dumps(good)]) + "\n"
    lines = support.minke("template", "encode", "--format", "v32", stdin=stdin, check=False).stdout.split("\n")[:-1]
    replies = [json.loads(line) for line in lines]
    assert len(replies) == 5
    assert all(reply.get("error") for reply in replies[:4])
    assert replies[4]["prompt"].endswith("<｜User｜>Hello<｜Assistant｜></think>")
