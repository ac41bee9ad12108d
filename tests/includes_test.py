"""Includes point downwards, and only doors are visited: docs/map.md as a test."""

import re

import pytest

import support

# The ladder. A room sees itself and what is listed; a line in docs/map.md explains each.
SEES = {
    "base": set(),
    "tensor": {"base"},
    "kernels": {"base", "tensor"},
    "text": {"base"},
    "model": {"base", "tensor", "kernels"},
    "engine": {"base", "tensor", "kernels", "model"},
    "train": {"base", "tensor", "kernels", "text", "model", "engine"},
    "cli": {"base", "tensor", "kernels", "text", "model", "engine", "train"},
}
# Headers that other rooms may include. Whatever a door itself includes of its own room is a door as well: a reader of
# the door has to read it anyway.
DOORS = {
    "base": {"result.h", "check.h", "json.h", "token_id.h", "thread_pool.h", "rng.h", "file.h", "available_memory.h",
             "cgroup.h", "file_reader.h", "nearest_name.h", "page_memory.h", "http.h"},
    "tensor": {"dtype.h", "view.h", "arena.h", "weight_view.h", "safetensors.h", "checkpoint.h", "verify.h",
               "quantize.h", "encode.h", "gguf.h", "gguf_writer.h"},
    "kernels": {"kernel_set.h", "pack_row.h"},
    "text": {"bpe_trainer.h", "tokenizer.h", "chat.h", "chat_template.h", "chat_parser.h", "stream_parser.h", "tokenizer_config.h",
             "utf8_stream.h"},
    "model": {"config.h", "cache_view.h", "forward.h", "model.h", "facts.h", "work.h", "split.h", "checkpoint_writer.h",
              "gguf_model.h", "gguf_export.h", "learner.h", "parameters.h"},
    "engine": {"engine.h", "sampling.h", "page_pool.h", "random_rows.h"},
    "train": {"config_file.h", "dashboard.h", "dataset.h", "evaluate.h", "finite.h", "grpo.h", "loss.h", "make_data.h",
              "metrics.h", "rl.h", "rollout.h", "seconds.h", "task.h", "text_files.h", "trainer.h"},
    "cli": set(),
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"minke/([^/"]+)/([^"]+)"', re.MULTILINE)
ANY_QUOTED = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
SOURCES = sorted(path for suffix in ("*.h", "*.cc", "*.inc") for path in (support.ROOT / "minke").rglob(suffix))


def includes(path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def all_doors():
    doors = {room: set(names) for room, names in DOORS.items()}
    for room, names in doors.items():
        waiting = list(names)
        while waiting:
            path = support.ROOT / "minke" / room / waiting.pop()
            if not path.exists():
                continue
            for other, header in includes(path):
                if other == room and header not in names:
                    names.add(header)
                    waiting.append(header)
    return doors


def violations(sources):
    doors = all_doors()
    found = []
    for path, text in sources:
        room = path.relative_to(support.ROOT / "minke").parts[0]
        for other, header in INCLUDE.findall(text):
            if other == room:
                continue
            where = f"{path.relative_to(support.ROOT)} includes minke/{other}/{header}"
            if other not in SEES.get(room, set()):
                found.append(f"{where}: {room} may not see {other}")
            elif header not in doors[other]:
                found.append(f"{where}: not a door of {other}")
    return found


def test_rooms_are_those_on_the_map():
    rooms = {path.name for path in (support.ROOT / "minke").iterdir() if path.is_dir()}
    assert rooms == set(SEES)


def test_includes_point_downwards_to_doors():
    found = violations((path, path.read_text(encoding="utf-8")) for path in SOURCES)
    assert not found, "\n".join(found)


def test_an_upward_arrow_and_a_visit_past_a_door_are_found():
    base = support.ROOT / "minke" / "base" / "x.cc"
    cli = support.ROOT / "minke" / "cli" / "x.cc"
    assert violations([(base, '#include "minke/engine/engine.h"\n')])
    assert violations([(cli, '#include "minke/model/weights.h"\n')])
    assert not violations([(cli, '#include "minke/engine/engine.h"\n')])


@pytest.mark.parametrize("room", SEES)
def test_headers_are_included_by_their_full_path(room):
    for path in (support.ROOT / "minke" / room).rglob("*.h"):
        for header in ANY_QUOTED.findall(path.read_text(encoding="utf-8")):
            assert header.startswith("minke/"), f"{path.name} includes {header}"
