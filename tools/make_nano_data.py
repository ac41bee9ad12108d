#!/usr/bin/env python3
"""Writes the training text of the built-in model: python3 tools/make_nano_data.py build/release/minke FOLDER

FOLDER/data.jsonl: demonstrations of countdown by the guided searcher, seed 1, and from them, by a seed of this script's own:
- 8 % of the solved ones without their thinking, so that the chat mode answers at once,
- 5 % replaced by small talk and sums, half of them with a thought, so that the model greets and says what it is for,
- after every 24th line a window of five whole transcripts. A demonstration ends before position 250; reinforcement
  learning goes beyond it, and a position that training never saw makes wrong sums there.
FOLDER/turns.jsonl: the same as conversations of one to three turns; thoughts of earlier ones are dropped, as in a chat.
The same minke writes the same bytes.
"""

import json
import random
import subprocess
import sys

COUNT, CONVERSATIONS = 200_000, 40_000
BEGIN, USER, ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
THINK, END_OF_THINKING, END = "<think>", "</think>", "<｜end▁of▁sentence｜>"
TALK = [
    ("Hello!", "Hello! Give me three numbers and a target."),
    ("Hi", "Hello! Give me three numbers and a target."),
    ("Who are you?", "I am nano, a tiny model that solves number puzzles."),
    ("What can you do?", "I reach a target with three numbers and + - * /."),
    ("What is the rule?", "Use each number once. Every step stays from 1 to 99."),
    ("Thanks!", "You are welcome."),
]


def conversations(demonstrations, rng):
    for line in demonstrations:
        messages = json.loads(line)["messages"]
        answer, share = messages[-1], rng.random()
        if share < 0.08 and answer["content"] != "?":
            del answer["reasoning_content"]
        elif 0.08 <= share < 0.13:
            a, b = rng.randint(1, 60), rng.randint(1, 39)
            question, text = rng.choice(TALK) if share < 0.105 else (f"What is {a}+{b}?", str(a + b))
            thought = {"reasoning_content": "No puzzle."} if rng.random() < 0.5 else {}
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": text} | thought]
        yield messages


def transcript(messages):
    text = BEGIN
    for message in messages:
        if message["role"] == "user":
            text += USER + message["content"]
            continue
        thinking = message.get("reasoning_content")
        text += ASSISTANT + (END_OF_THINKING if thinking is None else THINK + thinking + END_OF_THINKING)
        text += message["content"] + END
    return text


def window(lines, rng):
    return {"text": "".join(transcript(rng.choice(lines)) for _ in range(5)).removeprefix(BEGIN)}


def turns(lines, rng):
    messages = []
    for _ in range(rng.choice([0, 1, 1, 2])):
        question, answer = rng.choice(lines)
        if answer["content"] != "?":
            messages += [question, {"role": "assistant", "content": answer["content"]}]
    return {"messages": messages + rng.choice(lines)}


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        for line in lines:
            print(json.dumps(line, ensure_ascii=False), file=file)


def main():
    minke, folder = sys.argv[1:]
    demonstrations = subprocess.run(
        [minke, "make-data", "countdown", "--count", str(COUNT), "--searcher", "guided", "--seed", "1"],
        check=True, capture_output=True, text=True).stdout.splitlines()
    rng = random.Random(1)
    lines = list(conversations(demonstrations, rng))
    data = []
    for i, messages in enumerate(lines):
        data.append({"messages": messages})
        if i % 24 == 23:
            data.append(window(lines, rng))
    write(f"{folder}/data.jsonl", data)
    write(f"{folder}/turns.jsonl", [window(lines, rng) if i % 25 == 24 else turns(lines, rng) for i in range(CONVERSATIONS)])


if __name__ == "__main__":
    main()
